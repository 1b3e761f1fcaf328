from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from resprout.actors import (
    IGNORE,
    AlreadyPresent,
    AlreadyStarted,
    BlockingInLoop,
    Down,
    GenServer,
    NoProcess,
    NotFound,
    Ok,
    Pid,
    Reply,
    Running,
    Shutdown,
    StartError,
    Stop,
    UnknownMessage,
    process,
)
from resprout.supervision import (
    BRUTAL_KILL,
    BadCombination,
    ChildInfo,
    ChildSpec,
    Counts,
    DuplicateChild,
    DynamicSupervisor,
    FailedToStartChild,
    SpecError,
    Supervisor,
    quiesce,
    tree,
)

from ...scripted import Quiet
from ...waiting import down_of, until


class Worker(GenServer):
    """Tells its log what it does; a name in `log` is its id."""

    trap_exit = True

    def init(self, arg: Any) -> Any:
        self.id, self.log = arg
        self.log.append(("init", self.id))
        return Ok(None)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(process.current(), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        return Stop(message, state)

    def terminate(self, reason: Any, state: Any) -> None:
        self.log.append(("terminate", self.id, reason if isinstance(reason, str) else "crash"))


def worker(log: list[Any], id: str, **fields: Any) -> ChildSpec:
    return ChildSpec(id, (Worker.start_link, ((id, log),)), **fields)


@pytest.fixture
def log() -> list[Any]:
    return []


@pytest.fixture
def stopped() -> Iterator[list[Pid]]:
    """Supervisors to be stopped after the test, if they are still there."""
    process.trap_exit(True)
    started: list[Pid] = []
    yield started
    for pid in reversed(started):
        if pid.alive:
            Supervisor.stop(pid)
    process.trap_exit(False)


@pytest.fixture
def start(stopped: list[Pid]) -> Any:
    def start_link(*args: Any, **options: Any) -> Pid:
        stopped.append(Supervisor.start_link(*args, **options))
        return stopped[-1]

    return start_link


def pids(supervisor: Pid) -> dict[Any, Any]:
    return {child.id: child.pid for child in Supervisor.which_children(supervisor)}


def end(pid: Pid, message: Any = "crash") -> None:
    """Has a child end by itself; returns when its supervisor has been told."""
    ref = process.monitor(pid)
    GenServer.cast(pid, message)
    down_of(ref)


def test_children_start_in_order_and_stop_in_reverse(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, id) for id in "abc"])
    Supervisor.stop(supervisor)
    assert log == [("init", id) for id in "abc"] + [("terminate", id, "shutdown") for id in "cba"]


def test_a_crashed_child_is_started_again_and_its_siblings_stay(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, id) for id in "abc"], strategy="one_for_one")
    before = pids(supervisor)
    end(before["b"])
    after = pids(supervisor)
    assert after["b"] not in before.values()
    assert (after["a"], after["c"]) == (before["a"], before["c"])
    assert list(after) == ["a", "b", "c"]


@pytest.mark.parametrize(("strategy", "kept"), [("rest_for_one", ["a"]), ("one_for_all", [])])
def test_a_strategy_takes_siblings_along(log: list[Any], start: Any, strategy: str, kept: list[str]) -> None:
    supervisor = start([worker(log, id) for id in "abc"], strategy=strategy)
    before = pids(supervisor)
    end(before["b"])
    after = pids(supervisor)
    assert [id for id in "abc" if after[id] is before[id]] == kept
    assert all(pid.alive for pid in after.values())


@pytest.mark.parametrize(
    ("restart", "reason", "left"),
    [
        ("permanent", "normal", "running"),
        ("transient", "normal", None),
        ("transient", Shutdown("done"), None),
        ("transient", "boom", "running"),
        ("temporary", "boom", "forgotten"),
    ],
)
def test_the_restart_type_decides(log: list[Any], start: Any, restart: str, reason: Any, left: Any) -> None:
    supervisor = start([worker(log, "a", restart=restart)])
    first = pids(supervisor)["a"]
    end(first, reason)
    now = pids(supervisor).get("a", "forgotten")
    assert now is not first
    assert ("running" if isinstance(now, Pid) else now) == left


