"""Thread pools, asyncio.to_thread, run_in_executor, anyio, and plain threads."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from resprout import throttle
from resprout.actors import CallTimeout

MakeRoom = Callable[[int], Any]
SOON = 20.0
SHORT = 0.05
WATCHDOG = 60.0
CROWD = 30


def in_block(room: Any) -> str:
    with throttle.slot(room.name):
        return room.work()


def in_run(room: Any) -> str:
    return throttle.run(room.name, room.work)


def limited(room: Any) -> str:
    return throttle.limited(room.name)(room.work)()


FORMS = [in_block, in_run, limited]


# -- a pool without a loop -----------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_calls_of_a_thread_pool_are_holders_of_their_own(room: MakeRoom, form: Callable[[Any], str]) -> None:
    db = room(2)
    assert db.crowd_of_threads(CROWD, partial(form, db)) == ["done"] * CROWD
    assert db.most == 2
    assert db.empty


def test_calls_that_a_pool_maps_are_holders_of_their_own(room: MakeRoom) -> None:
    db = room(2)
    db.open.set()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(in_block, [db] * CROWD)) == ["done"] * CROWD
    assert db.most <= 2
    assert db.empty


def test_a_call_that_carries_its_callers_context_is_nested_if_the_caller_is_its_host(
    room: MakeRoom,
) -> None:
    """One at a time; whoever comes besides takes a slot of its own."""
    db = room(1)
    db.open.set()
    with ThreadPoolExecutor(2) as pool:
        with throttle.slot(db.name):
            for _ in range(10):
                assert pool.submit(contextvars.copy_context().run, in_block, db).result(SOON) == "done"
            assert db.state.used == 1
            # Without the context nothing says whose flow this is.
            with pytest.raises(CallTimeout):
                pool.submit(throttle.run, db.name, db.work, timeout=SHORT).result(SOON)
        throttle.resize(db.name, 2)
        db.open.clear()
        with throttle.slot(db.name):
            calls = [pool.submit(contextvars.copy_context().run, in_block, db) for _ in range(2)]
            asyncio.run(db.until(lambda: db.inside == 2))
            assert db.state.used == 2
            db.open.set()
            assert [call.result(SOON) for call in calls] == ["done"] * 2
    assert db.most == 2
    assert db.empty


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="before CPython 3.14 threads begin in an empty context"
)
def test_what_is_open_where_a_pools_thread_was_started_is_not_its_calls(pytestconfig: pytest.Config) -> None:
    """With the option that is the default without a GIL: the test above, once more."""
    name = test_a_call_that_carries_its_callers_context_is_nested_if_the_caller_is_its_host.__name__
    command = [sys.executable, "-X", "thread_inherit_context=1", "-m", "pytest", "-q", f"{__file__}::{name}"]
    ended = subprocess.run(
        command, cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=WATCHDOG
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_grant_is_passed_along_to_the_calls_of_a_pool(room: MakeRoom) -> None:
    db = room(1)

    def part(grant: throttle.Grant, number: int) -> int:
        with throttle.slot(db.name, within=grant), db.entered():
            return number * db.state.used

    with ThreadPoolExecutor(8) as pool, throttle.slot(db.name) as grant:
        assert list(pool.map(partial(part, grant), range(CROWD))) == list(range(CROWD))
    assert db.visits == CROWD
    assert db.empty


def test_a_slot_is_taken_in_one_call_of_a_pool_and_given_back_in_another(room: MakeRoom) -> None:
    db = room(2)
    with ThreadPoolExecutor(1) as pool:
        # One thread, two flows.
        grants = [pool.submit(throttle.slot(db.name).__enter__).result(SOON) for _ in range(2)]
        assert db.state.used == 2
        assert len({grant.token for grant in grants}) == 2
        for grant in grants:
            pool.submit(grant.release).result(SOON)
        assert db.empty


def test_a_call_that_fails_gives_its_slot_back(room: MakeRoom) -> None:
    db = room(2)

    def fail(number: int) -> None:
        with throttle.slot(db.name), db.entered():
            raise ValueError(number)

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(fail, number) for number in range(CROWD)]
        assert [int(str(call.exception(SOON))) for call in calls] == list(range(CROWD))
    assert db.most <= 2
    assert db.empty


def test_plain_threads_are_holders_of_their_own(room: MakeRoom) -> None:
    db = room(2)
    threads = [threading.Thread(target=in_block, args=(db,)) for _ in range(CROWD)]
    with throttle.slot(db.name):
        for thread in threads:
            thread.start()
        asyncio.run(db.until(lambda: db.state.waiting == CROWD - 1 and db.inside == 1))
        db.open.set()
    for thread in threads:
        thread.join(SOON)
    assert db.visits == CROWD
    assert db.most <= 2
    assert db.empty


# -- the pool of a loop --------------------------------------------------------------


async def to_thread(fn: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(fn, *args)


async def executor(fn: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, fn, *args)


async def run_sync(fn: Callable[..., Any], *args: Any) -> Any:
    return await anyio.to_thread.run_sync(fn, *args)


WAYS = [to_thread, executor, run_sync]


@pytest.fixture(params=WAYS)
def offload(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Have a function called on another thread."""
    return request.param


