from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import (
    GenServer,
    MaxChildren,
    NotFound,
    Pid,
    StartError,
    Stop,
    process,
)
from resprout.supervision import (
    BRUTAL_KILL,
    INFINITY,
    ChildInfo,
    ChildSpec,
    Counts,
    DynamicSupervisor,
    SpecError,
    Supervisor,
)

from ...scripted import Quiet
from ...waiting import down_of


@pytest.fixture
def start() -> Iterator[Any]:
    process.trap_exit(True)
    started: list[Pid] = []

    def start_link(**options: Any) -> Pid:
        started.append(DynamicSupervisor.start_link(**options))
        return started[-1]

    yield start_link
    for pid in started:
        if pid.alive:
            DynamicSupervisor.stop(pid)
    process.trap_exit(False)


def end(pid: Any, reason: Any = "boom") -> None:
    ref = process.monitor(pid)
    GenServer.cast(pid, reason)
    down_of(ref)


def child(supervisor: Pid, **fields: Any) -> Any:
    return DynamicSupervisor.start_child(supervisor, ChildSpec("q", Quiet.start_link, **fields))


def listed(supervisor: Pid) -> list[Any]:
    return [info.pid for info in DynamicSupervisor.which_children(supervisor)]


def test_children_are_started_on_demand_and_known_by_pid(start: Any) -> None:
    supervisor = start()
    assert listed(supervisor) == []
    first, second = child(supervisor), child(supervisor)
    assert DynamicSupervisor.which_children(supervisor) == [
        ChildInfo(None, first, "worker"),
        ChildInfo(None, second, "worker"),
    ]
    DynamicSupervisor.terminate_child(supervisor, first)
    assert listed(supervisor) == [second]
    assert not first.alive


@pytest.mark.parametrize(
    ("restart", "reason", "restarted"),
    [("permanent", "normal", True), ("transient", "shutdown", False), ("transient", "boom", True)]
    + [("temporary", reason, False) for reason in ("normal", "boom")],
)
def test_children_that_are_not_restarted_are_forgotten(
    start: Any, restart: Any, reason: str, restarted: bool
) -> None:
    supervisor = start()
    first = child(supervisor, restart=restart)
    end(first, reason)
    now = listed(supervisor)
    assert len(now) == restarted
    assert first not in now


def test_a_start_that_returns_none_is_forgotten(start: Any) -> None:
    supervisor = start()
    assert DynamicSupervisor.start_child(supervisor, ChildSpec("n", lambda: None)) is None
    assert DynamicSupervisor.count_children(supervisor) == Counts(0, 0, 0, 0)


def test_max_children_counts_children_that_are_there(start: Any) -> None:
    supervisor = start(max_children=2)
    first = child(supervisor)
    child(supervisor)
    with pytest.raises(MaxChildren, match="2 children"):
        child(supervisor)
    DynamicSupervisor.terminate_child(supervisor, first)
    assert child(supervisor).alive


def test_extra_arguments_come_first_on_every_start(start: Any) -> None:
    seen = []

    def start_one(*args: Any) -> Any:
        seen.append(args)
        return Quiet.start_link(None)

    supervisor = start(extra_arguments=["x", "y"])
    end(DynamicSupervisor.start_child(supervisor, ChildSpec("q", (start_one, (1,)))))
    assert len(listed(supervisor)) == 1
    assert seen == [("x", "y", 1)] * 2


def test_too_many_restarts_end_the_supervisor_and_all_its_children(start: Any) -> None:
    supervisor = start(max_restarts=0)
    first, second = child(supervisor), child(supervisor)
    refs = [process.monitor(supervisor), process.monitor(second)]
    end(first)
    assert [down_of(ref).reason for ref in refs] == ["shutdown", "shutdown"]


