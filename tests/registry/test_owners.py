"""Owners of every kind: their keys are gone when they end, in whatever way."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import AlreadyRegistered, Pid, ServerExit, process
from resprout.registry import Registry, UnknownRegistry
from resprout.registry.table import find

from ..waiting import down_of

Start = Callable[..., Any]
WATCHDOG = 30.0


def assert_forgotten(registry: str, key: Any, pid: Pid) -> None:
    assert Registry.lookup(registry, key) == []
    assert Registry.whereis(registry, key) is None
    assert Registry.keys(registry, pid) == []
    assert Registry.select(registry) == []
    assert Registry.count(registry) == 0


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("reason", ["kill", "shutdown", "boom"])
def test_a_server_that_gets_a_signal(registry: str, owner: Start, blocking: bool, reason: str) -> None:
    pid = owner(blocking=blocking)
    pid.call(lambda: Registry.register(registry, "key"))
    ref = process.monitor(pid)
    process.exit(pid, reason)
    down_of(ref)
    assert_forgotten(registry, "key", pid)


@pytest.mark.parametrize("blocking", [False, True])
def test_a_server_that_stops(registry: str, owner: Start, blocking: bool) -> None:
    pid = owner(blocking=blocking)
    pid.call(lambda: Registry.register(registry, "key"))
    pid.stop()
    assert_forgotten(registry, "key", pid)


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_that_crashes(
    registry: str, owner: Start, blocking: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pid = owner(blocking=blocking)
    pid.call(lambda: Registry.register(registry, "key"))
    ref = process.monitor(pid)
    with pytest.raises(ServerExit):
        pid.call(lambda: 1 // 0)
    down_of(ref)
    assert_forgotten(registry, "key", pid)


def test_a_thread_that_ends(registry: str) -> None:
    pids = []
    thread = threading.Thread(target=lambda: pids.append(Registry.register(registry, "key")))
    thread.start()
    thread.join()
    assert_forgotten(registry, "key", pids[0])


def test_a_thread_of_a_pool_that_is_shut_down(registry: str) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pid = pool.submit(Registry.register, registry, "key").result()
        # The thread is the process, so the key outlives the call.
        assert Registry.whereis(registry, "key") is pid
    assert_forgotten(registry, "key", pid)


def test_a_thread_that_gets_an_exit_signal_goes_on_without_its_keys(registry: str) -> None:
    registered, told = threading.Event(), threading.Event()
    seen: list[Any] = []

    def work() -> None:
        seen.append(Registry.register(registry, "key"))
        registered.set()
        told.wait(WATCHDOG)
        try:
            Registry.register(registry, "second")
        except ServerExit as error:
            seen.append(error.reason)
        seen.append(Registry.register(registry, "third"))
        seen.append(Registry.lookup(registry, "third"))

    thread = threading.Thread(target=work)
    thread.start()
    assert registered.wait(WATCHDOG)
    ref = process.monitor(seen[0])
    process.exit(seen[0], "boom")
    down_of(ref)
    assert_forgotten(registry, "key", seen[0])
    told.set()
    thread.join()
    assert seen[1] == "boom"
    assert seen[2] is not seen[0]
    assert seen[3] == [(seen[2], None)]
    assert_forgotten(registry, "third", seen[2])


def test_a_spawned_function_that_returns(registry: str) -> None:
    go = threading.Event()
    pid, ref = process.spawn_monitor(lambda: (Registry.register(registry, "key"), go.set()))
    assert go.wait(WATCHDOG)
    down_of(ref)
    assert_forgotten(registry, "key", pid)


def test_a_task_that_is_done(registry: str) -> None:
    async def main() -> None:
        async def work() -> Pid:
            return Registry.register(registry, "key")

        pid = await asyncio.create_task(work())
        assert_forgotten(registry, "key", pid)

    asyncio.run(main())


def test_a_task_that_is_cancelled(registry: str) -> None:
    async def main() -> None:
        pids: list[Pid] = []

        async def work() -> None:
            pids.append(Registry.register(registry, "key"))
            await asyncio.get_running_loop().create_future()

        task = asyncio.create_task(work())
        while not pids:
            await asyncio.sleep(0)
        assert Registry.whereis(registry, "key") is pids[0]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_forgotten(registry, "key", pids[0])

    asyncio.run(main())


def test_each_task_is_an_owner_of_its_own(registry: str) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def work(key: str) -> Pid:
            pid = Registry.register(registry, key)
            await gate.wait()
            return pid

        tasks = [asyncio.create_task(work(key)) for key in "abc"]
        await asyncio.sleep(0)
        assert sorted(key for key, _, _ in Registry.select(registry)) == ["a", "b", "c"]
        with pytest.raises(AlreadyRegistered):
            Registry.register(registry, "b")
        gate.set()
        pids = await asyncio.gather(*tasks)
        assert len(set(pids)) == 3
        assert Registry.count(registry) == 0

    asyncio.run(main())


def test_the_end_of_an_owner_leaves_the_keys_of_others(registry: str, owner: Start, end: Start) -> None:
    first, second = owner(), owner()
    for number in range(100):
        first.call(lambda: Registry.register(registry, ("first", number)))  # noqa: B023  # called at once
        second.call(lambda: Registry.register(registry, ("second", number)))  # noqa: B023
    end(first)
    assert Registry.count(registry) == 100
    assert {key[0] for key in Registry.keys(registry, second)} == {"second"}
    assert {pid for _, pid, _ in Registry.select(registry)} == {second}


def test_subscriptions_go_with_their_owner(topics: str, owner: Start, end: Start) -> None:
    first, second = owner(), owner()
    for pid in (first, second, first):
        pid.call(lambda: Registry.register(topics, "topic"))
    end(first)
    assert Registry.lookup(topics, "topic") == [(second, None)]
    assert Registry.count(topics) == 1
    end(second)
    assert Registry.count(topics) == 0


def test_a_key_is_free_as_soon_as_its_owner_is_dead(registry: str, owner: Start, end: Start) -> None:
    """A resource that is told of the death before the registry is takes the key over."""
    former, heir = owner(), owner()
    seen: list[object] = []

    class Inheritance:
        def owner_died(self, pid: Pid, reason: object) -> None:
            seen.append(Registry.lookup(registry, "key"))
            seen.append(find(registry).register(heir, "key", "heir"))

        def owner_left(self, pid: Pid) -> None:
            pass

    former.attach(Inheritance())
    former.call(lambda: Registry.register(registry, "key", "former"))
    end(former)
    assert seen == [[], True]
    # The sweep of the former owner, which came after, has not taken the heir's.
    assert Registry.lookup(registry, "key") == [(heir, "heir")]
    assert Registry.count(registry) == 1


def test_an_owner_that_dies_while_it_registers_leaves_nothing(registry: str, owner: Start) -> None:
    """The key itself kills the process, after it has asked who it is and before it has the key."""
    pid = owner(blocking=True)

    class Deadly:
        def __hash__(self) -> int:
            pid.signal(None, "kill", direct=True)
            return 1

        def __eq__(self, other: object) -> bool:
            return self is other

    ref = process.monitor(pid)
    with pytest.raises(ServerExit):
        pid.call(lambda: Registry.register(registry, Deadly()))
    assert down_of(ref).reason == "killed"
    assert Registry.select(registry) == []
    assert Registry.count(registry) == 0


def test_a_registry_that_ends_lets_its_owners_live(start_registry: Start, owner: Start, end: Start) -> None:
    name = start_registry()
    pid = owner()
    pid.call(lambda: Registry.register(name, "key"))
    Registry.stop(name)
    assert pid.alive
    with pytest.raises(UnknownRegistry):
        Registry.keys(name, pid)
    start_registry(name=name)
    pid.call(lambda: Registry.register(name, "key"))
    end(pid)
    assert_forgotten(name, "key", pid)


def test_values_of_the_dead_are_not_kept_alive(registry: str, owner: Start, end: Start) -> None:
    class Value:
        pass

    pid = owner()
    for number in range(10):
        pid.call(lambda: Registry.register(registry, number, Value()))  # noqa: B023  # called at once
    end(pid)
    gc.collect()
    assert [each for each in gc.get_objects() if type(each) is Value] == []