def run(main: Callable[[], Any]) -> None:
    async def with_threads() -> None:
        # A thread for each: those that wait for a slot are missing to those who have one.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CROWD))
        await main()

    asyncio.run(with_threads())


@pytest.mark.parametrize("form", FORMS)
def test_calls_on_the_threads_of_a_loop_are_holders_of_their_own(
    room: MakeRoom, offload: Callable[..., Any], form: Callable[[Any], str]
) -> None:
    db = room(2)

    async def main() -> None:
        assert await db.crowd(CROWD, lambda: offload(form, db)) == ["done"] * CROWD
        assert db.empty

    run(main)
    assert db.most == 2


def test_calls_on_the_threads_of_a_loop_are_nested_in_the_slot_of_their_task(
    room: MakeRoom, offload: Callable[..., Any]
) -> None:
    db = room(1)
    db.open.set()

    async def request() -> None:
        async with throttle.slot(db.name):
            for form in FORMS:
                assert await offload(form, db) == "done"
                assert db.state.used == 1

    async def main() -> None:
        await asyncio.gather(*[request() for _ in range(CROWD)])
        assert db.empty

    run(main)
    assert db.most == 1
    assert db.visits == CROWD * len(FORMS)


@pytest.mark.parametrize("nested", [False, True])
def test_calls_that_a_task_gathers_have_a_slot_one_after_the_other(room: MakeRoom, nested: bool) -> None:
    db = room(1)
    db.open.set()

    async def gather() -> None:
        await asyncio.gather(*[asyncio.to_thread(in_block, db) for _ in range(CROWD)])

    async def main() -> None:
        if not nested:
            await gather()
        else:
            async with throttle.slot(db.name):
                await gather()
        assert db.empty

    run(main)
    assert (db.most, db.visits) == (1, CROWD)


def test_a_block_that_is_entered_and_left_in_two_calls_belongs_to_the_task(
    room: MakeRoom, offload: Callable[..., Any]
) -> None:
    db = room(2)
    db.open.set()

    async def request() -> None:
        block = throttle.slot(db.name)
        grant = await offload(block.__enter__)
        try:
            assert await offload(db.work) == "done"
            assert grant.held
        finally:
            await offload(block.__exit__, None, None, None)

    async def main() -> None:
        await asyncio.gather(*[request() for _ in range(CROWD - 2)])
        assert db.empty

    run(main)
    assert db.most <= 2
    assert db.visits == CROWD - 2


