from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import process
from resprout.registry import Registry

Start = Callable[..., Any]
WATCHDOG = 30.0


def test_the_function_gets_all_entries_in_the_caller(topics: str, owner: Start) -> None:
    first, second = owner(), owner()
    first.call(lambda: Registry.register(topics, "topic", 1))
    second.call(lambda: Registry.register(topics, "topic", 2))
    seen: list[Any] = []
    Registry.dispatch(topics, "topic", lambda entries: seen.append((process.current(), entries)))
    assert seen == [(process.current(), [(first, 1), (second, 2)])]


def test_nobody_there_is_no_call(topics: str, registry: str) -> None:
    for parallel in (False, True):
        Registry.dispatch(topics, "topic", pytest.fail, parallel=parallel)
        Registry.dispatch(registry, "key", pytest.fail, parallel=parallel)


def test_a_unique_key_is_dispatched_to_its_owner(registry: str) -> None:
    me = Registry.register(registry, "key", 1)
    seen: list[Any] = []
    Registry.dispatch(registry, "key", seen.append)
    assert seen == [[(me, 1)]]


def test_pubsub_reaches_every_subscriber(topics: str) -> None:
    subscribed = threading.Semaphore(0)
    got: list[Any] = []

    def subscriber(number: int) -> None:
        Registry.register(topics, "topic", number)
        subscribed.release()
        got.append((number, process.receive(timeout=WATCHDOG)))

    threads = [threading.Thread(target=subscriber, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert subscribed.acquire(timeout=WATCHDOG)
    Registry.dispatch(topics, "topic", lambda entries: [pid.send("news") for pid, _ in entries])
    for thread in threads:
        thread.join(WATCHDOG)
    assert sorted(got) == [(number, "news") for number in range(5)]


def test_parallel_parts_run_at_the_same_time(start_registry: Start) -> None:
    name = start_registry(keys="duplicate", partitions=4)
    for number in range(10):
        Registry.register(name, "topic", number)
    # Each part waits for the others, so a serial run would never end.
    together = threading.Barrier(4, timeout=WATCHDOG)
    parts: list[Any] = []

    def work(entries: list[Any]) -> None:
        together.wait()
        parts.append((process.current(), [value for _, value in entries]))

    Registry.dispatch(name, "topic", work, parallel=True)
    assert sorted(value for _, values in parts for value in values) == list(range(10))
    assert len({pid for pid, _ in parts}) == 4
    assert process.current() not in {pid for pid, _ in parts}


@pytest.mark.parametrize("parallel", [False, True])
def test_an_error_comes_to_the_caller(topics: str, parallel: bool) -> None:
    def fail(entries: Any) -> None:
        raise LookupError("no route")

    Registry.register(topics, "topic")
    with pytest.raises(LookupError, match="no route"):
        Registry.dispatch(topics, "topic", fail, parallel=parallel)


def test_what_is_not_a_plain_function_is_refused(topics: str) -> None:
    async def coroutine(entries: Any) -> None: ...

    for bad in (None, "print", coroutine):
        with pytest.raises(TypeError, match="expected fn to be a plain function"):
            Registry.dispatch(topics, "topic", bad)  # type: ignore[arg-type]