def test_too_many_restarts_end_the_supervisor_with_shutdown_and_stop_the_rest(
    log: list[Any], start: Any
) -> None:
    supervisor = start([worker(log, "a"), worker(log, "b")], max_restarts=1, max_seconds=60)
    ref = process.monitor(supervisor)
    end(pids(supervisor)["b"])
    end(pids(supervisor)["b"])
    assert down_of(ref).reason == "shutdown"
    assert log[-1] == ("terminate", "a", "shutdown")


def test_a_supervisor_that_gives_up_is_a_crash_to_be_restarted_for_the_one_above(
    log: list[Any], start: Any
) -> None:
    inner = ChildSpec(
        "inner", (Supervisor.start_link, ([worker(log, "a")],), {"max_restarts": 0}), type="supervisor"
    )
    top = start([inner])
    first = pids(top)["inner"]
    ref = process.monitor(first)
    end(pids(first)["a"])
    down_of(ref)
    second = pids(top)["inner"]
    assert second is not first
    assert pids(second)["a"].alive


def test_a_failing_start_stops_those_before_it_and_names_the_child(log: list[Any], stopped: Any) -> None:
    def fail() -> None:
        raise StartError("no")

    with pytest.raises(StartError) as error:
        Supervisor.start_link([worker(log, "a"), ChildSpec("b", fail), worker(log, "c")])
    assert error.value.reason == Shutdown(FailedToStartChild("b", "no"))
    assert log == [("init", "a"), ("terminate", "a", "shutdown")]


def test_a_failing_restart_is_tried_again_until_it_works(log: list[Any], start: Any) -> None:
    outcomes = iter([None, StartError("bad"), RuntimeError("worse"), None])

    def flaky() -> Pid:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        pid: Pid = Worker.start_link(("a", log))
        return pid

    supervisor = start([ChildSpec("a", flaky)], max_restarts=3)
    first = pids(supervisor)["a"]
    end(first)
    while not isinstance(pids(supervisor)["a"], Pid):
        pass
    assert pids(supervisor)["a"] is not first
    assert next(outcomes, "used up") == "used up"


def test_a_start_that_returns_none_leaves_the_child_listed_without_a_process(start: Any) -> None:
    supervisor = start([ChildSpec("a", lambda: None), ChildSpec("t", lambda: None, restart="temporary")])
    assert Supervisor.which_children(supervisor) == [ChildInfo("a", None, "worker")]
    assert Supervisor.count_children(supervisor) == Counts(specs=1, active=0, supervisors=0, workers=1)


def test_a_start_that_returns_something_odd_is_an_error_that_names_the_spec(log: list[Any]) -> None:
    process.trap_exit(True)
    with pytest.raises(StartError, match=r"'a', field 'start': .*got: 42"):
        Supervisor.start_link([ChildSpec("a", lambda: 42)])
    process.trap_exit(False)


def test_a_start_that_returns_a_sibling_is_an_error(log: list[Any]) -> None:
    process.trap_exit(True)
    made: list[Pid] = []

    def once() -> Pid:
        if not made:
            made.append(Worker.start_link(("a", log)))
        return made[0]

    with pytest.raises(StartError, match="'b', field 'start': "):
        Supervisor.start_link([ChildSpec("a", once), ChildSpec("b", once)])
    assert not made[0].alive
    process.trap_exit(False)


