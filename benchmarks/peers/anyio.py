"""anyio's limiter, on asyncio."""

from __future__ import annotations

import asyncio

import anyio

from .. import crowds
from ..timing import atimed


def lock(times: int) -> float:
    """Acquire and release in one task, with the switch to other tasks that it makes each time."""

    async def main() -> float:
        limiter = anyio.CapacityLimiter(2)

        async def both() -> None:
            async with limiter:
                pass

        return await atimed(both, times)

    return asyncio.run(main())


def tasks(count: int) -> float:
    """So many tasks on ten slots."""
    limiter = anyio.CapacityLimiter(10)
    return crowds.tasks(count, 10, lambda: limiter)