def test_children_are_told_to_stop_all_at_once(start: Any) -> None:
    meet = threading.Barrier(3, timeout=10)

    class Slow(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            meet.wait()

    supervisor = start()
    for _ in range(3):
        DynamicSupervisor.start_child(supervisor, ChildSpec("s", Slow.start_link, shutdown=INFINITY))
    DynamicSupervisor.stop(supervisor)
    assert not meet.broken


def test_each_child_has_its_own_shutdown_time(start: Any) -> None:
    release = threading.Event()

    class Stuck(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            release.wait(30)

    supervisor = start()
    refs = []
    for shutdown in (0.02, 0.04, BRUTAL_KILL):
        spec = ChildSpec("s", Stuck.start_link, shutdown=shutdown)  # type: ignore[arg-type]
        refs.append(process.monitor(DynamicSupervisor.start_child(supervisor, spec)))
    refs.append(process.monitor(child(supervisor)))
    DynamicSupervisor.stop(supervisor)
    assert [down_of(ref).reason for ref in refs] == ["killed", "killed", "killed", "shutdown"]
    release.set()


def test_operations_refuse_what_cannot_be(start: Any) -> None:
    supervisor = start()
    first = child(supervisor)
    stranger = Quiet.start()
    with pytest.raises(NotFound):
        DynamicSupervisor.terminate_child(supervisor, stranger)
    with pytest.raises(TypeError):
        DynamicSupervisor.terminate_child(supervisor, 42)
    with pytest.raises(TypeError, match="dynamic"):
        Supervisor.restart_child(supervisor, "q")
    with pytest.raises(SpecError):
        DynamicSupervisor.start_child(supervisor, {"id": "q"})
    assert DynamicSupervisor.get_child_spec(supervisor, first).id == "q"
    GenServer.stop(stranger)


@pytest.mark.parametrize("begin", [DynamicSupervisor.start_child, Supervisor.start_child])
def test_a_significant_child_is_refused_as_no_end_of_one_ends_it(start: Any, begin: Any) -> None:
    supervisor = start()
    with pytest.raises(SpecError, match=r"'significant'.*dynamic supervisor.*no auto_shutdown"):
        begin(supervisor, ChildSpec("q", Quiet.start_link, restart="transient", significant=True))
    assert listed(supervisor) == []


def test_a_failed_start_is_an_error_and_forgotten(start: Any) -> None:
    class Refusing(GenServer):
        def init(self, arg: Any) -> Any:
            return Stop("bad")

    supervisor = start(max_children=1)
    for _ in range(2):
        with pytest.raises(StartError) as error:
            DynamicSupervisor.start_child(supervisor, Refusing)
        assert error.value.reason == "bad"


@pytest.mark.parametrize(
    "options", [{"strategy": "one_for_all"}, {"max_children": -1}, {"max_restarts": -1}, {"max_seconds": "5"}]
)
def test_a_wrong_option_is_named_before_anything_starts(options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(options))):
        DynamicSupervisor.start_link(**options)


def test_a_class_says_what_its_supervisor_is() -> None:
    class Sessions(DynamicSupervisor):
        def init(self, arg: Any) -> Any:
            return DynamicSupervisor.init_spec(max_children=arg)

    process.trap_exit(True)
    supervisor = Supervisor.start_link([(Sessions, 1)])
    (info,) = Supervisor.which_children(supervisor)
    assert (info.id, info.type) == ("Sessions", "supervisor")
    assert isinstance(info.pid, Pid)
    child(info.pid)
    with pytest.raises(MaxChildren):
        child(info.pid)
    with pytest.raises(TypeError, match="Sessions has an init of its own"):
        Sessions.start_link(1, max_children=2)
    Supervisor.stop(supervisor)
    process.trap_exit(False)


def test_a_restarted_dynamic_supervisor_is_empty() -> None:
    process.trap_exit(True)
    top = Supervisor.start_link([DynamicSupervisor])
    first: Any = Supervisor.which_children(top)[0].pid
    pid = child(first)
    ref = process.monitor(pid)
    process.exit(first, "kill")
    assert down_of(ref).reason == "killed"
    second: Any = Supervisor.which_children(top)[0].pid
    assert second is not first
    assert listed(second) == []
    Supervisor.stop(top)
    process.trap_exit(False)


def test_thousands_of_children_come_and_go(start: Any) -> None:
    supervisor = start()
    made = [child(supervisor) for _ in range(2000)]
    for pid in made[:1000]:
        DynamicSupervisor.terminate_child(supervisor, pid)
    assert DynamicSupervisor.count_children(supervisor).active == 1000
