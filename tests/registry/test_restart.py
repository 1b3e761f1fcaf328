"""The table outlives the registry's process, and ends when that is stopped in order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import AlreadyRegistered, Crash, Pid, process, sys, telemetry
from resprout.registry import Registry, UnknownRegistry
from resprout.registry.table import FLUSH

from ..waiting import WATCHDOG, until

Start = Callable[..., Any]


def crash(name: str, end: Start) -> None:
    pid = process.whereis(name)
    assert pid is not None
    end(pid)
    assert process.whereis(name) is None


@pytest.mark.parametrize("keys", ["unique", "duplicate"])
def test_registrations_of_the_living_survive_a_crash(
    start_registry: Start, owner: Start, end: Start, keys: str
) -> None:
    name = start_registry(keys=keys, meta={"colour": "red"})
    pid = owner()
    pid.call(lambda: Registry.register(name, "key", 1))
    crash(name, end)
    start_registry(name=name, keys=keys)
    assert Registry.lookup(name, "key") == [(pid, 1)]
    assert Registry.keys(name, pid) == ["key"]
    assert Registry.meta(name, "colour") == "red"
    assert Registry.statistics(name).restarts == 1
    end(pid)
    assert Registry.lookup(name, "key") == []
    assert Registry.count(name) == 0


def test_everything_works_while_the_process_is_down(start_registry: Start, owner: Start, end: Start) -> None:
    name = start_registry()
    first, second = owner(), owner()
    first.call(lambda: Registry.register(name, "old"))
    crash(name, end)
    second.call(lambda: Registry.register(name, "new"))
    with pytest.raises(AlreadyRegistered):
        Registry.register(name, "old")
    assert Registry.whereis(name, "new") is second
    end(first)
    assert Registry.lookup(name, "old") == []
    assert Registry.statistics(name).pid is None
    start_registry(name=name)
    assert [row[0] for row in Registry.select(name)] == ["new"]
    assert Registry.count(name) == 1


@pytest.mark.parametrize("of_a_task", [False, True])
def test_the_registry_of_a_thread_or_task_that_has_died_is_over(of_a_task: bool) -> None:
    """Nobody starts the next one; a server that has started one may be started again itself."""

    def work() -> None:
        Registry.start_link(name="left behind", keys="unique")
        Registry.register("left behind", "key")
        process.exit(process.current(), "enough")

    async def in_a_task() -> None:
        Registry.start_link(name="left behind", keys="unique")
        process.exit(process.current(), "enough")
        await asyncio.sleep(WATCHDOG)

    if of_a_task:
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(in_a_task())
    else:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    until(lambda: "left behind" not in Registry.registries())
    with pytest.raises(UnknownRegistry):
        Registry.register("left behind", "key")


def test_a_crash_kills_no_owner(start_registry: Start, owner: Start, end: Start) -> None:
    name = start_registry()
    pid = owner()
    pid.call(lambda: Registry.register(name, "key"))
    crash(name, end)
    assert pid.call(lambda: "alive") == "alive"


@pytest.mark.parametrize("reason", ["normal", "shutdown"])
def test_an_orderly_stop_ends_the_table(start_registry: Start, reason: str) -> None:
    name = start_registry()
    Registry.register(name, "key")
    Registry.stop(name, reason)
    with pytest.raises(UnknownRegistry):
        Registry.lookup(name, "key")


def test_a_registry_whose_process_is_down_can_be_stopped(start_registry: Start, end: Start) -> None:
    name = start_registry()
    crash(name, end)
    Registry.stop(name)
    with pytest.raises(UnknownRegistry):
        Registry.lookup(name, "key")


def test_a_registry_of_another_kind_begins_anew(start_registry: Start, end: Start) -> None:
    name = start_registry()
    Registry.register(name, "key")
    crash(name, end)
    start_registry(name=name, keys="duplicate")
    assert Registry.lookup(name, "key") == []
    me = process.current()
    Registry.register(name, "key", 1)
    Registry.register(name, "key", 2)
    assert Registry.lookup(name, "key") == [(me, 1), (me, 2)]


def test_an_adoption_is_telemetry(start_registry: Start, end: Start) -> None:
    seen: list[Any] = []
    event = ("resprout", "registry", "adopted")
    telemetry.attach("test", event, lambda _, measurements, about: seen.append((measurements, about)))
    try:
        name = start_registry()
        Registry.register(name, "key")
        crash(name, end)
        start_registry(name=name)
    finally:
        telemetry.detach("test")
    assert seen == [({"keys": 1}, {"registry": name, "pid": process.whereis(name)})]


def test_a_crash_in_the_middle_of_its_work_is_adopted_too(start_registry: Start, owner: Start) -> None:
    """The registry's process dies of an exception inside it."""
    name = start_registry()
    pid: Pid | None = process.whereis(name)
    assert pid is not None
    me = Registry.register(name, "key")
    # A state that is no table stands for a bug in it.
    sys.replace_state(pid, lambda state: None)
    pid.send(FLUSH)
    assert isinstance(pid.exit_reason, Crash)
    start_registry(name=name)
    assert Registry.lookup(name, "key") == [(me, None)]
