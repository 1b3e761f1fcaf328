from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler, QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from resprout.actors import Crash, CrashReport, GenServer, Ok, process
from resprout.observer.logs import (
    LogOptions,
    WithoutChaos,
    is_console,
    logging_from_the_start,
    logging_to,
    unwritable_log,
)
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
    with logging_to(handler):
        logging.getLogger("somebody").warning("inside")
    assert seen == ["inside"]
    assert handler not in logging.getLogger().handlers


class Noting(logging.Handler):
    """A handler that keeps the texts that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> logging.Logger:
    """The root logger as a program has it that has configured nothing."""
    found = logging.getLogger()
    monkeypatch.setattr(found, "handlers", [])
    monkeypatch.setattr(found, "level", logging.WARNING)
    logging.getLogger("shop.till").setLevel(logging.NOTSET)
    found.manager._clear_cache()  # type: ignore[attr-defined] # as setLevel does
    return found


def configure(root: logging.Logger) -> logging.Handler:
    """As basicConfig does it where there is no handler yet; here pytest has some."""
    theirs = logging.StreamHandler(sys.stderr)
    theirs.setFormatter(logging.Formatter("mine: %(message)s"))
    root.addHandler(theirs)
    return theirs


@contextmanager
def listening(
    handler: logging.Handler, options: LogOptions | None = None, *, quiet: bool = False, **more: Any
) -> Iterator[None]:
    """As a run does it around the import of the modules and what follows."""
    options = options or LogOptions()
    with logging_from_the_start(options, quiet=quiet), logging_to(handler, options, quiet=quiet, **more):
        yield


def say() -> None:
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger("shop.till"), level)(level)
        getattr(logging.getLogger("resprout.application"), level)(f"resprout {level}")


@pytest.mark.parametrize(
    ("level", "quiet", "expected"),
    [
        (None, False, ["info", "warning", "resprout warning"]),
        (None, True, ["warning", "resprout warning"]),
        ("info", False, ["info", "resprout info", "warning", "resprout warning"]),
        ("info", True, ["info", "resprout info", "warning", "resprout warning"]),
        ("error", False, []),
    ],
)
def test_the_program_is_heard_from_info_on_and_the_library_from_warning_on(
    level: str | None, quiet: bool, expected: list[str], root: logging.Logger
) -> None:
    seen = Noting()
    with listening(seen, LogOptions(level), quiet=quiet):
        say()
    assert seen.texts == expected
    assert (root.level, logging.getLogger("resprout").level) == (logging.WARNING, logging.NOTSET)


def test_of_a_server_of_an_asgi_child_nobody_hears_that_all_is_well(root: logging.Logger) -> None:
    seen = Noting()
    with listening(seen):
        logging.getLogger("uvicorn.error").info("Waiting for application startup.")
        logging.getLogger("uvicorn.error").warning("something odd")
    assert seen.texts == ["something odd"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.ERROR, []),
        (logging.WARNING, ["warning", "resprout warning"]),
        (logging.DEBUG, ["debug", "info", "warning", "resprout warning"]),
    ],
)
def test_a_level_that_a_module_has_chosen_stays(
    level: int, expected: list[str], root: logging.Logger
) -> None:
    seen = Noting()
    with logging_from_the_start(LogOptions()):
        root.setLevel(level)  # when it is imported
        with logging_to(seen):
            say()
    assert seen.texts == expected


def test_what_a_handler_of_a_module_shows_is_not_shown_again(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(root)
    seen = Noting()
    with listening(seen):
        say()
    assert seen.texts == []
    assert capsys.readouterr().err.splitlines() == ["mine: info", "mine: warning", "mine: resprout warning"]


def test_a_handler_below_the_root_shows_what_is_its_own_and_nothing_twice(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    own = logging.StreamHandler(sys.stdout)
    logging.getLogger("shop").addHandler(own)
    try:
        seen = Noting()
        with listening(seen):
            say()
    finally:
        logging.getLogger("shop").removeHandler(own)
    assert seen.texts == ["resprout warning"]
    assert capsys.readouterr().out.splitlines() == ["info", "warning"]


def test_a_handler_that_writes_elsewhere_takes_nothing_from_the_console(
    root: logging.Logger, tmp_path: Path
) -> None:
    elsewhere = logging.FileHandler(tmp_path / "theirs")
    root.addHandler(elsewhere)
    seen = Noting()
    with listening(seen):
        say()
    elsewhere.close()
    assert seen.texts == ["info", "warning", "resprout warning"]
    assert (tmp_path / "theirs").read_text().splitlines() == seen.texts


def test_handlers_that_hand_over_to_the_console_or_draw_on_it_write_to_it(tmp_path: Path) -> None:
    pytest.importorskip("rich", reason="the live picture is an extra")
    from rich.console import Console
    from rich.logging import RichHandler

    onto, elsewhere = logging.StreamHandler(sys.stderr), logging.StreamHandler(io.StringIO())
    queued = QueueHandler(SimpleQueue())
    queued.listener = QueueListener(SimpleQueue(), elsewhere, onto)  # as dictConfig does
    assert is_console(onto)
    assert is_console(MemoryHandler(9, target=onto))
    assert is_console(queued)
    assert is_console(RichHandler(console=Console(stderr=True)))
    assert not is_console(elsewhere)
    assert not is_console(MemoryHandler(9, target=elsewhere))
    assert not is_console(QueueHandler(SimpleQueue()))
    assert not is_console(RichHandler(console=Console(file=io.StringIO())))
    assert not is_console(logging.NullHandler())


def test_where_nothing_else_may_write_handlers_of_the_root_rest_and_their_format_stays(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = configure(root)
    seen, above = Noting(), io.StringIO()
    own = logging.StreamHandler(sys.stderr)
    logging.getLogger("shop").addHandler(own)
    try:
        with listening(seen, alone=lambda stream: above):
            say()
            assert theirs not in root.handlers
            assert seen in root.handlers
        assert own.stream is sys.stderr
    finally:
        logging.getLogger("shop").removeHandler(own)
    assert theirs in root.handlers
    assert seen not in root.handlers
    assert seen.texts == ["resprout warning"]
    assert seen.formatter is theirs.formatter
    assert above.getvalue().splitlines() == ["info", "warning"]
    assert capsys.readouterr().err == ""


def test_the_log_file_has_all_that_is_logged_and_what_was_there_before(
    root: logging.Logger, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    made = report(ChaosError("number 1 of 2"))
    seen = Noting()
    with listening(seen, LogOptions(file=path), chaos=True, quiet=True):
        say()
        logging.getLogger("resprout").error("%s", made, extra={"crash_report": made})
        logging.getLogger("shop").warning("half a character: \ud800")
    lines = path.read_text().splitlines()
    assert lines[0] == "before"
    assert [line.split(" ", 2)[2] for line in lines[1:4]] == [
        "INFO shop.till: info",
        "WARNING shop.till: warning",
        "WARNING resprout.application: resprout warning",
    ]
    assert "ChaosError: number 1 of 2" in "\n".join(lines[4:])
    assert lines[-1].endswith("half a character: \\ud800")
    assert seen.texts == ["warning", "resprout warning", "half a character: \ud800"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_is_told_once(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(Noting(), LogOptions(file=Path("/dev/full"))):
        say()
        say()
    err = capsys.readouterr().err.splitlines()
    assert [line.partition(": [")[0] for line in err] == ["resprout: the log cannot be written"]


@pytest.mark.parametrize(
    ("name", "reason"), [(".", "Is a directory"), ("no/log", "No such file or directory")]
)
def test_a_log_that_cannot_be_written_is_known_before(name: str, reason: str, tmp_path: Path) -> None:
    assert unwritable_log(tmp_path / name) == f"{tmp_path / name}: {reason}"
    assert unwritable_log(tmp_path / "log") is None
