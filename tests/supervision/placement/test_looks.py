"""Looking into a placed server: sys, logs and crash reports work across."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from placed_servers import Echo, LocalError

from resprout import monitoring
from resprout.actors import GenServer, NotPicklable, Pid, process, sys, telemetry

from ...waiting import until
from .conftest import reason_after

Placed = Callable[..., Pid]


def double(state: Any) -> Any:
    return state * 2


def test_the_state_is_that_of_the_far_server(placed: Placed) -> None:
    pid = placed(Echo, 21)
    assert sys.get_state(pid) == 21
    with pytest.raises(NotPicklable):
        sys.replace_state(pid, lambda state: state)
    with pytest.raises(NotPicklable, match="cannot cross"):
        GenServer.call(pid, ("lock",))


def test_a_status_names_the_process_here_and_the_class_there(placed: Placed) -> None:
    pid = placed(Echo, 1)
    status = sys.get_status(pid)
    assert (status.pid, status.name, status.parent) == (pid, "placed", pid.parent)
    assert (status.module, status.state, status.status) == (Echo, 1, "running")


def test_a_suspended_server_leaves_its_messages_alone(placed: Placed) -> None:
    pid = placed(Echo, "before")
    sys.suspend(pid)
    pid.cast("after")
    assert sys.get_state(pid) == "before"
    assert sys.get_status(pid).status == "suspended"
    sys.resume(pid)
    assert GenServer.call(pid, 1) == 1
    assert sys.get_state(pid) == "after"


def test_statistics_and_a_log_are_those_of_the_far_server(placed: Placed) -> None:
    pid = placed(Echo)
    sys.log(pid, 5)
    assert GenServer.call(pid, "hello") == "hello"
    events = sys.log(pid, "get")
    assert events is not None
    assert any("hello" in str(event) for event in events)
    assert sys.statistics(pid).messages_in >= 3


def test_a_trace_is_logged_here(placed: Placed, caplog: pytest.LogCaptureFixture) -> None:
    pid = placed(Echo)
    caplog.set_level(logging.INFO, "resprout.trace")
    sys.trace(pid, True)
    GenServer.call(pid, "traced")
    until(lambda: any("got call 'traced'" in each.getMessage() for each in caplog.records))
    sys.trace(pid, False)


def test_logs_come_at_the_levels_of_the_parent(placed: Placed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "placed")
    pid = placed(Echo)
    GenServer.call(pid, ("log", logging.DEBUG, "unheard"))
    GenServer.call(pid, ("log", logging.INFO, "heard"))
    GenServer.call(pid, ("log error",))
    until(lambda: len([each for each in caplog.records if each.name == "placed"]) == 2)
    heard, error = (each for each in caplog.records if each.name == "placed")
    assert (heard.getMessage(), heard.levelno) == ("heard", logging.INFO)
    assert heard.process == GenServer.call(pid, ("os",))
    assert vars(heard)["proxy"] is pid
    assert "LocalError: 1 and 2" in str(error.exc_text)


def test_a_crash_is_reported_once_with_far_state(placed: Placed, caplog: pytest.LogCaptureFixture) -> None:
    reports: list[Any] = []
    telemetry.attach("looks", ("resprout", "process", "crashed"), lambda *given: reports.append(given[2]))
    try:
        pid = placed(Echo, "its state")
        reason_after(pid, lambda: pid.cast(("raise", "this")))
        until(lambda: process.whereis("placed"))
        assert GenServer.call("placed", 1) == 1
    finally:
        telemetry.detach("looks")
    (report,) = (each["report"] for each in reports)
    assert report.pid is pid
    assert (report.kind, report.name, report.state) == ("Echo", "placed", "'its state'")
    assert report.last_message == "('raise', 'this')"
    assert isinstance(report.reason.exception, LocalError)
    logged = [each for each in caplog.records if hasattr(each, "crash_report")]
    assert len(logged) == 1
    assert "in _raise" in logged[0].getMessage()


def test_messages_cross_as_they_are_while_somebody_traces(placed: Placed) -> None:
    end = monitoring.tracing(trace.NoOpTracer())
    try:
        pid = placed(Echo, "before")
        assert GenServer.call(pid, 1) == 1
        pid.cast("after")
        assert sys.get_state(pid) == "after"
    finally:
        end()
