"""A registry and those it names, under supervisors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import ChildSpec, GenServer, NoProcess, Pid, ServerExit, process, telemetry
from resprout.registry import Registry, UnknownRegistry, Via
from resprout.supervision import PartitionSupervisor, Supervisor

from ..scripted import Runs

WATCHDOG = 30.0
NAME = "supervised"


class Quick(Runs):
    blocking = False


def registry(**options: Any) -> ChildSpec:
    return Registry.child_spec(keys="unique", name=NAME, **options)


def worker(key: Any, kind: type[GenServer] = Runs) -> ChildSpec:
    return ChildSpec(id=key, start=(kind.start_link, (None,), {"name": Via(NAME, key)}))


def call(server: Any, message: Any) -> Any:
    """Call until the supervisor has started the next life."""
    while True:
        try:
            return GenServer.call(server, message, WATCHDOG)
        except (NoProcess, ServerExit):
            process.sleep(0)


@pytest.mark.parametrize("kind", [Runs, Quick])
def test_a_restarted_child_has_its_key_again(
    supervised: Callable[..., Pid], end: Callable[..., object], kind: type[GenServer]
) -> None:
    supervised(registry(), worker("key", kind))
    for _ in range(20):
        former = Registry.whereis(NAME, "key")
        assert end(former) == "killed"
        assert call(Via(NAME, "key"), process.current) is not former
    assert Registry.count(NAME) == 1


def test_a_crash_of_the_registry_restarts_nobody_else(
    supervised: Callable[..., Pid], end: Callable[..., object]
) -> None:
    supervised(registry(), worker("key"))
    pid = Registry.whereis(NAME, "key")
    restarted = threading.Semaphore(0)
    telemetry.attach(NAME, ("resprout", "registry", "adopted"), lambda *_: restarted.release())
    try:
        for _ in range(20):
            assert end(process.whereis(NAME)) == "killed"
            assert Registry.whereis(NAME, "key") is pid
            assert restarted.acquire(timeout=WATCHDOG)
    finally:
        telemetry.detach(NAME)
    assert GenServer.call(Via(NAME, "key"), lambda: "served") == "served"
    assert Registry.statistics(NAME).restarts == 20


def test_the_end_of_the_tree_is_the_end_of_the_table(supervised: Callable[..., Pid]) -> None:
    top = supervised(registry(), worker("key"))
    Supervisor.stop(top)
    with pytest.raises(UnknownRegistry):
        Registry.count(NAME)


def test_a_registry_stopped_by_its_supervisor_begins_anew(supervised: Callable[..., Pid]) -> None:
    top = supervised(registry())
    Registry.register(NAME, "key")
    Supervisor.terminate_child(top, NAME)
    with pytest.raises(UnknownRegistry):
        Registry.count(NAME)
    Supervisor.restart_child(top, NAME)
    assert Registry.count(NAME) == 0


def test_the_pair_of_class_and_options_is_a_child(supervised: Callable[..., Pid]) -> None:
    supervised((Registry, {"keys": "duplicate", "name": NAME}))
    Registry.register(NAME, "topic")
    assert Registry.statistics(NAME).keys == "duplicate"


def test_partitions_of_a_supervisor_are_found_by_via(supervised: Callable[..., Pid]) -> None:
    supervised()
    top = PartitionSupervisor.start_link(child_spec=Runs, name="parts", partitions=3)
    found = {Via(PartitionSupervisor, ("parts", key)).whereis_name() for key in range(30)}
    assert len(found) == 3
    assert GenServer.call(Via(PartitionSupervisor, ("parts", 7)), lambda: "served") == "served"
    Supervisor.stop(top)
