"""The dispatcher that gives every event to every consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .dispatcher import AlreadySubscribed, Outcome


@attrs.frozen
class Broadcast:
    """Every event goes to every consumer, so the slowest one decides how fast.

    A consumer that gives a `selector` when it subscribes gets only the events for which that returns
    something true; it is as if the others had been handled. The selector runs in the producer.

    Consumers that subscribe later have missed what came before: begin with `demand="accumulate"` and call
    `demand(producer, "forward")` when all are there.

    Semantics: GenStage.BroadcastDispatcher.
    """

    def make(self) -> BroadcastDispatcher:
        """A dispatcher without subscriptions."""
        return BroadcastDispatcher()


@attrs.define(eq=False)
class _Consumer:
    from_: Any
    selector: Callable[[Any], object] | None
    demand: int = 0

    def select(self, events: list[Any]) -> list[Any]:
        if self.selector is None:
            return events[:]
        return [event for event in events if self.selector(event)]


class BroadcastDispatcher:
    """See `Broadcast`."""

    __slots__ = ("_consumers",)

    def __init__(self) -> None:
        self._consumers: dict[Any, _Consumer] = {}

    @property
    def wanted(self) -> int:
        """As much as the slowest has asked for."""
        return min((consumer.demand for consumer in self._consumers.values()), default=0)

    def subscribe(self, options: Mapping[str, Any], from_: Any) -> Outcome:
        """From now on nothing goes to anybody until the new one asks, too.

        Raises:
            AlreadySubscribed: The process is subscribed already.
            ValueError: The selector is no function.
        """
        selector = options.get("selector")
        if selector is not None and not callable(selector):
            raise ValueError(f"expected selector to be a function of an event, got: {selector!r}")
        if any(other.pid is from_.pid for other in self._consumers):
            raise AlreadySubscribed(f"{from_.pid} is subscribed already; a broadcast reaches everybody once")
        self._consumers[from_] = _Consumer(from_, selector)
        return Outcome()

    def cancel(self, from_: Any) -> Outcome:
        """It may have been the slowest one, so that more is wanted now."""
        del self._consumers[from_]
        return Outcome()

    def ask(self, demand: int, from_: Any) -> Outcome:
        """It may be the slowest one, so that more is wanted now."""
        self._consumers[from_].demand += demand
        return Outcome()

    def dispatch(self, events: list[Any]) -> Outcome:
        """To everybody, as much as the slowest has asked for."""
        now = events[: self.wanted]
        if not now:
            return Outcome(leftover=events)
        # Before anything changes, since a selector may raise.
        chosen = [(consumer, consumer.select(now)) for consumer in self._consumers.values()]
        for consumer, _ in chosen:
            consumer.demand -= len(now)
        return Outcome(
            deliveries=[(consumer.from_, some) for consumer, some in chosen if some],
            leftover=events[len(now) :],
            ask_again=[
                (consumer.from_, len(now) - len(some)) for consumer, some in chosen if len(some) < len(now)
            ],
        )

    def restore(self, demands: Mapping[Any, int]) -> None:
        """Set who is subscribed and what each wants, after a step that was cut off."""
        self._consumers = {from_: self._consumers[from_] for from_ in demands}
        for from_, demand in demands.items():
            self._consumers[from_].demand = demand

    def put_behind(self, message: object) -> Outcome:
        """Nothing is kept back here."""
        return Outcome(due=(message,))
