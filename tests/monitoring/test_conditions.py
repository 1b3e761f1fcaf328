"""Who counts as ready, and when a program is healthy."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resprout import Application, DynamicSupervisor, GenServer, monitoring, process
from resprout.actors import Backoff, ChildSpec, NoReply, Pid
from resprout.monitoring import UnreadyChild, conditions
from resprout.supervision import Supervisor

from ..scripted import Runs
from ..waiting import WATCHDOG, await_end, down_of, until

Supervised = Callable[..., Pid]


def runs(id: str, **options: Any) -> ChildSpec:
    return ChildSpec(id, (Runs.start_link, (), {}), **options)


def not_ready() -> list[tuple[str, str]]:
    found = monitoring.readiness()
    assert found.ready is not bool(found.not_ready)
    return [(each.child, each.state) for each in found.not_ready]


def end(top: Pid, id: str, reason: object) -> None:
    """End a child, and wait until its supervisor has dealt with that."""
    pid: Any = next(each.pid for each in Supervisor.which_children(top) if each.id == id)
    ref = process.monitor(pid)
    process.exit(pid, reason)
    down_of(ref)
    Supervisor.which_children(top)


def test_a_child_that_waits_before_its_restart_is_not_ready(supervised: Supervised) -> None:
    top = supervised(runs("clerk", backoff=Backoff(initial=1000.0, maximum=1000.0)), runs("other"))
    assert not_ready() == []
    end(top, "clerk", "kill")
    assert not_ready() == [("clerk", "backing_off")]


def test_a_child_that_is_down_is_not_ready_until_somebody_starts_it(supervised: Supervised) -> None:
    top = supervised(runs("clerk"))
    Supervisor.terminate_child(top, "clerk")
    assert not_ready() == [("clerk", "down")]
    Supervisor.restart_child(top, "clerk")
    assert not_ready() == []


@pytest.mark.parametrize(
    ("restart", "reason", "told"),
    [
        ("transient", "shutdown", []),
        ("transient", "kill", [("clerk", "down")]),
        ("temporary", "kill", []),
    ],
)
def test_who_is_through_with_the_work_is_ready_and_who_was_given_up_is_not(
    supervised: Supervised, restart: Any, reason: str, told: list[tuple[str, str]]
) -> None:
    budget: Any = {} if restart == "temporary" else {"max_restarts": 0, "on_exhausted": "give_up"}
    top = supervised(runs("clerk", restart=restart, **budget))
    end(top, "clerk", reason)
    assert not_ready() == told


def test_children_of_a_dynamic_supervisor_are_told_by_their_own_ids(supervised: Supervised) -> None:
    pool = DynamicSupervisor.start_link(name="sessions")
    pid = DynamicSupervisor.start_child(pool, runs("clerk", backoff=Backoff(initial=1000.0, maximum=1000.0)))
    await_end(pid)
    DynamicSupervisor.count_children(pool)
    assert not_ready() == [("sessions/clerk", "backing_off")]
    DynamicSupervisor.stop(pool)


def test_a_tree_that_stops_is_not_ready() -> None:
    gate, stopping = threading.Event(), threading.Event()

    class Slow(Runs):
        trap_exit = True

        def terminate(self, reason: object, state: object) -> None:
            stopping.set()
            gate.wait(WATCHDOG)

    def run() -> None:
        slow = ChildSpec("slow", (Slow.start_link, (), {}))
        Supervisor.start_link([slow], strategy="one_for_one", name="shop")
        Supervisor.stop("shop")

    thread = threading.Thread(target=run)
    thread.start()
    assert stopping.wait(WATCHDOG)
    try:
        assert not_ready() == [("shop", "stopping")]
    finally:
        gate.set()
        thread.join(WATCHDOG)


def test_a_tree_file_is_ready_from_its_start_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text(
        textwrap.dedent(
            """
            name: shop
            children:
              - {registry: guests}
            """
        ),
        encoding="utf-8",
    )
    application = Application.load(tmp_path / "tree.yaml")
    assert monitoring.readiness(application).not_ready == (UnreadyChild("shop", "starting"),)
    assert monitoring.health(application).healthy
    application.start()
    assert monitoring.readiness(application) == monitoring.Readiness(True)
    application.stop()
    assert monitoring.readiness(application).not_ready == (UnreadyChild("shop", "down"),)
    assert monitoring.health(application) == monitoring.Health(False, ("the tree of shop has ended",))


def test_a_loop_that_is_stuck_is_no_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "STUCK", 0.01)
    gate, here = threading.Event(), threading.Event()

    class Sticks(GenServer):
        async def handle_cast(self, message: Any, state: Any) -> Any:
            here.set()
            gate.wait(WATCHDOG)
            return NoReply(state)

    pid = Sticks.start()
    until(lambda: monitoring.health().healthy)
    GenServer.cast(pid, None)
    assert here.wait(WATCHDOG)
    try:
        until(lambda: not monitoring.health().healthy)
        (reason,) = monitoring.health().reasons
        assert reason.startswith("an event loop has not called back for")
    finally:
        gate.set()
    until(lambda: monitoring.health().healthy)
    GenServer.stop(pid)
