"""What every dispatcher offers to the stage that it decides for, and what it answers.

A dispatcher keeps who is subscribed and what each has asked for. It sends nothing itself: each step answers
with what the stage is to send, and `wanted` says how much the consumers want. A dispatcher of your own is an
object with these; the `dispatcher` of a stage's `init` is something that makes one. It may have two things
more: `kept`, how many events it keeps back itself, and `restore(demands)`, which a stage calls when an
interrupt of the main thread has cut off a step: from now on exactly these consumers are subscribed, and want
so many events. For one without that the stage makes a new one.

Semantics: GenStage.Dispatcher.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import attrs


class Subscriber(Hashable, Protocol):
    """One subscription: whose it is, and what tells it from others of the same process."""

    @property
    def pid(self) -> Any:
        """The consumer."""


@attrs.define
class Outcome:
    """What follows from a step of a dispatcher.

    Attributes:
        deliveries: Who gets which events, in the order of sending; no list is empty.
        leftover: The events that nobody has asked for.
        due: Messages, all events before which have been delivered.
        ask_again: Who did not want how many of the events that were meant for everybody.
        warning: What somebody should be told of.
    """

    deliveries: Sequence[tuple[Any, list[Any]]] = ()
    leftover: list[Any] = attrs.field(factory=list)
    due: Sequence[Any] = ()
    ask_again: Sequence[tuple[Any, int]] = ()
    warning: str | None = None


class AlreadySubscribed(ValueError):
    """A process subscribes twice where it can be subscribed once."""


class Dispatcher(Protocol):
    """See the module."""

    @property
    def wanted(self) -> int:
        """How many events it could give out now. The stage asks for as many, less those that it has asked for
        and that have not come.
        """

    def subscribe(self, options: Mapping[str, Any], from_: Any) -> Outcome:
        """There is a new consumer, which has asked for nothing yet.

        Raises:
            ValueError: It cannot be subscribed; it is told why, and nobody else notices.
        """

    def cancel(self, from_: Any) -> Outcome:
        """A subscription is over. It was made before."""

    def ask(self, demand: int, from_: Any) -> Outcome:
        """A consumer asks for so many events more, at least one. It was subscribed before."""

    def dispatch(self, events: list[Any]) -> Outcome:
        """There are events, at least one, maybe more than was asked for."""

    def put_behind(self, message: object) -> Outcome:
        """A message that is due when all events that the dispatcher itself keeps back have been delivered."""


class DispatcherSpec(Protocol):
    """What a stage is told of its dispatcher: something frozen that makes one for each stage."""

    def make(self) -> Dispatcher:
        """A dispatcher without subscriptions."""


def check_most(name: str, value: object) -> None:
    """Refuses what is no number of events.

    Raises:
        ValueError: It is not a positive integer.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected {name} to be a positive integer, got: {value!r}")
