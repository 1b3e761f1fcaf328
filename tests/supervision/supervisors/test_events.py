from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import Down, GenServer, NoProcess, Pid, StartError, process, telemetry
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.supervision import (
    Backoff,
    ChildExited,
    ChildRestarting,
    ChildSpec,
    ChildStarted,
    DynamicSupervisor,
    GaveUp,
    ShuttingDown,
    Supervisor,
    WouldNotStop,
    quiesce,
    tree,
)

from ...scripted import Quiet
from ...waiting import down_of


@pytest.fixture
def events() -> Iterator[list[tuple[str, Any]]]:
    seen: list[tuple[str, Any]] = []
    telemetry.attach(
        "test_events",
        ("resprout", "supervisor"),
        lambda name, measurements, metadata: seen.append((name[-1], metadata["event"])),
    )
    process.trap_exit(True)
    yield seen
    process.trap_exit(False)
    telemetry.detach("test_events")


def children(*ids: str, **fields: Any) -> list[ChildSpec]:
    return [ChildSpec(id, Quiet.start_link, **fields) for id in ids]


def test_the_life_of_a_tree_is_told_in_order(events: list[tuple[str, Any]]) -> None:
    supervisor = Supervisor.start_link(children("a", "b", "c"), strategy="rest_for_one")
    a, b, c = (info.pid for info in Supervisor.which_children(supervisor))
    GenServer.cast(b, "boom")
    quiesce()
    b2, c2 = (info.pid for info in Supervisor.which_children(supervisor)[1:])
    Supervisor.stop(supervisor, "enough")
    assert events == [
        ("child_started", ChildStarted(supervisor, "a", a, 0)),  # type: ignore[arg-type]
        ("child_started", ChildStarted(supervisor, "b", b, 0)),  # type: ignore[arg-type]
        ("child_started", ChildStarted(supervisor, "c", c, 0)),  # type: ignore[arg-type]
        ("child_exited", ChildExited(supervisor, "b", b, "boom", stopped=False)),  # type: ignore[arg-type]
        ("restarting", ChildRestarting(supervisor, "b", 1, 0.0, ("c",))),
        ("child_exited", ChildExited(supervisor, "c", c, "shutdown", stopped=True)),  # type: ignore[arg-type]
        ("child_started", ChildStarted(supervisor, "b", b2, 1)),  # type: ignore[arg-type]
        ("child_started", ChildStarted(supervisor, "c", c2, 0)),  # type: ignore[arg-type]
        ("shutdown", ShuttingDown(supervisor, "enough", ("c", "b", "a"))),
        ("child_exited", ChildExited(supervisor, "c", c2, "shutdown", stopped=True)),  # type: ignore[arg-type]
        ("child_exited", ChildExited(supervisor, "b", b2, "shutdown", stopped=True)),  # type: ignore[arg-type]
        ("child_exited", ChildExited(supervisor, "a", a, "shutdown", stopped=True)),  # type: ignore[arg-type]
    ]


