from __future__ import annotations

import threading
from typing import Any

import pytest

from resprout.actors import GenServer, NoReply, Ok, Shutdown, StartError, Stop, process
from resprout.supervision import (
    ChildSpec,
    FailedToStartChild,
    NotReady,
    Supervisor,
    ready,
    tree,
)


class Late(GenServer):
    """Is ready when its second callback says so; `arg` is what that does."""

    def init(self, arg: Any) -> Any:
        return Ok(arg, continue_with="begin")

    def handle_continue(self, token: Any, state: Any) -> Any:
        return state() or NoReply(state)


def late(begin: Any, timeout: float = 10.0) -> ChildSpec:
    return ChildSpec("late", (Late.start_link, (begin,)), ready_timeout=timeout)


def test_a_start_is_over_when_the_child_says_that_it_is_ready() -> None:
    order = []

    def begin() -> None:
        order.append("ready")
        ready()

    def next_one() -> None:
        order.append("next")

    supervisor = Supervisor.start_link([late(begin), ChildSpec("next", next_one)])
    assert order == ["ready", "next"]
    Supervisor.stop(supervisor)


def test_a_child_that_is_ready_before_its_start_returns_is_ready() -> None:
    class Early(GenServer):
        def init(self, arg: Any) -> Any:
            ready()
            return Ok(None)

    supervisor = Supervisor.start_link([ChildSpec("early", Early.start_link, ready_timeout=10.0)])
    assert tree(supervisor).children[0].state == "running"
    Supervisor.stop(supervisor)


def test_a_thread_of_the_child_may_say_it() -> None:
    def begin() -> None:
        me = process.current()
        threading.Thread(target=lambda: ready(me)).start()

    supervisor = Supervisor.start_link([late(begin)])
    Supervisor.stop(supervisor)


def test_a_child_that_is_not_ready_in_time_is_stopped_and_its_start_has_failed() -> None:
    process.trap_exit(True)
    made = []
    with pytest.raises(StartError) as error:
        Supervisor.start_link([late(lambda: made.append(process.current()), timeout=0.05)])
    assert error.value.reason == Shutdown(FailedToStartChild("late", NotReady("late", 0.05)))
    assert str(error.value) == (
        "start failed: child 'late': it did not call ready() within 0.05 s (its ready_timeout)"
    )
    assert not made[0].alive
    process.trap_exit(False)


def test_a_child_that_ends_before_it_is_ready_has_failed_with_its_reason() -> None:
    process.trap_exit(True)
    with pytest.raises(StartError) as error:
        Supervisor.start_link([late(lambda: Stop("broken", None))])
    assert error.value.reason == Shutdown(FailedToStartChild("late", "broken"))
    process.trap_exit(False)


def test_nothing_is_kept_of_the_dead() -> None:
    from resprout.supervision.readying import waiting

    supervisor = Supervisor.start_link([late(ready)])
    Supervisor.stop(supervisor)
    assert (waiting._said, waiting._listeners) == ({}, {})
