from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import GenServer, NoProcess, Pid, Reply, process
from resprout.registry import Via
from resprout.supervision import (
    DynamicSupervisor,
    PartitionSupervisor,
    SpecError,
    Supervisor,
    quiesce,
)


class Counter(GenServer):
    blocking = False

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(state, state)


@pytest.fixture
def start() -> Iterator[Any]:
    started: list[Pid] = []

    def start_link(**options: Any) -> Pid:
        started.append(PartitionSupervisor.start_link(**options))
        return started[-1]

    yield start_link
    for pid in started:
        PartitionSupervisor.stop(pid)


def test_a_key_always_finds_the_same_partition(start: Any) -> None:
    supervisor = start(child_spec=(Counter, 0), name="counters", partitions=4)
    pids = [info.pid for info in PartitionSupervisor.which_children(supervisor)]
    assert PartitionSupervisor.partitions("counters") == 4
    assert [PartitionSupervisor.whereis_name(("counters", key)) for key in (0, 1, 2, 3, 4, -5)] == [
        *pids,
        pids[0],
        pids[1],
    ]
    found = {PartitionSupervisor.whereis_name(("counters", "user 42")) for _ in range(10)}
    assert len(found) == 1
    assert found <= set(pids)


def test_a_via_finds_a_partition(start: Any) -> None:
    start(child_spec=DynamicSupervisor, name="sessions", partitions=2)
    session = DynamicSupervisor.start_child(Via(PartitionSupervisor, ("sessions", 1)), Counter)
    second = PartitionSupervisor.which_children("sessions")[1].pid
    assert [info.pid for info in DynamicSupervisor.which_children(second)] == [session]


def test_with_arguments_tells_the_partitions_apart(start: Any) -> None:
    start(
        child_spec=(Counter, "x"),
        name="counters",
        partitions=3,
        with_arguments=lambda args, number: [(args[0], number)],
    )
    answers = [GenServer.call(Via(PartitionSupervisor, ("counters", n)), "get") for n in range(3)]
    assert answers == [("x", 0), ("x", 1), ("x", 2)]


def test_a_crashed_partition_comes_back_in_its_place(start: Any) -> None:
    start(child_spec=(Counter, 0), name="counters", partitions=2)
    first = PartitionSupervisor.whereis_name(("counters", 0))
    other = PartitionSupervisor.whereis_name(("counters", 1))
    process.exit(first, "kill")
    quiesce()
    again = PartitionSupervisor.whereis_name(("counters", 0))
    assert again is not None
    assert again is not first
    assert PartitionSupervisor.whereis_name(("counters", 1)) is other


def test_there_is_nobody_behind_the_key_of_a_supervisor_that_is_gone() -> None:
    assert PartitionSupervisor.whereis_name(("nobody", 0)) is None
    with pytest.raises(NoProcess):
        PartitionSupervisor.partitions("nobody")
    with pytest.raises(NoProcess):
        GenServer.call(Via(PartitionSupervisor, ("nobody", 0)), "get")


@pytest.mark.parametrize("wrong", [{"partitions": 0}, {"partitions": 1.5}, {"name": None}, {"child_spec": 7}])
def test_wrong_options_are_refused_before_anything_starts(wrong: dict[str, Any]) -> None:
    options = {"child_spec": Counter, "name": "counters", **wrong}
    with pytest.raises(SpecError):
        PartitionSupervisor.start_link(**options)
    assert process.whereis("counters") is None


def test_it_is_a_child_of_a_supervisor() -> None:
    options = {"child_spec": Counter, "name": "counters", "partitions": 2}
    top = Supervisor.start_link([(PartitionSupervisor, options)])
    assert PartitionSupervisor.count_children("counters").active == 2
    assert Supervisor.which_children(top)[0].type == "supervisor"
    Supervisor.stop(top)
