"""A registry and those it names, under supervisors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import ChildSpec, Down, GenServer, NoProcess, Pid, Reply, ServerExit, process, telemetry
from resprout.registry import Registry, UnknownRegistry, Via
from resprout.supervision import PartitionSupervisor, Supervisor

WATCHDOG = 30.0
NAME = "supervised"


class Worker(GenServer):
    def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        return Reply(message(), state)


class InlineWorker(Worker):
    blocking = False


@pytest.fixture
def supervise() -> Iterator[Callable[..., Pid]]:
    started: list[Pid] = []
    before = process.trap_exit(True)

    def start(children: list[Any], **options: Any) -> Pid:
        pid = Supervisor.start_link(
            children, **{"strategy": "one_for_one", "max_restarts": 1000, "max_seconds": 5.0, **options}
        )
        started.append(pid)
        return pid

    yield start
    for pid in started:
        if pid.alive:
            Supervisor.stop(pid)
    process.trap_exit(bool(before))


def registry(**options: Any) -> ChildSpec:
    return Registry.child_spec(keys="unique", name=NAME, **options)


def worker(key: Any, kind: type[GenServer] = Worker) -> ChildSpec:
    return ChildSpec(id=key, start=(kind.start_link, (None,), {"name": Via(NAME, key)}))


def crash(pid: Pid | None) -> None:
    assert pid is not None
    ref = process.monitor(pid)
    process.exit(pid, "kill")
    process.receive(lambda each: isinstance(each, Down) and each.ref is ref, timeout=WATCHDOG)


def call(server: Any, message: Any) -> Any:
    """Call until the supervisor has started the next life."""
    while True:
        try:
            return GenServer.call(server, message, WATCHDOG)
        except (NoProcess, ServerExit):
            process.sleep(0)


@pytest.mark.parametrize("kind", [Worker, InlineWorker])
def test_a_restarted_child_has_its_key_again(supervise: Callable[..., Pid], kind: type[GenServer]) -> None:
    supervise([registry(), worker("key", kind)])
    for _ in range(20):
        former = Registry.whereis(NAME, "key")
        crash(former)
        assert call(Via(NAME, "key"), process.current) is not former
    assert Registry.count(NAME) == 1


def test_a_crash_of_the_registry_restarts_nobody_else(supervise: Callable[..., Pid]) -> None:
    supervise([registry(), worker("key")])
    pid = Registry.whereis(NAME, "key")
    restarted = threading.Semaphore(0)
    telemetry.attach(NAME, ("resprout", "registry", "adopted"), lambda *_: restarted.release())
    try:
        for _ in range(20):
            crash(process.whereis(NAME))
            assert Registry.whereis(NAME, "key") is pid
            assert restarted.acquire(timeout=WATCHDOG)
    finally:
        telemetry.detach(NAME)
    assert GenServer.call(Via(NAME, "key"), lambda: "served") == "served"
    assert Registry.statistics(NAME).restarts == 20


def test_the_end_of_the_tree_is_the_end_of_the_table(supervise: Callable[..., Pid]) -> None:
    top = supervise([registry(), worker("key")])
    Supervisor.stop(top)
    with pytest.raises(UnknownRegistry):
        Registry.count(NAME)


def test_a_registry_stopped_by_its_supervisor_begins_anew(supervise: Callable[..., Pid]) -> None:
    top = supervise([registry()])
    Registry.register(NAME, "key")
    Supervisor.terminate_child(top, NAME)
    with pytest.raises(UnknownRegistry):
        Registry.count(NAME)
    Supervisor.restart_child(top, NAME)
    assert Registry.count(NAME) == 0


def test_the_pair_of_class_and_options_is_a_child(supervise: Callable[..., Pid]) -> None:
    supervise([(Registry, {"keys": "duplicate", "name": NAME})])
    Registry.register(NAME, "topic")
    assert Registry.statistics(NAME).keys == "duplicate"


def test_partitions_of_a_supervisor_are_found_by_via(supervise: Callable[..., Pid]) -> None:
    supervise([])
    top = PartitionSupervisor.start_link(child_spec=Worker, name="parts", partitions=3)
    found = {Via(PartitionSupervisor, ("parts", key)).whereis_name() for key in range(30)}
    assert len(found) == 3
    assert GenServer.call(Via(PartitionSupervisor, ("parts", 7)), lambda: "served") == "served"
    Supervisor.stop(top)
