"""How many requests may be begun with now: a bucket that fills by the rate. Knows no clock."""

from __future__ import annotations

__all__ = ["Allowance"]


class Allowance:
    """So many a second, and as many at once after a pause.

    Args:
        rate: How many.
        now: The time, in seconds, as in all that is told it.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._left = rate
        self._filled = now

    def has_one(self, now: float) -> bool:
        """Whether one may begin."""
        return self._fill(now) >= 1.0

    def take(self) -> None:
        """One begins."""
        self._left -= 1.0

    def wait(self, now: float) -> float:
        """Seconds until one may begin."""
        return max(0.0, 1.0 - self._fill(now)) / self._rate

    def _fill(self, now: float) -> float:
        self._left = min(self._rate, self._left + (now - self._filled) * self._rate)
        self._filled = now
        return self._left
