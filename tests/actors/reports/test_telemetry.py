"""Events, and crash reports: a value first, text second, logged once; normal ends are silent."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any

import pytest

from resprout.actors import (
    Crash,
    CrashReport,
    GenServer,
    NoReply,
    ServerExit,
    Shutdown,
    Stop,
    process,
    telemetry,
)

from ...scripted import Obeys

WATCHDOG = 20.0


@pytest.fixture
def events():
    """Everything that is emitted, as (event, measurements, metadata)."""
    seen: list[tuple[Any, Any, Any]] = []
    telemetry.attach("events", (), lambda *each: seen.append(each))
    yield seen
    telemetry.detach("events")


def crash(server: Any) -> Any:
    raise ValueError("boom")


def of(events: Any, *event: str) -> list[Any]:
    return [metadata for name, _, metadata in events if name == ("resprout", "process", *event)]


# -- attach, detach, emit ----------------------------------------------------------------


def test_a_handler_gets_event_measurements_and_metadata():
    seen: list[object] = []
    telemetry.attach("one", ("app", "job", "done"), lambda *each: seen.append(each))
    telemetry.emit(("app", "job", "done"), {"seconds": 1.5}, {"job": "orders"})
    telemetry.emit(("app", "job"), {}, {})
    assert telemetry.detach("one") is True
    telemetry.emit(("app", "job", "done"), {}, {})
    assert seen == [(("app", "job", "done"), {"seconds": 1.5}, {"job": "orders"})]
    assert telemetry.detach("one") is False


def test_a_prefix_hears_all_events_that_begin_with_it():
    seen: list[object] = []
    telemetry.attach("prefix", ("app",), lambda event, *_: seen.append(event))
    for event in (("app",), ("app", "a"), ("app", "a", "b"), ("application",), ("other", "app")):
        telemetry.emit(event, {}, {})
    telemetry.detach("prefix")
    assert seen == [("app",), ("app", "a"), ("app", "a", "b")]


def test_enabled_tells_whether_anybody_listens():
    assert not telemetry.enabled(("app", "x"))
    telemetry.attach("enabled", ("app",), lambda *_: None)
    assert telemetry.enabled(("app", "x"))
    assert not telemetry.enabled(("other",))
    telemetry.detach("enabled")


def test_a_change_is_told_after_it_is_made(monkeypatch):
    monkeypatch.setattr(telemetry, "_on_change", [*telemetry._on_change])
    listens: list[bool] = []
    telemetry.on_change(lambda: listens.append(telemetry.enabled(("app",))))

    def fail(*_: Any) -> None:
        raise ValueError("observer")

    telemetry.attach("changes", ("app",), fail)
    assert listens == [True]
    telemetry.emit(("app",), {}, {})
    assert listens == [True, False], "who raises is detached"
    assert telemetry.detach("changes") is False
    assert listens == [True, False], "nothing has changed"


def test_a_handler_that_raises_is_detached_and_reported_and_the_others_go_on(caplog):
    seen: list[object] = []

    def fail(*_: Any) -> None:
        raise ValueError("observer")

    telemetry.attach("bad", ("app",), fail)
    telemetry.attach("good", ("app",), lambda *each: seen.append(each))
    telemetry.emit(("app",), {}, {})
    telemetry.emit(("app",), {}, {})
    assert len(seen) == 2
    assert telemetry.detach("bad") is False
    telemetry.detach("good")
    assert len([record for record in caplog.records if "bad" in record.getMessage()]) == 1


def test_an_id_is_used_once_and_bad_arguments_are_refused():
    telemetry.attach("once", ("app",), lambda *_: None)
    with pytest.raises(Exception, match="once"):
        telemetry.attach("once", ("app",), lambda *_: None)
    telemetry.detach("once")
    with pytest.raises(TypeError):
        telemetry.attach("x", "app.job", lambda *_: None)
    with pytest.raises(TypeError):
        telemetry.attach("x", ("app",), None)


def test_handlers_attached_by_many_threads_at_once_are_all_there(shaken):
    together = threading.Barrier(8)

    def attach(who: int) -> None:
        together.wait(WATCHDOG)
        for n in range(5):
            telemetry.attach(("attached", who, n), ("app", "many"), lambda *_: None)

    with shaken():
        threads = [threading.Thread(target=attach, args=(who,)) for who in range(8)]
        for each in threads:
            each.start()
    for each in threads:
        each.join(WATCHDOG)
    assert all(telemetry.detach(("attached", who, n)) for who in range(8) for n in range(5))
    assert not telemetry.enabled(("app", "many"))


def test_a_handler_may_attach_detach_and_emit():
    seen: list[object] = []

    def once(event: Any, *_: Any) -> None:
        seen.append(event)
        telemetry.detach("reentrant")
        telemetry.emit(event, {}, {})

    telemetry.attach("reentrant", ("app",), once)
    telemetry.emit(("app", "x"), {}, {})
    assert seen == [("app", "x")]


# -- of processes ----------------------------------------------------------------------------


def test_the_life_of_a_process_is_told(way, events):
    pid = way(Obeys).start(name="telemetry.told")
    started = [metadata for metadata in of(events, "started") if metadata["pid"] is pid]
    assert len(started) == 1
    pid.stop()
    (exited,) = [metadata for metadata in of(events, "exited") if metadata["pid"] is pid]
    assert exited["reason"] == "normal"


@pytest.mark.parametrize("how", ["normal", "killed", "crash", "signal"])
def test_each_exit_is_told_once_with_its_reason(way, how, events, kill, crashes, reason_of):
    pid = way(Obeys).start()
    match how:
        case "normal":
            pid.stop()
        case "killed":
            kill(pid)
        case "signal":
            kill(pid, "signal")
        case _:
            pid.cast(crash)
            reason_of(pid)
    expected = Crash(ValueError("boom")) if how == "crash" else how
    assert [each["reason"] for each in of(events, "exited") if each["pid"] is pid] == [expected]


# -- crash reports ------------------------------------------------------------------------------


def test_a_crash_is_reported_once_as_a_value_and_as_text(way, events, crashes, caplog, reason_of):
    pid = way(Obeys).start_link("the state", name="telemetry.crash")
    process.trap_exit(True)
    pid.cast(crash)
    reason_of(pid)
    (report,) = crashes()
    assert isinstance(report, CrashReport)
    assert (report.pid, report.name, report.kind) == (pid, "telemetry.crash", "Obeys")
    assert report.reason == Crash(ValueError("boom"))
    assert report.parents[0] is process.current()
    assert process.current() in report.links
    assert "the state" in report.state
    assert "crash" in report.last_message
    text = str(report)
    for part in ("telemetry.crash", "ValueError", "boom", "the state", "Traceback", "raise ValueError"):
        assert part in text
    assert [each["report"] for each in of(events, "crashed")] == [report]
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown("deploy")])
@pytest.mark.parametrize("how", ["stop", "exit", "signal"])
def test_orderly_ends_are_silent(way, reason, how, caplog, reason_of, kill):
    pid = way(Obeys).start()
    match how:
        case "stop":
            pid.cast(lambda server: Stop(reason, None))
        case "exit":
            pid.cast(lambda server: process.exit(reason))
        case _ if reason == "normal":
            pid.stop()
        case _:
            process.exit(pid, reason)
    reason_of(pid)
    assert caplog.records == []


def test_deaths_by_signal_are_not_crashes_of_the_one_who_dies(way, kill, caplog):
    pid = way(Obeys).start()
    kill(pid)
    pid = way(Obeys).start()
    kill(pid, "fault")
    assert caplog.records == []


def test_a_stop_for_a_fault_is_reported(way, crashes, reason_of):
    pid = way(Obeys).start()
    pid.cast(lambda server: Stop("disk full", None))
    reason_of(pid)
    (report,) = crashes()
    assert report.reason == "disk full"
    assert "disk full" in str(report)


@pytest.mark.parametrize("coroutine", [False, True])
def test_a_spawned_function_that_raises_is_reported_once(coroutine, crashes, await_down):
    async def fail_on_the_loop() -> None:
        raise ValueError("boom")

    def fail() -> None:
        raise ValueError("boom")

    pid, ref = process.spawn_monitor(fail_on_the_loop if coroutine else fail)
    await_down(ref)
    (report,) = crashes()
    assert report.pid is pid
    assert "fail" in str(report)


def test_values_longer_than_a_screen_are_cut(crashes, reason_of):
    class Big(Obeys):
        def init(self, arg: Any) -> Any:
            from resprout.actors import Ok

            return Ok("x" * 1_000_000)

    pid = Big.start()
    message = ["y" * 1_000_000] * 3

    class Called:
        def __call__(self, server: Any) -> Any:
            raise ValueError("boom")

        def __repr__(self) -> str:
            return str(message)

    pid.cast(Called())
    reason_of(pid)
    (report,) = crashes()
    assert len(str(report)) < 20_000


def test_a_value_whose_repr_raises_does_not_hide_the_crash(crashes, reason_of):
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

        def __call__(self, server: Any) -> Any:
            raise ValueError("boom")

    pid = Obeys.start(Unprintable())
    pid.cast(Unprintable())
    assert reason_of(pid) == Crash(ValueError("boom"))
    (report,) = crashes()
    assert "no repr" in report.state


def test_a_call_of_a_value_whose_repr_raises_still_ends_in_our_error():
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    class Silent(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return NoReply(state)

    pid = Silent.start()
    with pytest.raises(TimeoutError):
        pid.call(Unprintable(), timeout=0.01)
    asked = GenServer.send_request(pid, Unprintable())
    process.exit(pid, "kill")
    with pytest.raises(ServerExit):
        asked.result(WATCHDOG)


def test_format_status_hides_secrets(crashes, reason_of):
    class Secret(Obeys):
        def format_status(self, state: Any) -> Any:
            return {"password": "***"}

    pid = Secret.start({"password": "hunter2"})
    pid.cast(crash)
    reason_of(pid)
    (report,) = crashes()
    assert "hunter2" not in str(report)
    assert "***" in report.state


def test_a_format_status_that_raises_does_not_hide_the_crash(crashes, reason_of):
    class Broken(Obeys):
        def format_status(self, state: Any) -> Any:
            raise RuntimeError("cannot")

    pid = Broken.start("state")
    pid.cast(crash)
    assert reason_of(pid) == Crash(ValueError("boom"))
    assert len(crashes()) == 1


def test_a_log_handler_that_raises_or_uses_the_runtime_breaks_nothing(reason_of):
    """A logging handler is user code that runs while a process dies."""
    heard: queue.Queue[object] = queue.Queue()
    other = Obeys.start("other")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.put(other.call("from the handler", timeout=WATCHDOG))
            raise RuntimeError("broken handler")

    handler = Handler()
    logger = logging.getLogger("resprout")
    logger.addHandler(handler)
    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        pid = Obeys.start()
        pid.cast(crash)
        assert isinstance(reason_of(pid), Crash)
        assert heard.get(timeout=WATCHDOG) == "from the handler"
    finally:
        logger.removeHandler(handler)
        logging.raiseExceptions = raising
    other.stop()


def test_crashes_compare_by_type_and_arguments():
    assert Crash(ValueError("a")) == Crash(ValueError("a"))
    assert Crash(ValueError("a")) != Crash(ValueError("b"))
    assert Crash(ValueError("a")) != Crash(TypeError("a"))
    assert Crash(ValueError("a")) != ValueError("a")
    assert hash(Crash(ValueError("a"))) == hash(Crash(ValueError("a")))


def test_a_burst_of_the_same_crash_is_summed_up_in_the_log_and_counted_exactly(caplog):
    from resprout.actors.reports import crash_reports as reports

    class Bursting(GenServer):
        blocking = False

        def handle_cast(self, message: Any, state: Any) -> Any:
            raise LookupError("the same")

    caplog.set_level(logging.ERROR, logger="resprout")
    seen: list[object] = []
    telemetry.attach("burst", ("resprout", "process", "crashed"), lambda *event: seen.append(event))
    total = reports.FREE + 40
    try:
        for _ in range(total):
            Bursting.start().cast("crash")
    finally:
        telemetry.detach("burst")
    assert len(seen) == total
    mine = [record for record in caplog.records if "Bursting" in record.getMessage()]
    assert len(mine) == reports.FREE
    reports.tell_held()
    last = caplog.records[-1].getMessage()
    assert "Bursting ended: LookupError" in last
    assert "(40 more times)" in last
