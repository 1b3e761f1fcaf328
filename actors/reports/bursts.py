"""Sums up repeated reports: the first few of a kind are told, the rest of a burst is counted."""

from __future__ import annotations

from collections.abc import Hashable

import attrs


@attrs.frozen
class Summary:
    """So many reports of a kind were held back."""

    kind: Hashable
    count: int


class Bursts:
    """Decides which reports are told, so that two thousand crashes a second fill no disk.

    A pure core: no clock of its own. The first reports of a kind, `free` of them, are told at once; those
    that follow within `quiet_for` seconds of the first are only counted, and the count is told with the next
    one after that, or by `flush` or `take`. So nothing is lost from the sum of what is told and what is
    counted.

    Args:
        quiet_for: Seconds for which a kind is held back after it was told.
        free: How many of a kind are told before the rest is held back.
        kinds: How many kinds are remembered at most; more are forgotten all at once, with their counts told.
    """

    __slots__ = ("_free", "_held", "_kinds", "_quiet_for", "_told", "_told_at")

    def __init__(self, quiet_for: float = 5.0, kinds: int = 1000, free: int = 1) -> None:
        self._quiet_for = quiet_for
        self._free = free
        self._told: dict[Hashable, int] = {}
        self._kinds = kinds
        self._told_at: dict[Hashable, float] = {}
        self._held: dict[Hashable, int] = {}

    def tell(self, kind: Hashable, now: float) -> int | None:
        """A report of a kind is there.

        Returns:
            None if it is to be held back, else how many of the kind were held back since the last one told.
        """
        told_at = self._told_at.get(kind)
        if told_at is not None and now - told_at < self._quiet_for:
            told = self._told.get(kind, 0)
            if told < self._free:
                self._told[kind] = told + 1
                return 0
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        self._told_at[kind] = now
        self._told[kind] = 1
        return self._held.pop(kind, 0)

    def held(self, kind: Hashable) -> int:
        """How many of a kind are held back now."""
        return self._held.get(kind, 0)

    def take(self, kind: Hashable) -> int:
        """Gives what was held back of a kind, and holds it back no more."""
        return self._held.pop(kind, 0)

    def overfull(self) -> bool:
        """Whether it is time to `flush`, as too many kinds are remembered."""
        return len(self._told_at) > self._kinds

    def flush(self) -> list[Summary]:
        """Forgets everything and gives what was held back."""
        summaries = [Summary(kind, count) for kind, count in self._held.items()]
        self._told_at.clear()
        self._told.clear()
        self._held.clear()
        return summaries
