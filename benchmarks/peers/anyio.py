"""anyio's limiter, on asyncio."""

from __future__ import annotations

import anyio

from .. import crowds


def lock(times: int) -> float:
    """Acquire and release in one task, with the switch to other tasks that it makes each time."""
    limiter = anyio.CapacityLimiter(2)
    return crowds.one_task(times, lambda: limiter)


def tasks(count: int) -> float:
    """So many tasks on ten slots."""
    limiter = anyio.CapacityLimiter(10)
    return crowds.tasks(count, 10, lambda: limiter)
