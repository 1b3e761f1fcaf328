"""The three kinds of stages, as users subclass them: `Producer`, `ProducerConsumer` and `Consumer`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias

from typing_extensions import TypeVar

from ..actors import GenServer, NoReply, Stop
from .messages import Automatic, Cancellation, From, Manual
from .outside import StageKind
from .running import Running, running

State = TypeVar("State", default=Any)
Request = TypeVar("Request", default=Any)
Answer = TypeVar("Answer", default=Any)
CALLBACKS = ("handle_demand", "handle_events", "handle_subscribe", "handle_cancel")

if TYPE_CHECKING:
    _T = TypeVar("_T")
    _Result: TypeAlias = _T | Awaitable[_T]


class Stage(GenServer[State, Request, Answer], Generic[State, Request, Answer]):
    """What the three kinds have in common: a `GenServer` whose results may have `events=[...]`."""

    _kind: ClassVar[StageKind]
    _stays_here: ClassVar[str] = "a stage"

    def __new__(cls) -> Any:
        """An object of the class that stands in front of this one; see `running`."""
        return super().__new__(cls if issubclass(cls, Running) else running(cls, cls.is_async()))

    @classmethod
    def is_async(cls) -> bool:
        """Whether any callback is a coroutine function."""
        known: bool | None = cls.__dict__.get("_on_loop")
        if known is None:
            own = any(inspect.iscoroutinefunction(getattr(cls, name, None)) for name in CALLBACKS)
            known = cls._on_loop = own or super().is_async()
        return known

    _on_loop: ClassVar[bool]

    def handle_subscribe(
        self, kind: Literal["producer", "consumer"], options: Mapping[str, Any], from_: From, state: State, /
    ) -> _Result[Automatic[State] | Manual[State] | Stop[State]]:
        """A subscription begins; called on both sides.

        Args:
            kind: What the other side is.
            options: How it was subscribed: `max_demand`, `min_demand`, `cancel`, and whatever else was given.
            from_: The subscription.
            state: The state.

        Returns:
            `Automatic(state)`, the default. A consumer may return `Manual(state)`: then it sends demand with
            `ask(from_, n)` itself, and keeps `max_demand` itself. Or `Stop(reason, state)`.
        """
        return Automatic(state)

    def handle_cancel(
        self, reason: Cancellation, from_: From, state: State, /
    ) -> _Result[NoReply[State] | Stop[State]]:
        """A subscription is over; called on both sides.

        Args:
            reason: `("cancel", reason)` or `("down", reason)`, the exit reason of the other side.
            from_: The subscription.
            state: The state.
        """
        return NoReply(state)


class _Produces(Stage[State, Request, Answer], Generic[State, Request, Answer]):
    def format_discarded(self, discarded: int, state: State, /) -> bool:
        """Whether it is to be logged that so many events were dropped from the full buffer."""
        return True


class _Consumes(Stage[State, Request, Answer], Generic[State, Request, Answer]):
    def handle_events(
        self, events: list[Any], from_: From, state: State, /
    ) -> _Result[NoReply[State] | Stop[State]]:
        """Handle events, at most `max_demand - min_demand` at once; more are asked for when this returns.

        Args:
            events: A list that is yours.
            from_: The subscription that they come from.
            state: The state.

        Returns:
            `NoReply(state)`, from a producer-consumer with `events=[...]`, what came of them; or
            `Stop(reason, state)`.
        """
        raise NotImplementedError(f"{type(self).__name__} got events but defines no handle_events")


class Producer(_Produces[State, Request, Answer], Generic[State, Request, Answer]):
    """Makes events, as many as its consumers ask for.

    Override `init` and `handle_demand`. Any callback may return `events=[...]` with its `NoReply` or `Reply`:
    they go to the consumers as the dispatcher decides, and what nobody has asked for is kept in the buffer.
    So a callback may return more events than there is demand for, or fewer: then the producer itself has
    to remember how much is wanted, and to send the rest when there is some.

    Options that `init` may give to its `Ok`:
        dispatcher: `Demand(...)` (the default), `Broadcast()` or `Partition(...)`.
        demand: `"forward"`, or `"accumulate"` until somebody calls `demand(producer, "forward")`.
        buffer_size: How many events are kept that nobody has asked for: 10,000, or `INFINITY`. What is
            dropped is counted and logged.
        buffer_keep: Which are kept: `"last"`, or `"first"`.

    Example:
        >>> from resprout import NoReply, Ok
        >>> class Counter(Producer):
        ...     def init(self, start):
        ...         return Ok(start)
        ...     def handle_demand(self, demand, count):
        ...         return NoReply(count + demand, events=list(range(count, count + demand)))

    Semantics: GenStage, a `:producer`.
    """

    _kind = "producer"

    def handle_demand(self, demand: int, state: State, /) -> _Result[NoReply[State] | Stop[State]]:
        """Make events: so many more are wanted.

        Returns:
            `NoReply(state, events=[...])`, or `Stop(reason, state)`.
        """
        raise NotImplementedError(f"{type(self).__name__} is asked for events but defines no handle_demand")


class ProducerConsumer(
    _Produces[State, Request, Answer], _Consumes[State, Request, Answer], Generic[State, Request, Answer]
):
    """Makes events of other stages' events. What it has got waits until its own consumers want what comes of
    it.

    Override `handle_events`. The options of `init` are those of a `Producer` less `demand`, with a buffer
    without limit by default, and `subscribe_to`, as of a `Consumer`.

    Semantics: GenStage, a `:producer_consumer`.
    """

    _kind = "producer_consumer"


class Consumer(_Consumes[State, Request, Answer], Generic[State, Request, Answer]):
    """Handles the events of other stages. Override `handle_events`.

    It asks each of its producers for `max_demand` events, and for more when `min_demand` are left.

    Options that `init` may give to its `Ok`:
        subscribe_to: A list of producers, each a server argument, or a pair of one and the options of
            `subscribe`. Named producers are found again when this stage is restarted.

    Semantics: GenStage, a `:consumer`.
    """

    _kind = "consumer"
