"""What is kept of the past to be shown: crashes and log records."""

from __future__ import annotations

import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import pytest

from resprout.actors import GenServer, NoProcess, ServerExit, process
from resprout.actors.engine import crossing
from resprout.control.crashes import CrashLog
from resprout.control.logs import LogBook, is_of
from resprout.control.system import RunningSystem
from resprout.supervision import Application
from resprout.supervision.placement.logs import retell

from ..waiting import until


def crash(times: int) -> None:
    for _ in range(times):
        until(lambda: process.whereis("crasher"))
        with pytest.raises((ServerExit, NoProcess)):
            GenServer.call("crasher", "go")


def test_crashes_of_a_kind_are_one_with_a_count_a_trace_and_a_place(system: RunningSystem) -> None:
    crash(3)
    (told,) = system.crashes()
    assert (told["count"], told["module"], told["path"]) == (3, "Crasher", "services/crasher")
    assert told["reason"] == "ValueError: the disk is on fire"
    assert (told["last_message"], told["state"]) == ("'go'", "'a state'")
    assert told["trace"][-1] == "ValueError: the disk is on fire"
    assert '    raise ValueError("the disk is on fire")' in told["trace"]
    assert told["first"] <= told["last"]
    assert system.status()["crashes"] == 3
    assert system.info("services/crasher")["last_crash"] == told
    assert system.info("services/echo-0")["last_crash"] is None


def test_another_line_that_raises_is_another_kind_and_stands_first(system: RunningSystem) -> None:
    crash(1)
    until(lambda: process.whereis("crasher"))
    process.send("crasher", "go")
    until(lambda: system.status()["crashes"] == 2)
    assert [each["number"] for each in system.crashes()] == [2, 1]
    assert [each["number"] for each in system.crashes(limit=1)] == [2]


class Big:
    pass


class Cause(Exception):
    pass


def test_the_causes_of_an_error_are_in_the_trace() -> None:
    crashes = CrashLog()
    crashes.attach()

    def fail() -> None:
        try:
            raise Cause("no power")
        except Cause as error:
            raise ValueError("no disk") from error

    process.spawn(fail)
    until(lambda: crashes.total)
    crashes.detach()
    (told,) = crashes.crashes()
    lines = [each for each in told["trace"] if not each.startswith(" ")]
    assert lines == ["Cause: no power", "ValueError: no disk"]


def test_nothing_of_the_dead_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("resprout"), "disabled", True)  # pytest keeps the records
    crashes = CrashLog()
    crashes.attach()
    seen: list[Any] = []

    def fail() -> None:
        big = Big()
        seen.append(weakref.ref(big))
        raise ValueError(str(big))

    process.spawn(fail)
    until(lambda: crashes.crashes())
    crashes.detach()

    def gone() -> bool:
        gc.collect()
        return seen[0]() is None

    until(gone)


def test_no_more_than_a_hundred_kinds_are_kept() -> None:
    crashes = CrashLog()
    crashes.attach()
    for number in range(150):
        process.spawn(process.exit, f"reason {number}")
    until(lambda: crashes.total == 150)
    crashes.detach()
    assert len(crashes.crashes(1_000)) == 100


@pytest.fixture
def book() -> Any:
    made = LogBook()
    made.attach()
    yield made
    made.detach()


def test_a_record_is_kept_with_the_child_whose_code_has_logged_it(system: RunningSystem) -> None:
    GenServer.cast("echo-1", "hello")
    until(lambda: system.logs("services/echo-1"))
    (told,) = system.logs("services/echo-1")
    assert (told["level"], told["logger"], told["message"]) == ("WARNING", "work", "cast 'hello'")
    assert told["path"] == "services/echo-1"
    assert told in system.logs("services")
    assert told in system.logs("/")
    assert system.logs("services/echo-2") == []


def test_what_a_child_in_another_os_process_logs_is_kept_as_its_own_its_last_words_too(
    folder: Path, book: LogBook
) -> None:
    tree = folder / "far.yaml"
    tree.write_text(
        "children: [{supervisor: out, children: [{worker: far, name: far, placement: process, "
        'start: "resprout_control_work:Far"}]}]'
    )
    application = Application.load(tree, socket=False)
    application.start()
    try:
        far = process.whereis("far")
        GenServer.cast("far", "fire")
        until(lambda: book.records("out/far"))
        process.exit(far, "kill")
        until(lambda: process.whereis("far") not in (None, far))
        late = vars(logging.makeLogRecord({"name": "far", "levelno": logging.ERROR, "msg": "farewell"}))
        retell(crossing(late), far)
    finally:
        application.stop()
    first, last = book.records("out/far")
    assert (first["level"], first["logger"], first["message"], first["path"]) == (
        "ERROR",
        "far",
        "of fire",
        "out/far",
    )
    assert first["exception"].endswith("ValueError: fire")
    assert (last["message"], last["path"]) == ("farewell", "out/far")


def test_what_is_logged_outside_of_the_tree_has_no_child(book: LogBook) -> None:
    logging.getLogger("x").warning("by %s", "me")
    (told,) = book.records()
    assert (told["path"], told["message"]) == (None, "by me")


def test_a_record_with_an_error_has_its_trace(book: LogBook) -> None:
    try:
        raise ValueError("no disk")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    assert book.records()[0]["exception"].endswith("ValueError: no disk\n")


def test_of_each_child_the_last_hundred_are_kept_whoever_else_logs(book: LogBook) -> None:
    for number in range(250):
        logging.getLogger("x").warning("%d", number)
    assert [each["message"] for each in book.records(limit=1_000)] == [
        str(number) for number in range(150, 250)
    ]
    assert [each["message"] for each in book.records(limit=2)] == ["248", "249"]
    assert book.records(limit=0) == []


def test_a_message_that_cannot_be_made_is_left_to_the_handlers(
    book: LogBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("x").warning("%d", "no number")
    assert book.records() == []


def test_a_factory_of_somebody_else_stays_when_the_book_goes_and_serves_the_next_one() -> None:
    before = logging.getLogRecordFactory()
    made = LogBook()
    made.attach()
    under = logging.getLogRecordFactory()

    def theirs(*args: Any, **kwargs: Any) -> logging.LogRecord:
        return under(*args, **kwargs)

    logging.setLogRecordFactory(theirs)
    made.detach()
    assert logging.getLogRecordFactory() is theirs
    logging.getLogger("x").warning("not kept")
    assert made.records() == []
    made.attach()
    assert logging.getLogRecordFactory() is theirs
    logging.getLogger("x").warning("kept")
    assert [each["message"] for each in made.records()] == ["kept"]
    logging.setLogRecordFactory(under)
    made.detach()
    assert logging.getLogRecordFactory() is before


def test_books_that_come_and_go_in_any_order_leave_nothing() -> None:
    before = logging.getLogRecordFactory()
    first, second = LogBook(), LogBook()
    for _ in range(3):
        first.attach()
        second.attach()
        first.detach()
        logging.getLogger("x").warning("to the second")
        second.detach()
        assert logging.getLogRecordFactory() is before
    assert first.records() == []
    assert len(second.records()) == 3


@pytest.mark.parametrize(
    ("path", "child", "expected"),
    [
        ("a/b", "a", True),
        ("a", "a", True),
        ("ab", "a", False),
        ("a", "a/b", False),
        ("", "/", True),
        ("", "a", False),
    ],
)
def test_a_record_is_of_a_child_and_of_all_above_it(path: str, child: str, expected: bool) -> None:
    assert is_of(path, child) == expected
