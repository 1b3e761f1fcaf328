"""``slot``, ``run``, ``arun`` and ``limited``."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import CallTimeout, process

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


def used(name: str) -> int:
    return throttle.lock_state(name).used


def test_a_slot_is_given_back_however_the_block_ends(lock: Lock) -> None:
    name = lock(1)
    with throttle.slot(name) as grant:
        assert grant.pid is process.current()
        assert used(name) == 1
    assert used(name) == 0
    with pytest.raises(KeyError), throttle.slot(name):
        raise KeyError
    assert used(name) == 0


def test_a_slot_inside_a_slot_does_not_free_the_outer_one(lock: Lock) -> None:
    name = lock(1)
    with throttle.slot(name) as outer:
        with throttle.slot(name) as inner:
            assert inner is outer
        assert used(name) == 1
    assert used(name) == 0


def test_one_slot_object_may_be_entered_again_but_not_by_two_at_once(lock: Lock, in_thread: InThread) -> None:
    name = lock(2)
    block = throttle.slot(name)
    for _ in range(2):
        with block, block:
            assert used(name) == 1
        assert used(name) == 0

    def enter() -> None:
        with block:
            raise AssertionError

    with block:
        with pytest.raises(RuntimeError, match="make one for each block"):
            in_thread(enter).result(SOON)
    assert used(name) == 0


def test_a_stopped_lock_does_not_disturb_the_end_of_a_block(lock: Lock) -> None:
    name = lock(1)
    with throttle.slot(name):
        throttle.stop_lock(name)


def test_a_slot_says_what_it_expects() -> None:
    with pytest.raises(ValueError, match="expected on_kill to be 'hold' or 'release', got: 'keep'"):
        throttle.slot("any", on_kill="keep")


def test_run_returns_what_the_function_returns_and_raises_what_it_raises(lock: Lock) -> None:
    name = lock(1)
    assert throttle.run(name, lambda a, b: (a, b, used(name)), 1, b=2) == (1, 2, 1)
    with pytest.raises(ZeroDivisionError):
        throttle.run(name, lambda: 1 / 0)
    assert used(name) == 0


def test_run_inside_run_does_not_free_the_outer_slot(lock: Lock) -> None:
    name = lock(1)
    assert throttle.run(name, lambda: (throttle.run(name, lambda: None), used(name))) == (None, 1)
    assert used(name) == 0


@pytest.mark.parametrize("bad", [None, 5, "text"])
def test_what_is_run_must_be_callable(lock: Lock, bad: Any) -> None:
    name = lock(1)
    with pytest.raises(TypeError, match="expected fn to be callable"):
        throttle.run(name, bad)
    with pytest.raises(TypeError, match="expected fn to be callable"):
        throttle.execute(name, bad)
    with pytest.raises(TypeError, match="expected fn to be callable"):
        asyncio.run(throttle.arun(name, bad))
    with pytest.raises(TypeError, match="something callable"):
        throttle.limited(name)(bad)
    assert used(name) == 0


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


def test_run_refuses_a_coroutine_function_and_names_arun(lock: Lock) -> None:
    with pytest.raises(TypeError, match=r"use `await throttle\.arun\("):
        throttle.run(lock(1), double, 2)


def test_arun_and_async_with_hold_the_slot_for_the_task(lock: Lock) -> None:
    name = lock(1)

    async def main() -> int:
        async with throttle.slot(name) as grant:
            assert grant.pid is process.current()
            assert used(name) == 1
            # Nested: the same task has it already.
            return await throttle.arun(name, double, 4)

    assert asyncio.run(main()) == 8
    assert used(name) == 0


def test_tasks_of_one_loop_take_turns(lock: Lock) -> None:
    name = lock(2)
    running: list[int] = []
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        async with throttle.slot(name):
            running.append(number)
            most = max(most, len(running))
            await asyncio.sleep(0)
            running.remove(number)

    async def main() -> None:
        await asyncio.gather(*[work(number) for number in range(50)])

    asyncio.run(main())
    assert most == 2
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_loops_and_threads_share_a_lock(lock: Lock, in_thread: InThread) -> None:
    name = lock(2)
    running: list[int] = []
    seen: list[int] = []

    def note() -> None:
        running.append(1)
        seen.append(len(running))
        running.pop()

    def thread() -> None:
        for _ in range(100):
            throttle.run(name, note)

    def loop() -> None:
        async def task() -> None:
            for _ in range(20):
                async with throttle.slot(name):
                    note()

        async def main() -> None:
            await asyncio.gather(*[task() for _ in range(5)])

        asyncio.run(main())

    for each in [in_thread(work) for work in (thread, loop, thread, loop)]:
        each.result(SOON)
    assert len(seen) == 400
    assert max(seen) <= 2


def test_an_async_timeout_leaves_the_line(lock: Lock) -> None:
    name = lock(1)

    async def main() -> None:
        with pytest.raises(CallTimeout, match=r"no slot within 0\.01 s"):
            await throttle.aacquire(name, timeout=0.01)
        with pytest.raises(CallTimeout):
            async with throttle.slot(name, timeout=0.0):
                pass

    throttle.acquire(name)
    asyncio.run(main())
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
    throttle.release(name)


@pytest.mark.parametrize(
    "wait",
    [
        pytest.param(throttle.aacquire, id="aacquire"),
        pytest.param(lambda name: throttle.aexecute(name, pytest.fail), id="aexecute"),
        pytest.param(lambda name: throttle.arun(name, pytest.fail), id="arun"),
    ],
)
def test_a_cancelled_task_leaves_the_line(lock: Lock, wait: Callable[[str], Awaitable[Any]]) -> None:
    name = lock(1)

    async def main() -> None:
        async with throttle.slot(name):
            task = asyncio.ensure_future(wait(name))
            await asyncio.sleep(0)
            assert throttle.lock_state(name).waiting == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert throttle.lock_state(name).waiting == 0

    asyncio.run(main())


def test_a_grant_that_meets_a_cancellation_is_handed_on(lock: Lock) -> None:
    name = lock(1)

    async def hold() -> None:
        async with throttle.slot(name):
            pass

    async def main() -> None:
        await throttle.aacquire(name)
        cancelled = asyncio.ensure_future(hold())
        waiting = asyncio.ensure_future(hold())
        await asyncio.sleep(0)
        # Granted and cancelled before it runs again.
        throttle.release(name)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await asyncio.wait_for(waiting, SOON)

    asyncio.run(main())
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_the_slot_of_a_task_that_ends_is_free(lock: Lock) -> None:
    name = lock(1)

    async def main() -> None:
        await asyncio.ensure_future(throttle.aacquire(name))
        await asyncio.wait_for(throttle.aacquire(name), SOON)

    asyncio.run(main())
    assert used(name) == 0


def test_limited_decorates_functions_and_coroutine_functions(lock: Lock) -> None:
    name = lock(1)

    @throttle.limited(name)
    def plain(number: int) -> tuple[int, int]:
        """Adds one."""
        return number + 1, used(name)

    @throttle.limited(name, timeout=SOON)
    async def coroutine(number: int) -> tuple[int, int]:
        return await double(number), used(name)

    assert plain(1) == (2, 1)
    assert plain.__doc__ == "Adds one."
    assert asyncio.run(coroutine(2)) == (4, 1)
    assert asyncio.run(throttle.limited(name)(functools.partial(double, 3))()) == 6
    assert used(name) == 0
