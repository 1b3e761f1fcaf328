from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import ChildSpec, GenServer, NoProcess, Pid, Reply, StartError, process
from resprout.registry import Via
from resprout.supervision import (
    Counts,
    DynamicSupervisor,
    PartitionSupervisor,
    SpecError,
    Supervisor,
    child_spec,
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


def pids(name: Any) -> list[Any]:
    return [info.pid for info in PartitionSupervisor.which_children(name)]


def test_a_partition_supervisor_has_fewer_and_more_partitions_while_it_runs(start: Any) -> None:
    start(child_spec=(Counter, 0), name="counters", partitions=4)
    first = pids("counters")
    expected = 4
    for number in [*range(4, -1, -1), *range(5), 0, 4, 4, 1]:
        assert PartitionSupervisor.resize("counters", number) == expected
        assert PartitionSupervisor.partitions("counters") == number
        assert PartitionSupervisor.count_children("counters") == Counts(4, number, 0, 4)
        found = {PartitionSupervisor.whereis_name(("counters", key)) for key in range(10)}
        assert found == (set(pids("counters")[:number]) or {None})
        expected = number
    assert not any(pid.alive for pid in first)


def test_no_key_has_a_partition_where_there_is_none(start: Any) -> None:
    start(child_spec=(Counter, 0), name="counters", partitions=2)
    assert PartitionSupervisor.resize("counters", 0) == 2
    for key in (0, 7, "user 42"):
        assert PartitionSupervisor.whereis_name(("counters", key)) is None
    with pytest.raises(NoProcess):
        GenServer.call(Via(PartitionSupervisor, ("counters", 0)), "get")


@pytest.mark.parametrize("wrong", [-1, 5, 1.5, True, "2", None])
def test_there_are_at_most_as_many_partitions_as_it_was_started_with(start: Any, wrong: Any) -> None:
    start(child_spec=(Counter, 0), name="counters", partitions=4)
    before = pids("counters")
    with pytest.raises(SpecError, match=f"'partitions'.*got: {wrong!r}"):
        PartitionSupervisor.resize("counters", wrong)
    assert pids("counters") == before


def test_only_a_partition_supervisor_is_resized() -> None:
    other = Supervisor.start_link([Counter])
    for nobody in ("nobody", other):
        with pytest.raises(NoProcess):
            PartitionSupervisor.resize(nobody, 1)
    Supervisor.stop(other)


@pytest.mark.parametrize("restart", ["permanent", "temporary"])
def test_a_partition_that_was_stopped_stays_so_whatever_its_siblings_do(start: Any, restart: Any) -> None:
    spec = child_spec((Counter, 0), restart=restart)
    start(child_spec=spec, name="counters", partitions=3, strategy="one_for_all")
    PartitionSupervisor.resize("counters", 2)
    process.exit(pids("counters")[0], "kill")
    quiesce()
    assert PartitionSupervisor.count_children("counters").active == (2 if restart == "permanent" else 1)
    assert PartitionSupervisor.resize("counters", 3) == 2
    assert PartitionSupervisor.whereis_name(("counters", 2)).alive  # type: ignore[union-attr]


def test_one_that_was_started_by_hand_is_not_started_again(start: Any) -> None:
    supervisor = start(child_spec=(Counter, 0), name="counters", partitions=2)
    PartitionSupervisor.resize("counters", 1)
    by_hand = Supervisor.restart_child(supervisor, 1)
    process.exit(by_hand, "kill")
    quiesce()
    assert pids("counters")[1] is None
    assert Supervisor.restart_child(supervisor, 1) is not None
    assert PartitionSupervisor.resize("counters", 2) == 1


def test_a_partition_that_does_not_start_leaves_the_number_as_it_was(start: Any) -> None:
    broken = False

    def start_one(number: int) -> Any:
        if broken and number == 2:
            raise RuntimeError("broken")
        return Counter.start_link(number)

    spec = ChildSpec("c", (start_one, ()))
    start(child_spec=spec, name="counters", partitions=3, with_arguments=lambda args, number: [number])
    PartitionSupervisor.resize("counters", 1)
    broken = True
    with pytest.raises(StartError, match="broken"):
        PartitionSupervisor.resize("counters", 3)
    assert PartitionSupervisor.partitions("counters") == 1
    assert PartitionSupervisor.count_children("counters").active == 1
    broken = False
    assert PartitionSupervisor.resize("counters", 3) == 1
    assert PartitionSupervisor.count_children("counters").active == 3


def test_a_restarted_partition_supervisor_has_all_its_partitions() -> None:
    top = Supervisor.start_link(
        [(PartitionSupervisor, {"child_spec": Counter, "name": "c", "partitions": 2})]
    )
    PartitionSupervisor.resize("c", 1)
    process.exit(process.whereis("c"), "kill")
    quiesce()
    assert PartitionSupervisor.partitions("c") == 2
    Supervisor.stop(top)


@pytest.mark.parametrize("wrong", [123, lambda args, number: number])
def test_with_arguments_that_gives_no_arguments_is_named(wrong: Any) -> None:
    with pytest.raises(SpecError, match="'with_arguments'"):
        PartitionSupervisor.start_link(child_spec=Counter, name="counters", with_arguments=wrong)
    assert process.whereis("counters") is None


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
