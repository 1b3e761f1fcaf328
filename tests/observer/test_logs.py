from __future__ import annotations

import logging

import pytest

from resprout.actors import Crash, CrashReport, GenServer, Ok, process
from resprout.observer.logs import WithoutChaos, logging_to
from resprout.observer.saboteur import ChaosError


class Server(GenServer):
    def init(self, arg: object) -> Ok:
        return Ok(None)


def record(name: str, level: int, text: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(name, level, "file", 1, text, (), None, extra=extra)


def report(error: Exception) -> CrashReport:
    pid = Server.start()
    assert pid is not None
    process.exit(pid, "kill")
    return CrashReport(pid, None, "Server", (), Crash(error), "", "", ())


@pytest.mark.parametrize(
    ("error", "shown"), [(ChaosError("number 1 of 2"), False), (ValueError("a real one"), True)]
)
def test_crash_reports_are_held_back_when_chaos_made_the_crash(error: Exception, shown: bool) -> None:
    made = record("resprout", logging.ERROR, "ended", crash_report=report(error))
    assert bool(WithoutChaos().filter(made)) is shown


@pytest.mark.parametrize(
    ("level", "text", "shown"),
    [
        (logging.WARNING, "supervisor s: child 'c' exited: ChaosError: number 1 of 2", False),
        (logging.WARNING, "supervisor s: child 'c' exited: 'killed'; restarted 3 times before", False),
        (logging.WARNING, "supervisor s: child 'c' exited: killed, 2 more of the same", False),
        (logging.WARNING, "supervisor s: child 'c' exited: ValueError: a real one", True),
        (logging.WARNING, "supervisor s: child 'c' did not stop within 5.0 s and was killed", True),
        (logging.ERROR, "supervisor s: more than 3 restarts, last of child 'c': ChaosError", True),
    ],
)
def test_of_a_supervisor_only_the_crashes_of_chaos_are_held_back(level: int, text: str, shown: bool) -> None:
    assert bool(WithoutChaos().filter(record("resprout.supervision", level, text))) is shown


def test_what_others_log_passes() -> None:
    assert WithoutChaos().filter(record("orders", logging.WARNING, "it exited: killed"))


def test_records_go_to_the_handler_inside_the_with_and_not_after_it() -> None:
    seen: list[str] = []

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    handler = Seen()
    with logging_to(handler, chaos=False):
        logging.getLogger("somebody").warning("inside")
    assert seen == ["inside"]
    assert handler not in logging.getLogger().handlers