def test_a_child_that_does_not_stop_in_time_is_killed(start: Any) -> None:
    release, stuck = threading.Event(), threading.Event()

    class Stuck(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            stuck.set()
            release.wait(30)

    supervisor = start([ChildSpec("a", Stuck.start_link, shutdown=0.05), ChildSpec("b", Quiet.start_link)])
    ref = process.monitor(pids(supervisor)["a"])
    Supervisor.stop(supervisor)
    assert down_of(ref).reason == "killed"
    assert stuck.is_set()
    release.set()


def test_brutal_kill_does_not_ask(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, "a", shutdown=BRUTAL_KILL)])
    ref = process.monitor(pids(supervisor)["a"])
    Supervisor.terminate_child(supervisor, "a")
    assert down_of(ref).reason == "killed"
    assert log == [("init", "a")]


def test_children_of_a_killed_supervisor_die_with_it(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, "a"), ChildSpec("b", Quiet.start_link)])
    refs = [process.monitor(pid) for pid in pids(supervisor).values()]
    process.exit(supervisor, "kill")
    assert [down_of(ref).reason for ref in refs] == ["killed", "killed"]


def ended(reason: object) -> Pid:
    """A start function that links nobody, and whose process has ended before it could be linked."""
    pid, ref = process.spawn_monitor(process.exit, reason)
    assert process.receive(lambda message: isinstance(message, Down) and message.ref is ref).pid is pid
    return pid


@pytest.mark.parametrize("reason", ["normal", "boom"])
def test_a_child_that_ended_before_it_was_linked_ended_of_its_own_reason(
    start: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    child = ChildSpec("a", (ended, (reason,)), restart="transient", max_restarts=1, on_exhausted="give_up")
    with caplog.at_level(logging.WARNING, "resprout.supervision"):
        supervisor = start([child])
        until(lambda: Supervisor.which_children(supervisor)[0].pid is None)
    assert "noproc" not in caplog.text
    assert ("child 'a' exited: 'boom'" in caplog.text) is (reason == "boom")


def test_exit_signals_of_strangers_do_not_reach_a_supervisor(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, "a")])
    stranger = process.spawn_monitor(lambda: process.exit(supervisor, "boom"))
    down_of(stranger[1])
    assert pids(supervisor)["a"].alive


def test_the_parents_exit_stops_a_supervisor_in_order(log: list[Any]) -> None:
    made: list[Pid] = []

    def parent() -> None:
        process.trap_exit(True)
        made.append(Supervisor.start_link([worker(log, id) for id in "ab"]))
        process.exit("enough")

    _, ref = process.spawn_monitor(parent)
    down_of(ref)
    assert down_of(process.monitor(made[0])).reason in ("enough", "noproc")
    assert log[2:] == [("terminate", "b", "enough"), ("terminate", "a", "enough")] or log[2:] == [
        ("terminate", "b", "shutdown"),
        ("terminate", "a", "shutdown"),
    ]


# Operations on children ---------------------------------------------------------------------------


def test_a_child_can_be_added_stopped_started_again_and_deleted(log: list[Any], start: Any) -> None:
    supervisor = start([])
    pid = Supervisor.start_child(supervisor, worker(log, "a"))
    assert pids(supervisor) == {"a": pid}
    Supervisor.terminate_child(supervisor, "a")
    assert pids(supervisor) == {"a": None}
    again = Supervisor.restart_child(supervisor, "a")
    assert pids(supervisor) == {"a": again}
    Supervisor.terminate_child(supervisor, "a")
    Supervisor.delete_child(supervisor, "a")
    assert pids(supervisor) == {}


def test_operations_on_children_refuse_what_cannot_be(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, "a"), worker(log, "b")])
    with pytest.raises(AlreadyStarted) as started:
        Supervisor.start_child(supervisor, worker(log, "a"))
    assert started.value.pid is pids(supervisor)["a"]
    Supervisor.terminate_child(supervisor, "b")
    with pytest.raises(AlreadyPresent, match="'b'"):
        Supervisor.start_child(supervisor, worker(log, "b"))
    with pytest.raises(Running):
        Supervisor.restart_child(supervisor, "a")
    with pytest.raises(Running):
        Supervisor.delete_child(supervisor, "a")
    operations = (
        Supervisor.terminate_child,
        Supervisor.restart_child,
        Supervisor.delete_child,
        Supervisor.get_child_spec,
    )
    for operation in operations:
        for id in ("nobody", []):
            with pytest.raises(NotFound):
                operation(supervisor, id)


