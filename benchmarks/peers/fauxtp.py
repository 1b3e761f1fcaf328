"""fauxtp: a task each, of anyio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from fauxtp import GenServer
from fauxtp import call as call_
from fauxtp import cast as cast_

from ..timing import atimed


class Echo(GenServer):
    """Answers what it is sent."""

    async def handle_call(self, request: Any, from_ref: Any, state: Any) -> Any:
        return request, state

    async def handle_cast(self, request: Any, state: Any) -> Any:
        return state


async def one(use: Callable[[Any], Awaitable[float]]) -> float:
    """What is measured with one server."""
    async with anyio.create_task_group() as group:
        server = await Echo.start_link(task_group=group)
        took = await use(server.pid)
        server.cancel_scope.cancel()
    return took


def call(times: int) -> float:
    """Call, and get the answer."""
    return asyncio.run(one(lambda pid: atimed(lambda: call_(pid, 1), times)))


def cast(times: int) -> float:
    """Cast, until all of it is handled."""

    async def flood(pid: Any) -> float:
        async def all_of_it() -> None:
            for _ in range(times):
                await cast_(pid, 1)
            await call_(pid, 1)

        return await atimed(all_of_it) / times

    return asyncio.run(one(flood))


def start_stop(times: int) -> float:
    """A server's whole life, with an answer in it, since its task begins later."""

    async def life() -> None:
        async def use(pid: Any) -> float:
            return float(await call_(pid, 1))

        await one(use)

    return asyncio.run(_lives(life, times))


async def _lives(life: Callable[[], Awaitable[object]], times: int) -> float:
    return await atimed(life, times)
