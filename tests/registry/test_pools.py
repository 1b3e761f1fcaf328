"""Keys and locks by key in threads of pools that work for asyncio tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest

from resprout import AlreadyRegistered, Registry, process

SOON = 20.0


@pytest.mark.parametrize("how", [asyncio.to_thread, anyio.to_thread.run_sync])
def test_a_key_that_a_pools_thread_registers_for_a_task_is_the_tasks_and_ends_with_it(
    registry: str, how: Callable[..., Any]
) -> None:
    name = registry

    async def request() -> None:
        owner = await how(lambda: Registry.register(name, "user"))
        assert owner is process.current()
        assert Registry.keys(name, owner) == ["user"]
        with pytest.raises(AlreadyRegistered):
            await how(lambda: Registry.register(name, "user"))
        assert await how(lambda: Registry.update_value(name, "user", lambda old: "busy")) == ("busy", None)

    async def main() -> None:
        await asyncio.create_task(request())
        # The thread goes on, and serves the next.
        await asyncio.create_task(request())
        assert Registry.whereis(name, "user") is None

    asyncio.run(main())


def test_a_task_gives_up_its_key_from_any_thread(registry: str) -> None:
    name = registry

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
            await loop.run_in_executor(one, Registry.register, name, "user")
            await loop.run_in_executor(two, Registry.unregister, name, "user")
        assert Registry.lookup(name, "user") == []

    asyncio.run(main())


def test_a_pools_thread_that_works_for_no_task_is_its_own_owner(registry: str) -> None:
    name = registry
    with ThreadPoolExecutor(1) as pool:
        owner = pool.submit(Registry.register, name, "user").result(SOON)
        assert owner is pool.submit(process.current).result(SOON)
        assert Registry.whereis(name, "user") is owner
    assert Registry.whereis(name, "user") is None


def test_a_lock_by_key_is_held_for_as_long_as_the_function_runs_though_its_task_has_ended(
    registry: str,
) -> None:
    name = registry
    inside, go_on = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        assert go_on.wait(SOON)

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(Registry.lock, name, "user", work))
        while not inside.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await Registry.alock(name, "user", asyncio.sleep, timeout=0.01)  # type: ignore[arg-type]  # not called
        go_on.set()
        assert await Registry.alock(name, "user", lambda: asyncio.sleep(0, "mine"), timeout=SOON) == "mine"

    asyncio.run(main())


def test_a_lock_by_key_is_nested_in_that_of_the_task_that_waits_for_the_thread(
    registry: str,
) -> None:
    name = registry

    async def work() -> str:
        return await asyncio.to_thread(Registry.lock, name, "user", lambda: "nested", SOON)

    assert asyncio.run(Registry.alock(name, "user", work)) == "nested"
