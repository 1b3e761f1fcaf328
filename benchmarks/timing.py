"""The one clock: microseconds, milliseconds or seconds of an operation, and how much memory there is."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

IN_A_SECOND = {"us": 1e6, "ms": 1e3, "s": 1.0}


def stopwatch(unit: str = "us") -> Callable[[], float]:
    """Begin to measure; what is returned says how long ago that was."""
    began, scale = time.perf_counter(), IN_A_SECOND[unit]
    return lambda: (time.perf_counter() - began) * scale


def timed(operation: Callable[[], object], times: int = 1, unit: str = "us") -> float:
    """How long one operation takes, of so many in a row. The loop around them is in it, on every side."""
    elapsed = stopwatch(unit)
    for _ in range(times):
        operation()
    return elapsed() / times


async def atimed(operation: Callable[[], Awaitable[object]], times: int = 1, unit: str = "us") -> float:
    """The same for what is awaited."""
    elapsed = stopwatch(unit)
    for _ in range(times):
        await operation()
    return elapsed() / times


def each(times: int, operation: Callable[[], object], unit: str = "us") -> Callable[[], float]:
    """A side that does so many in a repeat."""
    return lambda: timed(operation, times, unit)


def resident() -> float:
    """Bytes of memory that this program occupies; not a number where there is no /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return float(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("nan")
