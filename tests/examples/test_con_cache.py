"""The cache: one computes, the others wait and read, and nobody keeps a key from the others for ever."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import con_cache
from con_cache import ConCache
from resprout import Registry, Supervisor, process

from ..programs import PYTHON
from ..waiting import WATCHDOG, down_of, until


@pytest.fixture
def cache() -> Any:
    tree = Supervisor.start_link([(Registry, {"keys": "unique", "name": "locks"})], strategy="one_for_one")
    yield ConCache("locks", ttl=3600.0)
    Supervisor.stop(tree)


class Computation:
    """Goes on when it is told to, and counts how often it began."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.go_on = threading.Event()

    def __call__(self) -> object:
        self.begun.append(None)
        assert self.go_on.wait(WATCHDOG)
        return len(self.begun)

    async def in_a_task(self) -> object:
        return await asyncio.to_thread(self)


def waiting() -> int:
    return Registry.statistics("locks").waiting


def test_of_threads_and_tasks_that_miss_a_key_one_computes_and_the_others_read_what_it_stored(cache):
    compute = Computation()
    got: list[object] = []

    async def tasks() -> None:
        got.extend(await asyncio.gather(*[cache.aget_or_store("key", compute.in_a_task) for _ in range(8)]))

    def read() -> None:
        got.append(cache.get_or_store("key", compute))

    threads = [threading.Thread(target=read) for _ in range(8)]
    threads.append(threading.Thread(target=lambda: asyncio.run(tasks())))
    for thread in threads:
        thread.start()
    until(lambda: waiting() == 15)
    compute.go_on.set()
    for thread in threads:
        thread.join(WATCHDOG)
    assert got == [1] * 16
    assert len(compute.begun) == 1


def test_keys_and_caches_have_nothing_to_do_with_each_other(cache):
    compute = Computation()
    slow = threading.Thread(target=cache.get_or_store, args=("slow", compute))
    slow.start()
    until(lambda: compute.begun)
    assert cache.get_or_store("quick", lambda: "there") == "there"
    assert ConCache("locks", ttl=1.0).get_or_store("slow", lambda: "another") == "another"
    assert cache.get("slow") is None
    compute.go_on.set()
    slow.join(WATCHDOG)
    assert cache.get("slow").value == 1


@pytest.mark.parametrize("how", ["exception", "kill"])
def test_a_computing_process_that_crashes_frees_the_key_and_the_next_one_computes(cache, how):
    first, second = threading.Event(), []

    def crash() -> None:
        first.set()
        until(lambda: waiting() == 1)
        if how == "kill":
            process.exit(process.current(), "kill")
        raise ValueError("no price")

    _, ref = process.spawn_monitor(cache.get_or_store, "key", crash)
    assert first.wait(WATCHDOG)
    reader = threading.Thread(target=lambda: second.append(cache.get_or_store("key", lambda: "computed")))
    reader.start()
    assert down_of(ref).reason != "normal"
    reader.join(WATCHDOG)
    assert second == ["computed"]


def test_a_value_is_computed_again_when_its_time_is_over_and_old_rows_are_not_kept(cache, monkeypatch):
    shown = [time.monotonic()]
    monkeypatch.setattr(con_cache.time, "monotonic", lambda: shown[0])
    cache = ConCache("locks", ttl=60.0)
    numbers = iter(range(10))
    compute = lambda: next(numbers)
    assert [cache.get_or_store("key", compute) for _ in range(3)] == [0, 0, 0]
    shown[0] += 59.9
    assert cache.get_or_store("key", compute) == 0
    shown[0] += 0.1
    assert cache.get("key") is None
    assert cache.get_or_store("another", compute) == 1
    assert list(cache._rows) == ["another"]
    assert cache.get_or_store("key", compute) == 2


def test_what_was_just_stored_outlives_the_sweep_of_another_caller(cache, monkeypatch):
    shown, computed = [time.monotonic()], []
    monkeypatch.setattr(con_cache.time, "monotonic", lambda: shown[0])
    cache = ConCache("locks", ttl=60.0)
    compute = lambda: computed.append(0)
    cache.get_or_store("key", compute)
    shown[0] += 60.0
    storing = threading.Thread(target=cache.get_or_store, args=("key", compute))

    class Sweeping(ConCache):
        """Is held up between its look at a row and its deletion."""

        def dirty_delete(self, key: object) -> None:
            storing.start()
            storing.join(0.2)  # it would have stored long since, if nothing kept it from doing so
            super().dirty_delete(key)

    cache.__class__ = Sweeping
    cache.get_or_store("another", lambda: "there")
    storing.join(WATCHDOG)
    assert cache.get("key") is not None
    assert cache.get_or_store("key", compute) is None
    assert len(computed) == 2


def test_a_value_may_be_none(cache):
    assert cache.get_or_store("key", lambda: None) is None
    assert cache.get_or_store("key", lambda: "another") is None


def test_what_is_forgotten_in_isolation_is_not_stored_by_somebody_who_was_computing_it(cache):
    compute = Computation()
    slow = threading.Thread(target=cache.get_or_store, args=("key", compute))
    slow.start()
    until(lambda: compute.begun)
    forget = threading.Thread(target=cache.isolated, args=("key", lambda: cache.dirty_delete("key")))
    forget.start()
    until(lambda: waiting() == 1)
    compute.go_on.set()
    for thread in (slow, forget):
        thread.join(WATCHDOG)
    assert cache.get("key") is None


def test_it_is_shorter_than_sixty_lines():
    assert len(Path(con_cache.__file__).read_text(encoding="utf-8").splitlines()) < 60


def test_the_demo_asks_once_for_fifty_callers():
    demo = Path(con_cache.__file__).with_name("demo.py")
    done = subprocess.run([*PYTHON, demo], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("50 callers got {42} after ")
    assert done.stdout.count("in a ") == 1
