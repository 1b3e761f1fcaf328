"""How many children a supervisor of events runs for one producer, and when it asks that for more.

A pure core. Semantics: ConsumerSupervisor's `:max_demand` and `:min_demand`, as its documentation has them.
"""

from __future__ import annotations


class Portion:
    """One subscription: at most `max_demand` children at once, and `min_demand` or fewer ask for more.

    Differs from OTP: there more is asked for when `min_demand` children have ended, whatever the maximum; the
    documentation says what is done here. With the defaults it is the same.
    """

    __slots__ = ("_coming", "_max_demand", "_min_demand", "running")

    def __init__(self, max_demand: int, min_demand: int) -> None:
        self._max_demand = max_demand
        self._min_demand = min_demand
        self._coming = max_demand
        """Events that were asked for and have not come."""
        self.running = 0
        """Children that run, or are about to run again."""

    def came(self, events: int) -> int:
        """So many events are there, each for a child; how many of them are too many."""
        excess = max(0, events - self._coming)
        self._coming -= events - excess
        self.running += events
        return excess

    def ended(self, children: int) -> None:
        """So many children have ended for good, or did not start."""
        self.running -= children

    def ask(self) -> int:
        """How many events to ask for now; 0 for none."""
        if self.running + self._coming > self._min_demand:
            return 0
        more = self._max_demand - self.running - self._coming
        self._coming += more
        return more
