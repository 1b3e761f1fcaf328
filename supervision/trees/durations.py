"""Times as people write them in a file: `5s`, `500ms`, `1m30s`, or a number of seconds."""

from __future__ import annotations

import math
import re
from typing import Final, NewType

from ...actors import BRUTAL_KILL, INFINITY, ShutdownTime
from .mistakes import show

Seconds = NewType("Seconds", float)
"""A finite time in seconds, not negative; kinds use it as the type of an option."""

Shutdown = NewType("Shutdown", object)
"""A shutdown time: `Seconds`, `INFINITY` or `BRUTAL_KILL`."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h)", re.ASCII)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_LONGEST: Final = 100
"""Characters of a time; looking for its parts takes time in the square of that."""
_MOST: Final = 1e9
"""Thirty years: the system's clocks and waits do not take all that a float can say."""
_FORM: Final = "a time such as 5s, 500ms, 1m30s or a number of seconds"


def read_seconds(value: object) -> Seconds:
    """Reads a time.

    Args:
        value: A number of seconds, or a text with units (`ms`, `s`, `m` or `min`, `h`).

    Returns:
        Seconds.

    Raises:
        ValueError: It is neither, or negative, or longer than thirty years (1e9 s).
    """
    if isinstance(value, str):
        seconds = _sum_of_parts(value.strip())
        if seconds is not None:
            return Seconds(seconds)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return Seconds(float(value))
    raise ValueError(f"expected {_FORM}, got: {show(value)}")


def read_shutdown(value: object) -> ShutdownTime:
    """Reads a shutdown time: a time, `infinity` or `brutal_kill`.

    Raises:
        ValueError: It is none of these.
    """
    if value in ("infinity", math.inf):
        return INFINITY
    if value == "brutal_kill":
        return BRUTAL_KILL
    try:
        return read_seconds(value)
    except ValueError:
        raise ValueError(f"expected {_FORM}, or infinity, or brutal_kill, got: {show(value)}") from None


def _sum_of_parts(text: str) -> float | None:
    if len(text) > _LONGEST:
        return None
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        # What is left when all parts are taken out must be nothing, or there was something else in between.
        if not text or _PART.sub("", text):
            return None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return seconds if seconds <= _MOST else None