def test_a_failed_start_child_is_an_error_and_not_listed(start: Any) -> None:
    class Refusing(GenServer):
        def init(self, arg: Any) -> Any:
            return Stop("bad")

    supervisor = start([])
    with pytest.raises(StartError) as error:
        Supervisor.start_child(supervisor, Refusing)
    assert error.value.reason == "bad"
    assert pids(supervisor) == {}


def test_a_taken_name_is_told_with_the_pid_that_has_it(start: Any) -> None:
    supervisor = start([])
    first = Supervisor.start_child(supervisor, ChildSpec("a", (Quiet.start_link, (), {"name": "taken"})))
    with pytest.raises(AlreadyStarted) as error:
        Supervisor.start_child(supervisor, ChildSpec("b", (Quiet.start_link, (), {"name": "taken"})))
    assert error.value.pid is first


def test_specs_can_be_asked_for(log: list[Any], start: Any) -> None:
    spec = worker(log, "a", restart="transient")
    supervisor = start([spec])
    assert Supervisor.get_child_spec(supervisor, "a") == spec


def test_every_form_of_a_spec_is_read(start: Any) -> None:
    supervisor = start(
        [Quiet, {"id": "d", "start": Quiet.start_link}, ChildSpec("s", (Quiet.start_link, (1,)))]
    )
    Supervisor.start_child(supervisor, (Worker, ("w", [])))
    assert list(pids(supervisor)) == ["Quiet", "d", "s", "Worker"]


def test_a_supervisor_can_have_a_name(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, "a")], name="named")
    assert process.whereis("named") is supervisor
    assert list(pids("named")) == ["a"]  # type: ignore[arg-type]
    with pytest.raises(AlreadyStarted):
        start([], name="named")


def test_requests_to_a_supervisor_that_is_gone_are_errors() -> None:
    with pytest.raises(NoProcess):
        Supervisor.which_children("nobody")
    with pytest.raises(NoProcess):
        Supervisor.stop("nobody")


def test_a_stray_call_is_refused_and_the_children_never_notice(log: list[Any], start: Any) -> None:
    supervisor = start([worker(log, "a")])
    before = pids(supervisor)
    with pytest.raises(UnknownMessage, match=r"is a supervisor, which answers no such call: 'what\?'; use "):
        GenServer.call(supervisor, "what?")
    GenServer.cast(supervisor, "what?")
    supervisor.send("what?")
    assert pids(supervisor) == before


# Supervisors as classes ---------------------------------------------------------------------------


class Services(Supervisor):
    def init(self, arg: Any) -> Any:
        if arg is None:
            return IGNORE
        return Supervisor.init_spec([ChildSpec(id, Quiet.start_link) for id in arg], strategy="one_for_all")


def test_a_class_says_what_its_supervisor_is(stopped: list[Pid]) -> None:
    stopped.append(Services.start_link(["x", "y"], name="services"))
    assert list(pids(stopped[0])) == ["x", "y"]


def test_a_class_may_say_that_there_is_nothing_to_supervise() -> None:
    assert Services.start_link() is None


def test_a_class_is_a_child_spec_of_type_supervisor(start: Any) -> None:
    supervisor = start([Services.child_spec(["x"], id="services")])
    assert Supervisor.count_children(supervisor) == Counts(1, 1, 1, 0)


def test_an_init_that_returns_something_else_is_an_error_that_names_the_class() -> None:
    class Odd(Supervisor):
        def init(self, arg: Any) -> Any:
            return 42

    with pytest.raises(StartError, match="Odd"):
        Odd.start_link()


