"""The dispatcher that a stage has by default: events go to whoever has asked for the most."""

from __future__ import annotations

import random
from bisect import insort_right
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .dispatcher import Outcome, check_most


@attrs.frozen
class Demand:
    """Events go to whoever has the biggest pending demand, the first among equals, as a batch.

    All consumers should have the same `max_demand`, or the greedy ones get more than their share.

    Args:
        max_demand: The most that a consumer is expected to ask for at once; more is a warning in the log. By
            default it is what is asked for first.
        shuffle: Whether the order of consumers with the same demand is shuffled before the first events, so
            that it is not always the one that subscribed first who gets them
            (`shuffle_demands_on_first_dispatch`).

    Semantics: GenStage.DemandDispatcher.
    """

    max_demand: int | None = None
    shuffle: bool = False

    def __attrs_post_init__(self) -> None:
        if self.max_demand is not None:
            check_most("max_demand", self.max_demand)

    def make(self) -> DemandDispatcher:
        """A dispatcher without subscriptions."""
        return DemandDispatcher(self.max_demand, random.shuffle if self.shuffle else None)


@attrs.define(eq=False)
class _Row:
    demand: int
    from_: Any


def _biggest_first(row: _Row) -> int:
    return -row.demand


class DemandDispatcher:
    """See `Demand`.

    Args:
        max_demand: As there.
        shuffle: What shuffles a list in place before the first events; None for nothing.

    Invariant: the rows are sorted by demand, the biggest first; among equals who came there first is first.
    """

    __slots__ = ("_row_of", "_rows", "_shuffle", "max_demand", "wanted")

    def __init__(
        self, max_demand: int | None = None, shuffle: Callable[[list[Any]], object] | None = None
    ) -> None:
        self.max_demand = max_demand
        self._shuffle = shuffle
        self._rows: list[_Row] = []
        self._row_of: dict[Any, _Row] = {}
        self.wanted = 0
        """How much all have asked for."""

    def subscribe(self, options: Mapping[str, Any], from_: Any) -> Outcome:
        """There is a new consumer, last in line."""
        row = self._row_of[from_] = _Row(0, from_)
        self._rows.append(row)
        return Outcome()

    def cancel(self, from_: Any) -> Outcome:
        """What the consumer had asked for is on its way; the next who asks gets it."""
        row = self._row_of.pop(from_)
        self._rows.remove(row)
        self.wanted -= row.demand
        return Outcome()

    def ask(self, demand: int, from_: Any) -> Outcome:
        """It moves up, maybe."""
        warning = None
        if self.max_demand is None:
            self.max_demand = demand
        elif demand > self.max_demand:
            warning = (
                f"the demand dispatcher expects consumers to ask for at most {self.max_demand} events at "
                f"once, and {from_.pid} asked for {demand}; with different maximum demands the greedy "
                f"consumers get most of the events"
            )
        row = self._row_of[from_]
        self._rows.remove(row)
        row.demand += demand
        self.wanted += demand
        self._insert(row)
        return Outcome(warning=warning)

    def dispatch(self, events: list[Any]) -> Outcome:
        """To the biggest demand first, again and again."""
        if self._shuffle is not None:
            self._shuffle(self._rows)
            self._shuffle = None
            # Only equals change places, or somebody who wants nothing might stand before others.
            self._rows.sort(key=_biggest_first)
        rows = self._rows
        deliveries = []
        start = 0
        while start < len(events) and rows and rows[0].demand:
            row = rows.pop(0)
            end = min(len(events), start + row.demand)
            deliveries.append((row.from_, events[start:end] if end - start < len(events) else events))
            row.demand -= end - start
            self._insert(row)
            start = end
        self.wanted -= start
        return Outcome(deliveries, events[start:])

    def restore(self, demands: Mapping[Any, int]) -> None:
        """Set who is subscribed and what each wants, after a step that was cut off."""
        self._row_of = {from_: _Row(demand, from_) for from_, demand in demands.items()}
        self._rows = sorted(self._row_of.values(), key=_biggest_first)
        self.wanted = sum(demands.values())

    def put_behind(self, message: object) -> Outcome:
        """Nothing is kept back here."""
        return Outcome(due=(message,))

    def _insert(self, row: _Row) -> None:
        insort_right(self._rows, row, key=_biggest_first)
