"""How often slots may be granted: so many a second, with a burst, by the generic cell rate algorithm.

Pure.
"""

from __future__ import annotations

import math
import re

import attrs

from ...actors.engine import brief

MOST_BURST = 2**53
"""What can be reckoned with exactly."""
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*([smh])\s*(?:,?\s*burst\s+(\d+))?\s*")


@attrs.frozen
class Rate:
    """A rate of grants.

    Args:
        per_second: grants a second in the long run; a weight of 3 counts three times.
        burst: how many may come at once after a pause.
    """

    per_second: float
    burst: int = 1

    @staticmethod
    def of(value: object) -> Rate | None:
        """Read a rate: a Rate, grants a second, or text such as ``100/s``, ``30/m``, ``100/s burst 20``.

        Without a burst, it is what comes in a tenth of a second: timers are not exact, and what a late one
        misses would be lost.

        Raises:
            ValueError: which says what was expected.
        """
        likes = "'100/s', '30/m', '100/s burst 20'"
        expected = f"expected rate to be grants per second above 0, or like {likes}, got: {brief(value)}"
        if value is None:
            return None
        try:
            rate, burst = _read(value)
            good = 0 < rate < math.inf and not math.isinf(1 / rate) and burst >= 1
        except (TypeError, OverflowError):
            good = False
        if not good or isinstance(burst, bool):
            raise ValueError(expected)
        if burst > MOST_BURST:
            raise ValueError(f"expected the burst of rate to be at most 2**53, got: {brief(value)}")
        return Rate(rate, burst)


def _read(value: object) -> tuple[float, int]:
    """Read a rate and its burst, which may be none that make sense.

    Raises:
        TypeError, OverflowError: it is no rate.
    """
    if isinstance(value, Rate):
        return value.per_second * 1.0, value.burst
    if isinstance(value, str) and (match := _TEXT.fullmatch(value)) is not None:
        rate = float(match[1]) / UNITS[match[2]]
        return rate, _burst(match[3]) if match[3] else _usual_burst(rate)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value), _usual_burst(float(value))
    raise TypeError


def _burst(digits: str) -> int:
    """Read a burst, or what is as much too large where it has more digits than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return MOST_BURST + 1


def _usual_burst(rate: float) -> int:
    """Return what comes in a tenth of a second."""
    return max(1, int(min(rate / 10, MOST_BURST))) if math.isfinite(rate) else 1


class Meter:
    """How much of a rate is used up. It knows one number.

    The time at which all that was granted would have been due.

    Semantics: GCRA, ITU-T I.371, with weights as in the virtual scheduling algorithm. Cutting ``spend`` short
        loses nothing or one grant's credit, which is the safe side.
    """

    __slots__ = ("_due", "_every", "_slack", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._every = 1.0 / rate.per_second
        self._slack = rate.burst * self._every
        self._due = -math.inf

    def wait(self, weight: int, now: float) -> float:
        """Return the seconds until so much may be granted, 0.0 for now.

        A weight above the burst is granted when all credit is there.
        """
        cost = weight * self._every
        left = max(self._due, now) + cost - max(self._slack, cost) - now
        # A billionth of a second is rounding, not waiting.
        return left if left > 1e-9 else 0.0

    def spend(self, weight: int, now: float) -> None:
        """Count a grant."""
        self._due = max(self._due, now) + weight * self._every

    def refund(self, weight: int) -> None:
        """Take back a grant that nobody wanted."""
        self._due -= weight * self._every
