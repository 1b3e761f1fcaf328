"""aiologic's limiter, for threads and for tasks."""

from __future__ import annotations

import asyncio

import aiologic

from .. import crowds
from ..timing import atimed, timed


def lock(times: int) -> float:
    """Acquire and release in one thread."""
    limiter = aiologic.CapacityLimiter(2)

    def both() -> None:
        limiter.green_acquire()
        limiter.green_release()

    return timed(both, times)


def async_lock(times: int) -> float:
    """Acquire and release in one task."""

    async def main() -> float:
        limiter = aiologic.CapacityLimiter(2)

        async def both() -> None:
            async with limiter:
                pass

        return await atimed(both, times)

    return asyncio.run(main())


def tasks(count: int) -> float:
    """So many tasks on ten slots."""
    limiter = aiologic.CapacityLimiter(10)
    return crowds.tasks(count, 10, lambda: limiter)
