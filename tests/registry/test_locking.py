from __future__ import annotations

import _thread
import asyncio
import inspect
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import BlockingInLoop, CallTimeout, Future, process
from resprout.registry import Registry, UnknownRegistry

from ..interrupting import Interrupter, at_safe_points
from ..waiting import down_of
from .user_id import UserId

Start = Callable[..., Any]
WATCHDOG = 30.0


class Holder:
    """A process inside a lock until it is let go."""

    def __init__(self, registry: str, key: Any) -> None:
        self.inside, self.go = threading.Event(), threading.Event()

        def work() -> None:
            self.inside.set()
            self.go.wait(WATCHDOG)

        self.pid, self.ref = process.spawn_monitor(lambda: Registry.lock(registry, key, work))

    def entered(self) -> bool:
        return self.inside.wait(WATCHDOG)

    def kill(self) -> None:
        process.exit(self.pid, "kill")
        self.await_end()

    def await_end(self) -> None:
        down_of(self.ref)


def waiting(registry: str, count: int) -> None:
    """Wait until so many processes are in the queue; they say so themselves, in the statistics."""
    while Registry.statistics(registry).waiting < count:
        process.sleep(0)


def test_the_function_runs_in_the_caller_and_gives_its_value(registry: str) -> None:
    assert Registry.lock(registry, "key", process.current) is process.current()
    assert Registry.statistics(registry).locked == 0


