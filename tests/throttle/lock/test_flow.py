"""Who holds: the flow of control, whichever threads it runs on; grants that go from hand to hand."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest

from resprout import throttle
from resprout.actors import CallTimeout, NoProcess, NotHeld, Pid, process
from resprout.throttle.lock import flow
from resprout.throttle.lock.flow import look_again
from resprout.throttle.lock.table import cores

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
Actor = Callable[[], Pid]
SOON = 20.0


def used(name: str) -> int:
    return throttle.lock_state(name).used


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """One thread that many flows share."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def fresh() -> contextvars.Context:
    return contextvars.Context()


# -- flows ---------------------------------------------------------------------


def test_two_flows_on_one_thread_are_two_holders_of_two_slots(lock: Lock) -> None:
    name = lock(2)
    flows = [fresh(), fresh()]
    blocks = [throttle.slot(name), throttle.slot(name)]
    grants = [flow.run(block.__enter__) for flow, block in zip(flows, blocks, strict=True)]
    assert used(name) == 2
    assert grants[0].token != grants[1].token
    assert throttle.attempt(name) is None
    with pytest.raises(CallTimeout):
        fresh().run(throttle.slot(name, timeout=0.0).__enter__)
    # In each the other one is not seen, and its own is.
    assert flows[0].run(throttle.run, name, lambda: used(name)) == 2
    for block in blocks:
        block.__exit__(None, None, None)
    assert used(name) == 0


def test_a_flow_that_goes_from_thread_to_thread_keeps_its_slot_and_leaves_it_anywhere(lock: Lock) -> None:
    name = lock(1)
    flow = fresh()
    block = throttle.slot(name)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two, ThreadPoolExecutor(1) as three:
        grant = one.submit(flow.run, block.__enter__).result(SOON)
        nested = two.submit(flow.run, throttle.run, name, lambda: (throttle.holders(name), used(name)))
        holders, slots = nested.result(SOON)
        assert [holder.token for holder in holders] == [grant.token]
        assert slots == 1
        assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
        three.submit(flow.run, block.__exit__, None, None, None).result(SOON)
        assert used(name) == 0


def rows(name: str, seen: list[int], count: int) -> Iterator[int]:
    with throttle.slot(name):
        seen.append(1)
        try:
            yield from range(count)
        finally:
            seen.pop()


@pytest.mark.parametrize("propagates", [True, False])
def test_generators_that_take_turns_on_the_threads_of_a_loop_never_share_a_slot(
    lock: Lock, propagates: bool
) -> None:
    """As Starlette streams them, each step in a copy of the context of the task; and as an executor does."""
    name = lock(2)
    seen: list[int] = []
    most = 0

    async def step(generator: Iterator[int]) -> Any:
        if propagates:
            return await asyncio.to_thread(next, generator, None)
        return await asyncio.get_running_loop().run_in_executor(None, next, generator, None)

    async def stream() -> list[int]:
        nonlocal most
        generator = rows(name, seen, 5)
        got = []
        while (row := await step(generator)) is not None:
            got.append(row)
            most = max(most, len(seen))
        return got

    async def main() -> list[list[int]]:
        # A thread for each: those that wait for a slot are missing to those who have one.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(8))
        return await asyncio.gather(*[stream() for _ in range(8)])

    assert asyncio.run(main()) == [list(range(5))] * 8
    assert most == 2
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_call_on_another_thread_is_nested_in_the_slot_of_the_task_that_waits_for_it(lock: Lock) -> None:
    name = lock(1)

    def work() -> tuple[int, int]:
        with throttle.slot(name) as outer, throttle.slot(name) as inner:
            assert inner is outer
            return outer.token, used(name)

    async def main() -> None:
        async with throttle.slot(name) as grant:
            assert await asyncio.to_thread(work) == (grant.token, 1)
            assert await asyncio.get_running_loop().run_in_executor(None, work) == (grant.token, 1)
            assert await anyio.to_thread.run_sync(work) == (grant.token, 1)
            assert await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, work)) == (
                grant.token,
                1,
            )
            assert used(name) == 1
        assert used(name) == 0

    asyncio.run(main())

    async def waited_for() -> None:
        # Whoever waits for that task is not who waits for the calls.
        await asyncio.create_task(main())

    asyncio.run(waited_for())


