"""The consumer's side of a subscription: how much it has asked for, in which batches it handles what comes,
and when it asks again.

A pure core. Semantics: GenStage's `:max_demand` and `:min_demand`, for subscriptions in automatic mode.
"""

from __future__ import annotations

from typing import Any

import attrs


@attrs.define
class Batch:
    """Events to be handled at once, and how many to ask for when they have been (0 for none)."""

    events: list[Any]
    ask: int


@attrs.define
class Arrival:
    """What is to be done with events that came.

    Attributes:
        batches: Them, in order.
        excess: How many of them nobody had asked for.
    """

    batches: list[Batch]
    excess: int


class Inflow:
    """The demand of one subscription, which begins with `max_demand` asked for.

    Args:
        max_demand: How many events may be on their way, or being handled, at any time.
        min_demand: At how few that are left it asks for more.
    """

    __slots__ = ("max_demand", "min_demand", "pending")

    def __init__(self, max_demand: int, min_demand: int) -> None:
        self.max_demand = max_demand
        self.min_demand = min_demand
        self.pending = max_demand
        """How many events were asked for and have not come."""

    def receive(self, events: list[Any]) -> Arrival:
        """Take note of events, and split them: no batch is longer than `max_demand - min_demand`."""
        step = self.max_demand - self.min_demand
        expected = pending = self.pending
        excess = 0
        batches = []
        for start in range(0, len(events), step):
            batch = events[start : start + step] if len(events) > step else events
            counted = min(len(batch), expected)
            excess += len(batch) - counted
            expected -= counted
            pending -= counted
            ask = 0
            if pending <= self.min_demand:
                ask = self.max_demand - pending
                pending = self.max_demand
            batches.append(Batch(batch, ask))
        self.pending = pending
        return Arrival(batches, excess)
