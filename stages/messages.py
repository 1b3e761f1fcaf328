"""What stages say to each other, to their callbacks, and what they are asked: Elixir's `$gen_producer`,
`$gen_consumer` and the tuples of GenStage's callbacks.

Anybody may speak this: a process of yours that is no stage can subscribe with `Subscribe` and `Ask`, and gets
`Events` and `Cancelled`. It must monitor the producer, and must not ask for less than one event. Demand is
the limit of these messages, so a bounded mailbox takes them beyond its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeAlias

import attrs
from typing_extensions import TypeVar

from ..actors import Pid, Ref
from ..actors.engine import Notice

State = TypeVar("State", default=Any, covariant=True)
Mode: TypeAlias = Literal["forward", "accumulate"]


@attrs.frozen
class From:
    """One subscription, as either side sees it: Elixir's `{pid, subscription_tag}`.

    Attributes:
        pid: The process at the other end.
        tag: What tells the subscription from all others.
    """

    pid: Pid
    tag: Ref

    def __repr__(self) -> str:
        return f"From({self.pid}, {self.tag})"


def _mark() -> Any:
    """What tells a message from all others, so that one that comes twice is taken once."""
    return attrs.field(init=False, factory=object, eq=False, repr=False)


# To a producer ------------------------------------------------------------------------------------


@attrs.frozen
class Subscribe(Notice):
    """A consumer subscribes, in the place of another subscription if `replaces` says so: that one's tag, and
    the reason for its end.
    """

    from_: From
    options: Mapping[str, Any]
    replaces: tuple[Ref, object] | None = None
    mark: object = _mark()


@attrs.frozen
class Ask(Notice):
    """A consumer asks for so many events more."""

    from_: From
    demand: int
    mark: object = _mark()


@attrs.frozen
class Cancel(Notice):
    """A consumer wants a subscription to end."""

    from_: From
    reason: object


# To a consumer ------------------------------------------------------------------------------------


@attrs.frozen
class Events(Notice):
    """Events for a subscription, one at least, never more than were asked for."""

    from_: From
    events: list[Any]
    mark: object = _mark()
    trace: object = attrs.field(init=False, eq=False, repr=False)
    """What the producer was at work on, while somebody traces; not set at all while nobody does."""


@attrs.frozen
class Cancelled(Notice):
    """A subscription has ended: the producer, or a wish of the consumer's, has ended it."""

    from_: From
    reason: object


# Requests to a stage ------------------------------------------------------------------------------


@attrs.frozen
class SubscribeTo:
    """Have a consumer subscribe."""

    to: Any
    options: Mapping[str, Any]
    replaces: tuple[Ref, object] | None = None


@attrs.frozen
class PutBehind:
    """Have a stage get a message after all events that it keeps now."""

    message: object


@attrs.frozen
class SetDemand:
    """Have a producer forward or accumulate demand."""

    mode: Mode


@attrs.frozen
class GetDemand:
    """Tell whether a producer forwards or accumulates demand."""


@attrs.frozen
class CountBuffered:
    """Tell how many events a stage has made and not sent."""


@attrs.frozen
class LookAgain(Notice):
    """To itself: more is wanted, in the place of events that a dispatcher has dropped, or a step was cut."""


# To and from callbacks ----------------------------------------------------------------------------


class Cancellation(NamedTuple):
    """Why a subscription has ended: `("cancel", reason)` or `("down", reason)`.

    Attributes:
        kind: `"cancel"` if one side wanted it, `"down"` if the other side has died.
        reason: What was given with the wish, or what the other side died of.
    """

    kind: Literal["cancel", "down"]
    reason: object


@attrs.define
class Automatic(Generic[State]):
    """`handle_subscribe`: the stage asks by itself, as events are handled: `{:automatic, state}`."""

    state: State


@attrs.define
class Manual(Generic[State]):
    """`handle_subscribe` of a consumer: demand is sent with `ask` only: `{:manual, state}`."""

    state: State
