from __future__ import annotations

import threading
from typing import Any

import pytest

from resprout.actors import GenServer, NoReply, process
from resprout.supervision import Backoff, ChildSpec, NotQuiet, Supervisor, quiesce, tree


class Busy(GenServer):
    def handle_cast(self, message: Any, state: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        message.wait(30)
        return NoReply(state)


def test_after_quiesce_a_crashed_child_is_back() -> None:
    supervisor = Supervisor.start_link([Busy], max_restarts=100)
    for restarts in range(1, 51):
        first = tree(supervisor).children[0].pid
        GenServer.cast(first, "crash")
        quiesce()
        (child,) = tree(supervisor).children
        assert (child.state, child.restarts) == ("running", restarts)
        assert child.pid is not first
    Supervisor.stop(supervisor)


def test_quiesce_says_who_is_busy() -> None:
    gate = threading.Event()
    busy = Busy.start(name="busybody")
    GenServer.cast(busy, gate)
    with pytest.raises(NotQuiet, match="busybody"):
        quiesce(timeout=0.05)
    gate.set()
    quiesce()
    GenServer.stop(busy)


def test_a_child_that_waits_for_its_restart_is_not_quiet() -> None:
    supervisor = Supervisor.start_link([ChildSpec("b", Busy.start_link, backoff=Backoff(initial=30.0))])
    GenServer.cast(tree(supervisor).children[0].pid, "crash")
    with pytest.raises(NotQuiet, match="backing_off"):
        quiesce(timeout=0.2)
    Supervisor.stop(supervisor)
    assert process.info(supervisor) is None