def test_a_cancelled_task_hands_its_slot_on_when_its_call_is_over(
    room: MakeRoom, offload: Callable[..., Any]
) -> None:
    db = room(1)

    async def main() -> None:
        tasks = [asyncio.create_task(offload(in_block, db)) for _ in range(3)]
        await db.until(lambda: db.inside == 1 and db.state.waiting == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert db.state.used == 1
        db.open.set()
        async with throttle.slot(db.name, timeout=SOON):
            assert db.inside == 0

    run(main)
    assert db.most == 1
    assert db.empty


# -- anyio ---------------------------------------------------------------------------


def test_a_thread_runs_a_coroutine_with_a_slot_back_in_the_loop(room: MakeRoom) -> None:
    db = room(2)

    async def work() -> str:
        async with throttle.slot(db.name):
            return await db.awork()

    async def main() -> None:
        visit = partial(anyio.to_thread.run_sync, anyio.from_thread.run, work)
        assert await db.crowd(CROWD, visit) == ["done"] * CROWD
        assert db.empty

    asyncio.run(main())
    assert db.most == 2


def test_a_coroutine_that_a_thread_with_a_slot_runs_back_in_the_loop_works_within_its_grant(
    room: MakeRoom,
) -> None:
    """It runs in a task of its own, of which nothing says that the thread waits for it."""
    db = room(1)

    async def coroutine(grant: throttle.Grant) -> tuple[bool, int]:
        async with throttle.slot(db.name, within=grant) as mine:
            return mine.token == grant.token, db.state.used

    async def unseen() -> None:
        async with throttle.slot(db.name, timeout=SHORT):
            pass

    def work() -> tuple[bool, int]:
        with throttle.slot(db.name) as grant:
            with pytest.raises(CallTimeout):
                anyio.from_thread.run(unseen)
            return anyio.from_thread.run(coroutine, grant)

    async def main() -> None:
        assert await anyio.to_thread.run_sync(work) == (True, 1)
        assert db.empty

    asyncio.run(main())


def test_a_portal_runs_coroutines_with_slots_for_threads(room: MakeRoom) -> None:
    db = room(2)

    async def work() -> str:
        async with throttle.slot(db.name):
            return await db.awork()

    with anyio.from_thread.start_blocking_portal() as portal:
        assert db.crowd_of_threads(CROWD, partial(portal.call, work)) == ["done"] * CROWD
    assert db.most == 2
    assert db.empty


def test_tasks_of_a_group_are_holders_of_their_own(room: MakeRoom) -> None:
    db = room(2)

    async def work() -> None:
        async with throttle.slot(db.name):
            await db.awork()

    async def main() -> None:
        async with throttle.slot(db.name), anyio.create_task_group() as group:
            for _ in range(CROWD):
                group.start_soon(work)
            await db.until(lambda: db.state.waiting == CROWD - 1 and db.inside == 1)
            db.open.set()
        assert db.empty

    asyncio.run(main())
    assert db.visits == CROWD
    assert db.most == 1


def test_a_group_that_fails_gives_all_slots_back(room: MakeRoom) -> None:
    db = room(2)

    async def work() -> None:
        async with throttle.slot(db.name):
            await db.awork()

    async def threaded() -> None:
        await anyio.to_thread.run_sync(partial(in_block, db), abandon_on_cancel=True)

    async def fail() -> None:
        await db.until(lambda: db.inside == 2 and db.state.waiting == 8)
        raise ValueError

    async def main() -> None:
        with pytest.raises(Exception, match="errors in a TaskGroup"):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(work)
                    group.start_soon(threaded)
                group.start_soon(fail)
        # The threads that were given up go on.
        db.open.set()
        await db.until(lambda: db.empty)

    asyncio.run(main())
    assert db.most <= 2


def test_move_on_after_leaves_the_line(room: MakeRoom) -> None:
    db = room(1)

    async def main() -> None:
        async with throttle.slot(db.name):
            async with anyio.create_task_group() as group:

                async def impatient() -> None:
                    with anyio.move_on_after(SHORT) as scope:
                        async with throttle.slot(db.name):
                            pass
                    assert scope.cancelled_caught

                for _ in range(5):
                    group.start_soon(impatient)
            assert db.state == throttle.LockState(1, 0, 1)
        assert db.empty

    asyncio.run(main())