def test_an_error_frees_the_lock(registry: str) -> None:
    with pytest.raises(ZeroDivisionError):
        Registry.lock(registry, "key", lambda: 1 // 0)
    assert Registry.lock(registry, "key", lambda: "free") == "free"


@pytest.mark.parametrize("key", ["key", UserId(7)], ids=repr)
def test_one_process_at_a_time(registry: str, key: Any) -> None:
    first = Holder(registry, key)
    assert first.entered()
    second = Holder(registry, key)
    waiting(registry, 1)
    assert not second.inside.is_set()
    first.go.set()
    assert second.entered()
    second.go.set()
    first.await_end()
    second.await_end()
    assert Registry.statistics(registry).locked == 0


def test_other_keys_and_registered_keys_are_not_concerned(registry: str) -> None:
    first = Holder(registry, "key")
    assert first.entered()
    assert Registry.lock(registry, "other", lambda: "free") == "free"
    Registry.register(registry, "key")
    first.go.set()
    first.await_end()


def test_waiters_come_in_order(registry: str) -> None:
    first = Holder(registry, "key")
    assert first.entered()
    order: list[int] = []
    refs = []
    for number in range(5):
        refs.append(
            process.spawn_monitor(
                lambda number=number: Registry.lock(registry, "key", lambda: order.append(number))
            )[1]
        )
        waiting(registry, number + 1)
    first.go.set()
    for ref in refs:
        down_of(ref)
    assert order == [0, 1, 2, 3, 4]


def test_a_killed_holder_keeps_the_lock_until_its_code_has_left(registry: str) -> None:
    first = Holder(registry, "key")
    assert first.entered()
    first.kill()
    second = Holder(registry, "key")
    waiting(registry, 1)
    assert not second.inside.is_set()
    first.go.set()
    assert second.entered()
    second.go.set()
    second.await_end()


def test_a_killed_waiter_leaves_the_queue(registry: str) -> None:
    first = Holder(registry, "key")
    assert first.entered()
    second = Holder(registry, "key")
    waiting(registry, 1)
    third = Holder(registry, "key")
    waiting(registry, 2)
    second.kill()
    assert Registry.statistics(registry).waiting == 1
    first.go.set()
    assert third.entered()
    assert not second.inside.is_set()
    third.go.set()
    third.await_end()
    first.await_end()


def test_a_thread_that_ends_inside_frees_the_lock(registry: str) -> None:
    def leave() -> None:
        raise SystemExit

    def work() -> None:
        with pytest.raises(SystemExit):
            Registry.lock(registry, "key", leave)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert Registry.lock(registry, "key", lambda: "free", timeout=WATCHDOG) == "free"


def test_nested_in_the_same_process_it_runs_at_once(registry: str) -> None:
    def inner() -> str:
        return Registry.lock(registry, "key", lambda: "inner")

    assert Registry.lock(registry, "key", inner) == "inner"
    assert Registry.statistics(registry).locked == 0


def test_the_wait_may_be_limited(registry: str) -> None:
    first = Holder(registry, "key")
    assert first.entered()
    with pytest.raises(CallTimeout):
        Registry.lock(registry, "key", lambda: "never", timeout=0.01)
    assert Registry.statistics(registry).waiting == 0
    first.go.set()
    assert Registry.lock(registry, "key", lambda: "free", timeout=WATCHDOG) == "free"
    first.await_end()


def test_waiters_are_answered_when_the_registry_is_stopped(start_registry: Start) -> None:
    name = start_registry()
    first = Holder(name, "key")
    assert first.entered()
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            Registry.lock(name, "key", lambda: None)
        except UnknownRegistry as error:
            failed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting(name, 1)
    Registry.stop(name)
    thread.join(WATCHDOG)
    assert failed
    first.go.set()
    first.await_end()


def test_locks_survive_a_restart_of_the_registry(start_registry: Start, end: Start) -> None:
    name = start_registry()
    first = Holder(name, "key")
    assert first.entered()
    end(process.whereis(name))
    second = Holder(name, "key")
    waiting(name, 1)
    start_registry(name=name)
    assert not second.inside.is_set()
    first.go.set()
    assert second.entered()
    second.go.set()
    second.await_end()


def test_coroutines_wait_without_blocking_their_loop(registry: str) -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def work(number: int) -> int:
            async def inside() -> int:
                order.append(number)
                await asyncio.sleep(0)
                order.append(number)
                return number

            return await Registry.alock(registry, "key", inside)

        assert await asyncio.gather(*map(work, range(5))) == [0, 1, 2, 3, 4]
        return order

    assert asyncio.run(main()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_cancelled_coroutine_leaves_the_queue(registry: str) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def inside() -> None:
            await gate.wait()

        holder = asyncio.create_task(Registry.alock(registry, "key", inside))
        await asyncio.sleep(0)
        waiter = asyncio.create_task(Registry.alock(registry, "key", inside))
        while Registry.statistics(registry).waiting == 0:
            await asyncio.sleep(0)
        with pytest.raises(CallTimeout):
            await Registry.alock(registry, "key", inside, timeout=0.01)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert Registry.statistics(registry).waiting == 0
        gate.set()
        await holder
        assert Registry.statistics(registry).locked == 0

    asyncio.run(main())


def test_the_blocking_form_is_refused_inside_a_loop(registry: str) -> None:
    async def main() -> None:
        with pytest.raises(BlockingInLoop, match="alock"):
            Registry.lock(registry, "key", lambda: None)

    asyncio.run(main())


def depth_here() -> int:
    depth, frame = 0, inspect.currentframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def lock_far_down(registry: str, calls: int, function: Callable[[], Any]) -> Any:
    """Lock with so many calls on the stack."""
    return lock_far_down(registry, calls - 1, function) if calls else Registry.lock(registry, "k", function)


def alock_in_a_loop(registry: str, function: Callable[[], Any]) -> Any:
    async def body() -> Any:
        return function()

    return asyncio.run(Registry.alock(registry, "k", body))


@pytest.mark.parametrize("wait", [lambda name, fn: Registry.lock(name, "k", fn), alock_in_a_loop])
def test_a_full_stack_at_the_end_leaves_the_next_in_line_the_lock(
    registry: str, wait: Callable[..., Any]
) -> None:
    cut = through = 0
    for left in range(45):
        gate, outcome, over = _thread.allocate_lock(), [], threading.Event()
        gate.acquire()

        def hold() -> None:
            process.current()
            try:
                room = sys.getrecursionlimit() - depth_here()
                # What is called is written in C, so it has room where hardly anything else has.
                outcome.append(lock_far_down(registry, room - left, gate.acquire))  # noqa: B023  # run at once
            except RecursionError as error:
                outcome.append(error)  # noqa: B023
            # It lives on, so it is not its end that frees what it held.
            over.wait(WATCHDOG)  # noqa: B023

        holder = threading.Thread(target=hold)
        holder.start()
        while not outcome and not Registry.statistics(registry).locked:
            process.sleep(0)
        served: Future[str] = Future()
        waiter = threading.Thread(target=lambda: served.set(wait(registry, lambda: "served")))  # noqa: B023
        waiter.start()
        while not outcome and not Registry.statistics(registry).waiting:
            process.sleep(0)
        gate.release()
        assert served.result(WATCHDOG) == "served"
        over.set()
        holder.join()
        waiter.join()
        cut += outcome != [True]
        through += outcome == [True]
    assert cut
    assert through
    assert Registry.statistics(registry).locked == 0


@pytest.mark.parametrize("turns", range(7))
def test_a_cancellation_that_comes_with_the_grant_is_not_lost(registry: str, turns: int) -> None:
    ran: list[str] = []

    async def scenario() -> None:
        inside, go = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            inside.set()
            await go.wait()

        async def second() -> None:
            ran.append("began")
            await asyncio.Event().wait()

        holder = asyncio.create_task(Registry.alock(registry, "k", first))
        await inside.wait()
        waiter = asyncio.create_task(Registry.alock(registry, "k", second, timeout=WATCHDOG))
        while not Registry.statistics(registry).waiting:
            await asyncio.sleep(0)
        go.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        await holder

    asyncio.run(scenario())
    assert Registry.statistics(registry).locked == 0
    assert Registry.lock(registry, "k", lambda: "free") == "free"


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("soon", TypeError), (True, TypeError)])
def test_a_timeout_is_checked_also_when_nobody_waits(registry: str, timeout: Any, error: type) -> None:
    with pytest.raises(error, match="expected timeout"):
        Registry.lock(registry, "k", lambda: None, timeout)

    async def fn() -> None:
        return None

    with pytest.raises(error, match="expected timeout"):
        asyncio.run(Registry.alock(registry, "k", fn, timeout))
    assert Registry.statistics(registry).locked == 0


