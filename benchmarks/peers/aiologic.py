"""aiologic's limiter, for threads and for tasks."""

from __future__ import annotations

from aiologic import CapacityLimiter

from .. import crowds
from ..timing import timed


def lock(times: int) -> float:
    """Acquire and release in one thread."""
    limiter = CapacityLimiter(2)

    def both() -> None:
        limiter.green_acquire()
        limiter.green_release()

    return timed(both, times)


def async_lock(times: int) -> float:
    """Acquire and release in one task."""
    limiter = CapacityLimiter(2)
    return crowds.one_task(times, lambda: limiter)


def tasks(count: int) -> float:
    """So many tasks on ten slots."""
    limiter = CapacityLimiter(10)
    return crowds.tasks(count, 10, lambda: limiter)