def test_options_of_a_class_with_its_own_init_belong_into_that_init() -> None:
    with pytest.raises(TypeError, match=r"Services has an init of its own: give 'strategy'"):
        Services.start_link(["x"], strategy="one_for_all")


# Wrong specs and options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "one_for_al"}, r"'strategy'.*'one_for_al'; did you mean 'one_for_all'"),
        ({"max_restarts": -1}, "'max_restarts'.*-1"),
        ({"max_restarts": True}, "'max_restarts'"),
        ({"max_seconds": 0}, "'max_seconds'"),
        ({"max_seconds": float("nan")}, "'max_seconds'"),
        ({"auto_shutdown": "always"}, "'auto_shutdown'"),
    ],
)
def test_a_wrong_option_is_named_before_anything_starts(
    log: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        Supervisor.start_link([worker(log, "a")], **options)
    assert log == []


def test_a_wrong_spec_is_named_before_anything_starts(log: list[Any]) -> None:
    for wrong in (7, {"id": "b"}, {"id": "b", "start": 3}, "abc"):
        with pytest.raises(SpecError):
            Supervisor.start_link([worker(log, "a"), wrong])
    with pytest.raises(DuplicateChild, match="'a'"):
        Supervisor.start_link([worker(log, "a"), worker(log, "a")])
    with pytest.raises(BadCombination, match="auto_shutdown"):
        Supervisor.start_link([worker(log, "a", restart="transient", significant=True)])
    with pytest.raises(BadCombination, match="permanent"):
        Supervisor.start_link([worker(log, "a", significant=True)], auto_shutdown="any_significant")
    assert log == []


def test_start_child_refuses_a_significant_child_where_nothing_shuts_down_by_itself(
    log: list[Any], start: Any
) -> None:
    supervisor = start([])
    with pytest.raises(BadCombination):
        Supervisor.start_child(supervisor, worker(log, "a", restart="transient", significant=True))


def test_a_list_of_children_that_contains_itself_is_found_before_anything_starts(log: list[Any]) -> None:
    children: list[Any] = [worker(log, "a")]
    children.append(ChildSpec("inner", (Supervisor.start_link, (children,)), type="supervisor"))
    with pytest.raises(SpecError, match="contains itself: 'inner'"):
        Supervisor.start_link(children)
    assert log == []


def test_a_class_that_is_its_own_child_is_an_error() -> None:
    class Ouroboros(Supervisor):
        def init(self, arg: Any) -> Any:
            return Supervisor.init_spec([Ouroboros])

    process.trap_exit(True)
    with pytest.raises(StartError, match=r"contains itself: Ouroboros -> Ouroboros"):
        Ouroboros.start_link()
    process.trap_exit(False)


def test_a_class_may_be_below_itself_with_another_argument(stopped: list[Pid]) -> None:
    class Nested(Supervisor):
        def init(self, arg: Any) -> Any:
            return Supervisor.init_spec([(Nested, arg - 1)] if arg else [])

    stopped.append(Nested.start_link(3))
    depth, pid = 0, stopped[0]
    while children := Supervisor.which_children(pid):
        depth, pid = depth + 1, children[0].pid  # type: ignore[assignment]
    assert depth == 3


# Actors that know nothing of resprout -------------------------------------------------------------


class Foreign(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        return message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_pykka_actor_is_supervised(start: Any) -> None:
    supervisor = start([ChildSpec("f", Foreign.start)])
    first = pids(supervisor)["f"]
    ref = process.monitor(first)
    first.call("hello")
    pykka.ActorRegistry.get_by_class(Foreign)[0].stop()
    down_of(ref)
    while (second := pids(supervisor)["f"]) is first:
        pass
    assert second.alive
    Supervisor.stop(supervisor)
    assert pykka.ActorRegistry.get_by_class(Foreign) == []


# Event loops --------------------------------------------------------------------------------------


def test_in_an_event_loop_supervisors_are_started_and_stopped_by_awaiting() -> None:
    async def main() -> list[Any]:
        supervisor = await Supervisor.astart_link([ChildSpec("q", Quiet.start_link)], strategy="one_for_all")
        dynamic = await DynamicSupervisor.astart_link(max_children=1)
        with pytest.raises(BlockingInLoop, match=r"await Supervisor\.awhich_children\(\.\.\.\)"):
            Supervisor.which_children(supervisor)
        children = await asyncio.to_thread(Supervisor.which_children, supervisor)
        await DynamicSupervisor.astop(dynamic)
        await Supervisor.astop(supervisor)
        return children

    (child,) = asyncio.run(main())
    assert child.id == "q"


def test_a_start_that_asks_to_exit_has_failed_with_that_reason() -> None:
    process.trap_exit(True)
    with pytest.raises(StartError) as error:
        Supervisor.start_link([ChildSpec("a", (process.exit, ("enough",)))])
    assert error.value.reason == Shutdown(FailedToStartChild("a", "enough"))
    process.trap_exit(False)


# Starting and stopping at once ---------------------------------------------------------------------


def test_a_supervisor_killed_while_it_starts_a_child_leaves_nothing_behind(log: list[Any]) -> None:
    gate, begun = threading.Event(), threading.Event()
    made: list[Pid] = []

    class Slow(GenServer):
        trap_exit = True

        def init(self, arg: Any) -> Any:
            made.append(process.current())
            begun.set()
            gate.wait(30)
            return Ok(None)

    def start_it() -> None:
        process.trap_exit(True)
        Supervisor.start_link([worker(log, "a"), ChildSpec("slow", Slow.start_link)], name="slow one")

    starter, ref = process.spawn_monitor(start_it)
    assert begun.wait(10)
    supervisor = process.whereis("slow one")
    process.exit(supervisor, "kill")
    slow = process.monitor(made[0])
    gate.set()
    down_of(slow)
    down_of(ref)
    quiesce()
    assert not starter.alive
    assert log == [("init", "a"), ("terminate", "a", "killed")]


def test_a_supervisor_told_to_stop_while_it_starts_a_child_stops_when_that_has_started(
    log: list[Any], start: Any
) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        gate.wait(30)
        return Worker.start_link(("slow", log))

    supervisor = start([worker(log, "a")])
    _, asked = process.spawn_monitor(Supervisor.start_child, supervisor, ChildSpec("slow", slow))
    assert begun.wait(10)
    _, told = process.spawn_monitor(Supervisor.stop, supervisor)
    gate.set()
    down_of(asked)
    down_of(told)
    assert log == [
        ("init", "a"),
        ("init", "slow"),
        ("terminate", "slow", "shutdown"),
        ("terminate", "a", "shutdown"),
    ]


def test_trees_may_be_deep(log: list[Any], start: Any) -> None:
    spec = worker(log, "leaf")
    for depth in range(60):
        spec = ChildSpec(depth, (Supervisor.start_link, ([spec],)), type="supervisor")
    supervisor = start([spec])
    assert len(list(tree(supervisor).walk())) == 62
    Supervisor.stop(supervisor)
    assert log == [("init", "leaf"), ("terminate", "leaf", "shutdown")]


class Start:
    """A start function that notes which children are given up."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    def __call__(self, id: str) -> Pid:
        pid: Pid = Quiet.start_link(None)
        return pid

    def given_up(self, id: str) -> None:
        self.log.append(id)
        raise ValueError("a fault of the start function is no fault of the supervisor")


@pytest.mark.parametrize(
    ("fields", "reason", "told"),
    [
        ({"restart": "temporary"}, "fault", True),
        ({"restart": "transient"}, "normal", True),
        ({"restart": "transient"}, "fault", False),
        ({}, "normal", False),
        ({"max_restarts": 0, "on_exhausted": "give_up"}, "fault", True),
    ],
)
def test_a_start_function_is_told_of_a_child_that_is_not_started_again(
    fields: Any, reason: str, told: bool, start: Any, log: list[Any], caplog: Any
) -> None:
    starter = Start(log)
    pid = start([ChildSpec("child", (starter, ("child",)), **fields)], strategy="one_for_one")
    end(pids(pid)["child"], reason)
    quiesce()
    assert log == (["child"] if told else [])
    if not told:
        Supervisor.terminate_child(pid, "child")
        assert log == ["child"]
    assert pid.alive


def test_a_dynamic_supervisor_tells_it_too(stopped: list[Pid], log: list[Any]) -> None:
    starter = Start(log)
    pid = DynamicSupervisor.start_link()
    assert pid is not None
    stopped.append(pid)
    first, second = (
        DynamicSupervisor.start_child(pid, ChildSpec(id, (starter, (id,)), restart=restart))
        for id, restart in (("first", "temporary"), ("second", "permanent"))
    )
    end(first, "normal")
    quiesce()
    assert log == ["first"]
    DynamicSupervisor.terminate_child(pid, second)
    assert log == ["first", "second"]


class Looked:
    """A message that counts how often somebody looks what it is."""

    looks = 0

    @property
    def __class__(self) -> type:  # type: ignore[override]
        Looked.looks += 1
        return Looked


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_what_waits_in_its_mailbox_costs_a_supervisor_nothing_while_it_stops_its_children(kind: Any) -> None:
    class Polite(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            if self.talks:
                for _ in range(10):
                    process.send(self.pid.parent, Looked())
                Looked.looks = 0

        def init(self, arg: Any) -> Any:
            self.talks = arg
            return Ok()

    supervisor = kind.start_link()
    children = [
        Supervisor.start_child(supervisor, ChildSpec(number, (Polite.start_link, (number == 49,))))
        for number in range(50)
    ]
    Supervisor.stop(supervisor)
    assert not any(pid.alive for pid in children if pid is not None)
    assert Looked.looks <= 20


def test_the_exit_of_a_child_that_had_ended_before_it_was_stopped_means_nothing_later() -> None:
    gate, begun = threading.Event(), threading.Event()

    class Leaving(GenServer):
        blocking = False

    def start_slowly() -> None:
        begun.set()
        gate.wait(30)

    specs = [ChildSpec(name, Leaving.start_link) for name in "ab"]
    supervisor = Supervisor.start_link(specs, strategy="one_for_all", max_restarts=1)
    slow = ChildSpec("slow", start_slowly, restart="temporary")
    busy = threading.Thread(target=Supervisor.start_child, args=(supervisor, slow))
    busy.start()
    assert begun.wait(30)
    for node in tree(supervisor).children[:2]:
        process.exit(node.pid, "kill")
    gate.set()
    busy.join()
    quiesce()
    assert [node.restarts for node in tree(supervisor).children] == [1, 0]
    assert Supervisor.count_children(supervisor).active == 2
    Supervisor.stop(supervisor)


def test_a_child_that_is_being_stopped_is_monitored_by_its_supervisor() -> None:
    gate, begun = threading.Event(), threading.Event()

    class Slow(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            begun.set()
            gate.wait(30)

    supervisor = Supervisor.start_link([ChildSpec("s", Slow.start_link)])
    (info,) = Supervisor.which_children(supervisor)
    stopper = threading.Thread(target=Supervisor.stop, args=(supervisor,))
    stopper.start()
    assert begun.wait(30)
    assert process.info(info.pid).monitored_by == (supervisor,)  # type: ignore[union-attr,arg-type]
    while (seen := process.info(supervisor)) is not None and seen.status != "waiting":
        pass
    assert seen is not None
    gate.set()
    stopper.join()
