"""The registry is used from where a lock would wait for itself: signal handlers, finalizers, forks."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import AlreadyRegistered, process
from resprout.registry import Registry

from .user_id import UserId

Start = Callable[..., Any]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("keys", ["unique", "duplicate"])
@pytest.mark.parametrize("key", ["key", UserId(1)], ids=repr)
def test_a_signal_handler_registers_in_the_middle_of_a_registration(
    start_registry: Start, keys: str, key: Any
) -> None:
    name = start_registry(keys=keys)
    me = process.current()
    serial, handled = itertools.count(), list[int]()
    owners = {me}

    def handler(*_: Any) -> None:
        # The same process, in the middle of whatever it was doing with the same key.
        try:
            Registry.register(name, key, "handler")
        except AlreadyRegistered as taken:
            owners.add(taken.pid)
        else:
            Registry.unregister_match(name, key, "handler")
        # Handlers interrupt handlers, too.
        number = next(serial)
        Registry.register(name, ("handler", number))
        handled.append(number)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        while len(handled) < 300:
            try:
                Registry.register(name, key, "main")
            except AlreadyRegistered as taken:
                owners.add(taken.pid)
            Registry.unregister(name, key)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert owners == {me}
    Registry.unregister(name, key)
    assert Registry.lookup(name, key) == []
    assert sorted(Registry.keys(name, me)) == [("handler", number) for number in sorted(handled)]
    assert Registry.count(name) == len(handled)


def test_finalizers_register_in_the_middle_of_a_registration(registry: str) -> None:
    me = process.current()
    finalized = itertools.count()

    class Cycle:
        """Is collected by the garbage collector, in the middle of what allocates something."""

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            number = next(finalized)
            Registry.register(registry, ("finalizer", number))
            Registry.unregister(registry, ("finalizer", number))
            assert Registry.lookup(registry, "other") == []

    before = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        for number in range(300):
            Cycle()
            Registry.register(registry, UserId(number), number)
            Registry.unregister(registry, UserId(number))
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert next(finalized) == 300
    assert Registry.keys(registry, me) == []
    assert Registry.count(registry) == 0


def test_values_that_register_when_they_are_forgotten_do_no_harm(
    registry: str, owner: Start, end: Start
) -> None:
    """The finalizers of values run while the death of their owner is carried out, or soon after."""
    outcomes: list[str] = []
    main = process.current()

    class Value:
        def __del__(self) -> None:
            outcomes.append(str(Registry.lookup(registry, 0)))

    pid = owner()
    for number in range(50):
        pid.call(lambda: Registry.register(registry, number, Value()))  # noqa: B023  # called at once
    end(pid)
    gc.collect()
    assert outcomes == ["[]"] * 50
    assert Registry.count(registry) == 0
    assert process.current() is main


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_without_registries(registry: str) -> None:
    Registry.register(registry, "key")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if Registry.registries() == [] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert Registry.whereis(registry, "key") is process.current()


def test_growth_in_many_threads_loses_no_key(start_registry: Start) -> None:
    """While the dicts grow, and all threads add and remove."""
    name = start_registry(partitions=2)
    kept: list[set[Any]] = [set() for _ in range(8)]
    gate, leave = threading.Barrier(9), threading.Event()

    def work(number: int) -> None:
        for each in range(2000):
            key = (number, each) if each % 5 else UserId(number * 10_000 + each)
            Registry.register(name, key)
            if each % 3:
                Registry.unregister(name, key)
            else:
                kept[number].add(key)
        gate.wait()
        leave.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    gate.wait()
    assert {row[0] for row in Registry.select(name)} == set().union(*kept)
    assert Registry.count(name) == sum(map(len, kept))
    leave.set()
    for thread in threads:
        thread.join()
    assert Registry.count(name) == 0