def test_calls_on_other_threads_at_once_are_not_all_in_one_slot(lock: Lock) -> None:
    name = lock(2)
    both = threading.Barrier(2)
    inside: list[int] = []

    def work() -> None:
        with throttle.slot(name) as grant:
            inside.append(grant.token)
            both.wait(SOON)

    async def main() -> None:
        async with throttle.slot(name) as grant:
            loop = asyncio.get_running_loop()
            # Without a task between, both are the doing of this one; but only one can have its slot.
            await asyncio.gather(*[loop.run_in_executor(None, work) for _ in range(2)])
            assert grant.token in inside
            assert len(set(inside)) == 2

    asyncio.run(main())
    assert used(name) == 0


def test_a_thread_that_looks_whom_it_waits_for_does_not_nest_in_the_slot_that_it_is_granted_meanwhile(
    lock: Lock,
) -> None:
    """It would leave the line then, and give that slot back."""
    name = lock(1)

    def look() -> None:
        granted = throttle.acquire(name)
        me = process.current()
        assert look_again(cores[name], me, 1) is None
        granted.release()
        assert not granted.held

    async def main() -> None:
        await asyncio.to_thread(look)

    asyncio.run(main())
    assert used(name) == 0


def test_of_two_calls_that_come_at_once_only_one_is_let_into_the_slot_of_their_task(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look while nobody is there, and then both go in."""
    name = lock(2)
    looked, go_on, thread = threading.Barrier(2), threading.Event(), threading.local()
    inside: list[int] = []
    look = flow.may_be_guest

    def look_together(*args: Any) -> bool:
        may = look(*args)
        if not hasattr(thread, "looked"):
            thread.looked = True
            looked.wait(SOON)
        return may

    def work() -> int:
        with throttle.slot(name) as grant:
            inside.append(grant.token)
            assert go_on.wait(SOON)
            return grant.token

    async def host(pool: ThreadPoolExecutor) -> list[int]:
        async with throttle.slot(name) as mine:
            loop = asyncio.get_running_loop()
            tokens = await asyncio.gather(*[loop.run_in_executor(pool, work) for _ in range(2)])
            return [mine.token, *tokens]

    async def main() -> None:
        other = await throttle.aacquire(name)
        with ThreadPoolExecutor(2) as pool:
            waiting = asyncio.create_task(host(pool))
            # One in the slot and one in the line; or, were it wrong, two in the slot.
            while throttle.lock_state(name).waiting + len(inside) < 2:
                assert not waiting.done()
                await asyncio.sleep(0)
            assert len(inside) == 1
            other.release()
            go_on.set()
            mine, *tokens = await waiting
            assert inside[0] == mine
            assert len({*tokens}) == 2

    monkeypatch.setattr(flow, "may_be_guest", look_together)
    asyncio.run(main())
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_task_that_another_one_begins_inside_its_slot_takes_one_of_its_own(lock: Lock) -> None:
    name = lock(2)
    seen: list[int] = []
    most = 0

    async def child() -> None:
        nonlocal most
        async with throttle.slot(name):
            seen.append(1)
            most = max(most, len(seen))
            await asyncio.sleep(0)
            seen.pop()

    async def thread() -> None:
        await asyncio.to_thread(throttle.run, name, lambda: None)

    async def main() -> None:
        async with throttle.slot(name):
            await asyncio.gather(*[child() for _ in range(10)])
            assert used(name) == 1
            await asyncio.gather(thread(), thread())

    asyncio.run(main())
    assert most == 1
    assert used(name) == 0


def test_a_loop_that_is_run_inside_a_block_goes_on_with_its_slot(lock: Lock) -> None:
    name = lock(1)

    async def main() -> int:
        async with throttle.slot(name) as outer, throttle.slot(name) as inner:
            assert outer is inner
            assert used(name) == 1
            return outer.token

    with throttle.slot(name) as grant:
        assert asyncio.run(main()) == grant.token
        assert used(name) == 1
    assert used(name) == 0


def test_an_actor_that_is_started_inside_a_block_is_another_flow(lock: Lock, actor: Actor) -> None:
    name = lock(2)
    with throttle.slot(name):
        pid = actor()
        assert pid.call(lambda: throttle.run(name, lambda: used(name))) == 2
        started = process.spawn(lambda: None)
        assert started is not None
    assert used(name) == 0


def test_work_of_execute_is_nested_in_its_own_slot_on_whatever_thread(lock: Lock) -> None:
    name = lock(1)

    def inner() -> int:
        return throttle.run(name, lambda: used(name))

    async def coroutine() -> int:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            async with throttle.slot(name):
                return await loop.run_in_executor(pool, inner)

    assert throttle.execute(name, inner).result(SOON) == 1
    assert throttle.execute(name, coroutine).result(SOON) == 1
    assert throttle.execute(name, lambda: asyncio.run(coroutine())).result(SOON) == 1
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_what_a_pools_thread_acquires_by_name_is_not_nested_in_a_block_of_another_flow(
    lock: Lock, pool: ThreadPoolExecutor
) -> None:
    name = lock(2)
    block = throttle.slot(name)
    pool.submit(fresh().run, block.__enter__).result(SOON)
    by_name = pool.submit(throttle.acquire, name).result(SOON)
    assert used(name) == 2
    assert pool.submit(throttle.attempt, name).result(SOON) is by_name
    pool.submit(throttle.release, name).result(SOON)
    pool.submit(throttle.release, name).result(SOON)
    assert used(name) == 1
    with pytest.raises(NotHeld):
        pool.submit(throttle.release, name).result(SOON)
    block.__exit__(None, None, None)
    assert used(name) == 0


def test_by_name_and_by_block_nest_in_each_other_in_one_flow(lock: Lock) -> None:
    name = lock(1)
    by_name = throttle.acquire(name)
    with throttle.slot(name) as by_block:
        assert by_block is by_name
    with throttle.slot(name) as by_block:
        assert throttle.attempt(name) is by_block
        throttle.release(name)
    assert used(name) == 1
    throttle.release(name)
    with throttle.slot(name) as by_block:
        assert throttle.acquire(name) is by_block
        throttle.release(name)
        assert used(name) == 1
    assert used(name) == 0


def test_blocks_that_end_in_another_order_than_they_began_free_what_is_theirs(lock: Lock) -> None:
    one, two = lock(1), lock(1)
    blocks = [throttle.slot(one), throttle.slot(two), throttle.slot(one)]
    for block in blocks:
        block.__enter__()
    for block, still in zip(blocks, [(1, 1), (1, 0), (0, 0)], strict=True):
        block.__exit__(None, None, None)
        assert (used(one), used(two)) == still
    with throttle.slot(two), throttle.slot(one):
        assert (used(one), used(two)) == (1, 1)


# -- deaths --------------------------------------------------------------------


def test_a_generator_that_nobody_needs_any_more_gives_its_slot_back(
    lock: Lock, pool: ThreadPoolExecutor
) -> None:
    name = lock(1)
    generator = rows(name, [], 5)
    assert pool.submit(next, generator).result(SOON) == 0
    assert used(name) == 1
    del generator
    gc.collect()
    assert used(name) == 0


@pytest.mark.parametrize("how", [asyncio.to_thread, anyio.to_thread.run_sync])
def test_what_a_pools_thread_took_for_a_task_outlives_the_call_and_ends_with_the_task(
    lock: Lock, how: Callable[..., Any]
) -> None:
    name = lock(1)
    kept: list[Any] = []

    def take() -> None:
        block = throttle.slot(name)
        kept.append(block)
        kept.append(block.__enter__())

    async def request() -> Pid:
        await how(take)
        assert used(name) == 1
        (holder,) = throttle.holders(name)
        assert holder.pid is process.current()
        return holder.pid

    async def main() -> None:
        ended = await asyncio.create_task(request())
        # Somebody still refers to the block, but nobody will end it.
        async with throttle.slot(name, timeout=SOON):
            assert not ended.alive
        assert not kept[1].held

    asyncio.run(main())
    assert used(name) == 0


@pytest.mark.parametrize("how", [asyncio.to_thread, anyio.to_thread.run_sync])
@pytest.mark.parametrize("keeps", [False, True])
def test_a_slot_that_comes_when_its_task_was_cancelled_is_free_when_the_call_is_over(
    lock: Lock, how: Callable[..., Any], keeps: bool
) -> None:
    """Nobody learns of it: as in a dependency of a request that is cancelled while it waits in line.

    Some keep the call's context; a traceback does, too.
    """
    name = lock(1)
    kept: list[contextvars.Context] = []
    block = throttle.slot(name)
    entered = threading.Event()

    def enter() -> None:
        block.__enter__()
        if keeps:
            kept.append(contextvars.copy_context())
        # The task is dead, but this works with its slot.
        assert [holder.straggler for holder in throttle.holders(name)] == [True]
        entered.set()

    async def main() -> None:
        async with throttle.slot(name):
            task = asyncio.create_task(how(enter))
            while not throttle.lock_state(name).waiting:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert throttle.lock_state(name).waiting == 1
        async with throttle.slot(name, timeout=SOON):
            assert entered.is_set()
            block.__exit__(None, None, None)
            assert used(name) == 1

    asyncio.run(main())
    assert used(name) == 0


def test_a_thread_that_ends_does_not_end_the_flow_that_it_began(lock: Lock) -> None:
    name = lock(1)

    async def main() -> None:
        block = throttle.slot(name)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as short:
            await loop.run_in_executor(short, block.__enter__)
        # The thread has been joined.
        assert used(name) == 1
        await asyncio.to_thread(block.__exit__, None, None, None)
        assert used(name) == 0

    asyncio.run(main())


def test_the_slot_of_a_call_whose_task_has_ended_comes_back_when_the_call_has(lock: Lock) -> None:
    name = lock(1)
    inside, go_on = threading.Event(), threading.Event()
    left = threading.Event()

    def work() -> None:
        with throttle.slot(name):
            inside.set()
            assert go_on.wait(SOON)
            assert used(name) == 1
        left.set()

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(work))
        while not inside.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # It is cancelled, but its thread is still at work.
        await asyncio.sleep(0)
        assert used(name) == 1
        assert [holder.straggler for holder in throttle.holders(name)] == [True]
        assert throttle.attempt(name) is None
        go_on.set()
        await throttle.aacquire(name, timeout=SOON)
        assert left.wait(SOON)

    asyncio.run(main())


def test_a_guest_that_outlives_its_host_keeps_the_slot_until_it_leaves(lock: Lock) -> None:
    name = lock(1)
    inside, go_on = threading.Event(), threading.Event()
    grants: list[throttle.Grant] = []

    def work() -> None:
        with throttle.slot(name):
            inside.set()
            assert go_on.wait(SOON)

    async def host() -> None:
        async with throttle.slot(name) as grant:
            grants.append(grant)
            await asyncio.to_thread(work)

    async def main() -> None:
        task = asyncio.create_task(host())
        while not inside.is_set():
            await asyncio.sleep(0)
        (grant,) = grants
        assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The block has ended without its call.
        assert not grant.held
        assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
        assert [holder.token for holder in throttle.holders(name)] == [grant.token]
        waiting = asyncio.create_task(throttle.aacquire(name))
        await asyncio.sleep(0)
        assert throttle.lock_state(name).waiting == 1
        go_on.set()
        assert (await asyncio.wait_for(waiting, SOON)).token > grant.token

    asyncio.run(main())


# -- grants --------------------------------------------------------------------


def test_a_grant_is_released_by_itself_on_any_thread_and_once(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)
    grant = throttle.acquire(name)
    assert grant.held
    grant.assert_held()
    in_thread(grant.release).result(SOON)
    assert not grant.held
    assert used(name) == 0
    with pytest.raises(NotHeld):
        grant.release()
    with pytest.raises(NotHeld):
        grant.assert_held()
    with throttle.slot(name) as inside:
        inside.release()
        assert used(name) == 0
    assert used(name) == 0


def test_a_grant_is_handed_over_to_a_process_whose_end_frees_it(
    lock: Lock, actor: Actor, end: Callable[..., object]
) -> None:
    name = lock(1)
    pid = actor()
    with throttle.slot(name) as mine:
        theirs = mine.transfer(pid)
        assert not mine.held
        assert theirs.held
        assert theirs.pid is pid
        assert theirs.token == mine.token
        with pytest.raises(NotHeld):
            mine.transfer(pid)
    assert used(name) == 1
    assert pid.call(lambda: throttle.run(name, lambda: used(name))) == 1
    end(pid)
    assert used(name) == 0
    assert not theirs.held


def test_who_was_handed_a_slot_releases_it_by_name(lock: Lock, actor: Actor) -> None:
    name = lock(2)
    pid = actor()
    throttle.acquire(name).transfer(pid)
    with pytest.raises(NotHeld):
        throttle.release(name)
    pid.call(lambda: throttle.release(name))
    assert used(name) == 0
    mine = throttle.acquire(name).transfer(process.current())
    assert used(name) == 1
    mine.release()
    assert used(name) == 0


def test_a_hand_over_that_cannot_be_leaves_everything_as_it_is(
    lock: Lock, actor: Actor, end: Callable[..., object]
) -> None:
    name = lock(2)
    pid, gone = actor(), actor()
    end(gone)
    grant = throttle.acquire(name)
    with pytest.raises(NoProcess):
        grant.transfer(gone)
    with pytest.raises(TypeError, match="expected the Pid of the new holder"):
        grant.transfer("somebody")  # type: ignore[arg-type]  # that is the point
    throttle.acquire(name)
    with pytest.raises(ValueError, match="outermost block, got one that is acquired 2 times"):
        grant.transfer(pid)
    throttle.release(name)
    pid.call(lambda: throttle.acquire(name) and None)
    with pytest.raises(ValueError, match="which has one"):
        grant.transfer(pid)
    assert grant.held
    assert used(name) == 2
    throttle.release(name)


def test_a_block_within_a_grant_needs_no_slot_wherever_it_runs(lock: Lock, in_thread: InThread) -> None:
    name = lock(2)

    def work(grant: throttle.Grant) -> tuple[int, int]:
        with throttle.slot(name, within=grant) as mine:
            with throttle.slot(name, within=grant):
                assert used(name) == 1
            return mine.token, used(name)

    async def task(grant: throttle.Grant) -> tuple[int, int]:
        async with throttle.slot(name, within=grant) as mine:
            return mine.token, used(name)

    with throttle.slot(name) as grant:
        assert in_thread(work, grant).result(SOON) == (grant.token, 1)
        assert asyncio.run(task(grant)) == (grant.token, 1)
        assert work(grant) == (grant.token, 1)
        with pytest.raises(ValueError, match="at most the 1 already held, got: 2"):
            in_thread(throttle.slot(name, weight=2, within=grant).__enter__).result(SOON)
    assert used(name) == 0
    with pytest.raises(NotHeld):
        work(grant)
    with pytest.raises(ValueError, match=f"a grant of lock 'other', got one of '{name}'"):
        throttle.slot("other", within=grant)
    with pytest.raises(TypeError, match="expected within to be a grant"):
        throttle.slot(name, within=name)  # type: ignore[arg-type]  # that is the point


def test_a_grant_is_handed_over_with_its_guests(lock: Lock, in_thread: InThread, actor: Actor) -> None:
    name = lock(2)
    pid = actor()
    inside, go_on = threading.Event(), threading.Event()

    def work(grant: throttle.Grant) -> None:
        with throttle.slot(name, within=grant):
            inside.set()
            assert go_on.wait(SOON)

    grant = throttle.acquire(name)
    guest = in_thread(work, grant)
    assert inside.wait(SOON)
    theirs = grant.transfer(pid)
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
    theirs.release()
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
    go_on.set()
    guest.result(SOON)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)
