"""Xoscar: actors of a pool with an address, which are called through it even inside one process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import xoscar

from ..timing import atimed


class Echo(xoscar.Actor):
    """Answers what it is sent."""

    def echo(self, message: Any) -> Any:
        """The message."""
        return message


def in_a_pool(use: Callable[[str], Awaitable[float]]) -> float:
    """What is measured in one pool, in this process."""

    async def main() -> float:
        pool = await xoscar.create_actor_pool("127.0.0.1", n_process=0)
        async with pool:
            return await use(pool.external_address)

    took = asyncio.run(main())
    gc.collect()  # what it would clean up at the interpreter's end, with a thread that cannot start any more
    return took


def call(times: int) -> float:
    """Call, and get the answer."""

    async def use(address: str) -> float:
        echo = await xoscar.create_actor(Echo, address=address)
        return await atimed(lambda: echo.echo(1), times)

    return in_a_pool(use)


def cast(times: int) -> float:
    """Tell, until all of it is handled."""

    async def use(address: str) -> float:
        echo = await xoscar.create_actor(Echo, address=address)

        async def flood() -> None:
            for _ in range(times):
                await echo.echo.tell(1)
            await echo.echo(1)

        return await atimed(flood) / times

    return in_a_pool(use)


def start_stop(times: int) -> float:
    """An actor's whole life."""

    async def use(address: str) -> float:
        async def life() -> None:
            await xoscar.destroy_actor(await xoscar.create_actor(Echo, address=address))

        return await atimed(life, times)

    return in_a_pool(use)
