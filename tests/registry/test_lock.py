from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from resprout.actors import BlockingInLoop, CallTimeout, Down, process
from resprout.registry import Registry, UnknownRegistry

Start = Callable[..., Any]
WATCHDOG = 30.0


@attrs.frozen
class UserId:
    number: int


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
        process.receive(lambda each: isinstance(each, Down) and each.ref is self.ref, timeout=WATCHDOG)


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
        process.receive(lambda each: isinstance(each, Down) and each.ref is ref, timeout=WATCHDOG)  # noqa: B023
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