def test_giving_up_names_the_child_and_the_intensity(
    events: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor.start_link(children("a", "b"), max_restarts=0, max_seconds=7.0)
    GenServer.cast(Supervisor.which_children(supervisor)[0].pid, "boom")
    quiesce()
    assert [event for name, event in events if name == "gave_up"] == [
        GaveUp(supervisor, "a", "boom", 0, 7.0, "supervisor")
    ]
    assert "more than 0 restarts in 7.0 s, last of child 'a': 'boom'" in caplog.text


def test_what_would_not_stop_is_reported_with_its_stack(
    events: list[tuple[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    class Stuck(GenServer):
        trap_exit = True

        def terminate(self, reason: Any, state: Any) -> None:
            self.wait_in_vain()

        def wait_in_vain(self) -> None:
            release.wait(30)

    specs = [ChildSpec(id, Stuck.start_link, shutdown=0.05) for id in "xy"]
    supervisor = Supervisor.start_link([*specs, *children("z")])
    Supervisor.stop(supervisor)
    release.set()
    stuck = [event for name, event in events if name == "would_not_stop"]
    assert [event.id for event in stuck] == ["y", "x"]
    assert all(isinstance(event, WouldNotStop) and 0.05 <= event.seconds < 5 for event in stuck)
    # (Without a GIL, nobody may look into the frames of other threads.)
    assert all(FREE_THREADED or any("wait_in_vain" in line for line in event.stack) for event in stuck)
    assert "did not stop within 0.1 s and was killed" in caplog.text


def test_crashes_of_a_burst_are_summed_up_and_none_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor.start_link(children("a"), max_restarts=1000, max_seconds=60)
    with caplog.at_level(logging.INFO, "resprout.supervision"):
        for _ in range(100):
            GenServer.cast(tree(supervisor).children[0].pid, RuntimeError("crash"))
            quiesce()
        Supervisor.stop(supervisor)
    told = [record for record in caplog.records if record.name == "resprout.supervision"]
    assert len(told) == 2
    assert "child 'a' exited: RuntimeError: crash" in told[0].getMessage()
    assert "99 more of the same" in told[1].getMessage()


def test_a_child_that_did_not_start_is_reported_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def begin_badly() -> None:
        raise ValueError("no such port")

    process.trap_exit(True)
    with pytest.raises(StartError):
        Supervisor.start_link([ChildSpec("a", begin_badly)])
    process.trap_exit(False)
    assert "child 'a' did not start: ValueError: no such port\n" in caplog.text
    assert "in begin_badly" in caplog.text


def test_a_report_tells_how_often_a_child_was_restarted_before_if_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervisor = Supervisor.start_link(children("a"))
    with caplog.at_level(logging.INFO, "resprout.supervision"):
        for reason in ("one", "two", "three"):  # Others each time, since what is the same is summed up.
            GenServer.cast(tree(supervisor).children[0].pid, reason)
            quiesce()
    Supervisor.stop(supervisor)
    told = [record.getMessage() for record in caplog.records if record.name == "resprout.supervision"]
    assert [text.partition("child ")[2] for text in told] == [
        "'a' exited: 'one'",
        "'a' exited: 'two'; restarted once before",
        "'a' exited: 'three'; restarted 2 times before",
    ]


def test_a_failed_start_names_the_children_down_to_the_one_that_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def begin_badly() -> None:
        raise NoProcess("nobody")

    def inner() -> ChildSpec:
        return ChildSpec(
            "inner", (Supervisor.start_link, ([ChildSpec("a", begin_badly)],)), type="supervisor"
        )

    process.trap_exit(True)
    with pytest.raises(StartError) as raised:
        Supervisor.start_link([inner()])
    process.trap_exit(False)
    why = "NoProcess: no process: nobody (is it started, and is the name spelled right?)"
    assert str(raised.value) == f"start failed: child 'inner': child 'a': {why}"
    assert f"child 'inner' did not start: child 'a': {why}\n" in caplog.text


def test_a_child_whose_start_gave_no_process_is_marked_in_the_tree() -> None:
    supervisor = Supervisor.start_link(
        [*children("a"), *children("ended", restart="transient"), ChildSpec("none", lambda: None)]
    )
    GenServer.cast(tree(supervisor).children[1].pid, "shutdown")
    quiesce()
    assert [(node.state, node.ignored) for node in tree(supervisor).children] == [
        ("running", False),
        ("down", False),
        ("down", True),
    ]
    Supervisor.stop(supervisor)


def test_orderly_exits_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor.start_link(children("a", restart="transient"))
    GenServer.cast(Supervisor.which_children(supervisor)[0].pid, "shutdown")
    quiesce()
    Supervisor.stop(supervisor)
    assert caplog.text == ""


# Snapshots ----------------------------------------------------------------------------------------


def test_a_tree_tells_states_restarts_and_mailboxes() -> None:
    inner = ChildSpec(
        "inner",
        (Supervisor.start_link, (children("x", "y"),), {"strategy": "one_for_all", "name": "inner sup"}),
        type="supervisor",
    )
    specs = [*children("a"), inner, ChildSpec("n", lambda: None)]
    top = Supervisor.start_link(specs, name="top", strategy="rest_for_one")
    GenServer.cast(tree(top).children[0].pid, "boom")
    quiesce()
    root = tree("top")
    assert (root.id, root.pid, root.state, root.strategy) == ("top", top, "running", "rest_for_one")
    assert [node.id for node in root.walk()] == ["top", "a", "inner", "x", "y", "n"]
    a, second, none = root.children
    assert (a.restarts, a.module, a.mailbox_length) == (1, "Quiet", 0)
    assert (second.name, second.type, second.strategy) == ("inner sup", "supervisor", "one_for_all")
    assert (none.state, none.pid, none.uptime) == ("down", None, None)
    assert all(node.uptime is not None and node.uptime >= 0 for node in second.children)
    Supervisor.stop(top)


def test_a_tree_does_not_wait_for_a_supervisor_that_starts_a_slow_child() -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        gate.wait(30)
        return Quiet.start_link()

    supervisor = Supervisor.start_link(children("a"))
    request = process.spawn_monitor(Supervisor.start_child, supervisor, ChildSpec("slow", slow))[1]
    assert begun.wait(10)
    assert [(node.id, node.state) for node in tree(supervisor).children] == [
        ("a", "running"),
        ("slow", "down"),
    ]
    gate.set()
    process.receive(lambda message: isinstance(message, Down) and message.ref is request, timeout=10)
    assert tree(supervisor).children[1].state == "running"
    Supervisor.stop(supervisor)


# Beyond OTP ---------------------------------------------------------------------------------------


def awaited(supervisor: Pid, condition: Any) -> Any:
    """The tree as soon as it is so; the watchdog of the test suite is the limit."""
    while not condition(node := tree(supervisor)):
        pass
    return node


def test_a_child_that_backs_off_is_visible_and_blocks_nobody() -> None:
    specs = [*children("a"), ChildSpec("b", Quiet.start_link, backoff=Backoff(initial=0.2))]
    supervisor = Supervisor.start_link(specs)
    GenServer.cast(tree(supervisor).children[1].pid, "boom")
    awaited(supervisor, lambda node: node.children[1].state == "backing_off")
    infos = Supervisor.which_children(supervisor)
    assert infos[0].pid.alive  # type: ignore[union-attr]
    assert infos[1].pid == "backing_off"
    assert Supervisor.count_children(supervisor).active == 1
    node = awaited(supervisor, lambda node: node.children[1].state == "running")
    assert node.children[1].restarts == 1
    Supervisor.stop(supervisor)


def test_a_dynamic_child_backs_off_too() -> None:
    supervisor = DynamicSupervisor.start_link()
    spec = ChildSpec("b", Quiet.start_link, backoff=Backoff(initial=0.01))
    pid = DynamicSupervisor.start_child(supervisor, spec)
    GenServer.cast(pid, "boom")
    awaited(supervisor, lambda node: node.children[0].state == "running" and node.children[0].pid is not pid)
    DynamicSupervisor.stop(supervisor)


def test_terminating_a_child_ends_its_wait() -> None:
    supervisor = Supervisor.start_link(children("b", backoff=Backoff(initial=0.05)))
    GenServer.cast(tree(supervisor).children[0].pid, "boom")
    awaited(supervisor, lambda node: node.children[0].state == "backing_off")
    Supervisor.terminate_child(supervisor, "b")
    assert Supervisor.which_children(supervisor)[0].pid is None
    again = Supervisor.restart_child(supervisor, "b")
    process.sleep(0.1)  # the wait that was begun is over by now, and must not start a second one
    assert Supervisor.which_children(supervisor)[0].pid is again
    Supervisor.stop(supervisor)


def test_a_child_with_a_spent_budget_stays_down_and_its_siblings_live_on(
    events: list[tuple[str, Any]],
) -> None:
    looper = ChildSpec("loop", Quiet.start_link, max_restarts=2, max_seconds=60, on_exhausted="give_up")
    supervisor = Supervisor.start_link([*children("a"), looper], max_restarts=0)
    a = tree(supervisor).children[0].pid
    for _ in range(3):
        GenServer.cast(tree(supervisor).children[1].pid, "boom")
        quiesce()
    assert [(node.state, node.restarts) for node in tree(supervisor).children] == [
        ("running", 0),
        ("down", 2),
    ]
    assert tree(supervisor).children[0].pid is a
    (gave_up,) = [event for name, event in events if name == "gave_up"]
    assert (gave_up.id, gave_up.scope, gave_up.max_restarts) == ("loop", "child", 2)
    Supervisor.stop(supervisor)


def test_a_spent_budget_may_escalate(events: list[tuple[str, Any]]) -> None:
    supervisor = Supervisor.start_link(children("a", max_restarts=0), max_restarts=99)
    ref = process.monitor(supervisor)
    GenServer.cast(tree(supervisor).children[0].pid, "boom")
    assert down_of(ref).reason == "shutdown"


def test_a_reason_that_cannot_be_shown_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Shy:
        def __repr__(self) -> str:
            raise ValueError("no")

    supervisor = Supervisor.start_link(children("a"))
    process.exit(tree(supervisor).children[0].pid, Shy())
    quiesce()
    assert tree(supervisor).children[0].restarts == 1
    assert "<Shy that can't be shown: ValueError>" in caplog.text
    Supervisor.stop(supervisor)