@at_safe_points
@pytest.mark.parametrize("crowd", [0, 2])
def test_a_lock_whose_holder_is_interrupted_anywhere_is_free_for_the_next(
    registry: str, crowd: int, interrupted: Interrupter
) -> None:
    """Also while it takes its place, or tells the next in line."""
    for cuts in interrupted.everywhere(20):
        others: list[threading.Thread] = []
        entered: list[int] = []

        def enter(entered: list[int] = entered) -> None:
            Registry.lock(registry, "key", lambda: entered.append(1), timeout=WATCHDOG)

        def body(others: list[threading.Thread] = others, enter: Callable[[], None] = enter) -> None:
            # Those who come while it is held wait until its end.
            for number in range(crowd):
                others.append(threading.Thread(target=enter))
                others[-1].start()
                waiting(registry, number + 1)

        interrupted(
            cuts, lambda body=body: Registry.lock(registry, "key", body, timeout=WATCHDOG), exact=True
        )
        for each in others:
            each.join(WATCHDOG)
            assert not each.is_alive()
        assert len(entered) == len(others)
        while Registry.statistics(registry).locked:
            # The kernel thread gives it back.
            assert Registry.lock(registry, "key", lambda: "free", timeout=WATCHDOG) == "free"


@at_safe_points
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_task_that_is_interrupted_anywhere_in_a_lock_leaves_it_free(
    registry: str, interrupted: Interrupter
) -> None:
    """Also before that task has ended."""

    async def body() -> str:
        return "done"

    def step() -> None:
        # It has nothing to wait for.
        with pytest.raises(StopIteration):
            Registry.alock(registry, "key", body, timeout=WATCHDOG).send(None)

    async def main() -> None:
        # What is done once for a task is not done in the middle of the count.
        step()
        for cuts in interrupted.everywhere(20):
            interrupted(cuts, step, exact=True)
            assert await Registry.alock(registry, "key", body, timeout=WATCHDOG) == "done"

    asyncio.run(main())
    assert Registry.statistics(registry).locked == 0
