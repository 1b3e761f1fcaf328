from __future__ import annotations

import json
import logging
import sys

import pytest

from resprout.actors import Crash, CrashReport, GenServer, Ok, process
from resprout.observer.formats import JsonFormat, TextFormat, folded, in_one_line, is_crash, printable


class Server(GenServer):
    def init(self, arg: object) -> Ok:
        return Ok(None)


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def report(reason: object) -> CrashReport:
    pid = Server.start()
    assert pid is not None
    process.exit(pid, "kill")
    return CrashReport(pid, "till", "Server", (), reason, "'open'", "None", (), ("a socket",))


def record(text: str, *args: object, name: str = "shop", **more: object) -> logging.LogRecord:
    return logging.Logger(name).makeRecord(name, logging.ERROR, "file", 1, text, args, None, extra=more)


def crash(text: str) -> logging.LogRecord:
    told = report(Crash(raised(text)))
    return record("%s", told, name="resprout", crash_report=told)


def test_a_crash_is_one_line_that_names_who_ended_and_of_what() -> None:
    line = in_one_line(crash("on fire\n\x1b[31m, still"))
    assert line.startswith("Server <0.")
    assert line.endswith("ended: ValueError: on fire\\n\\x1b[31m, still")


def test_an_exit_reason_that_is_no_exception_is_shown_as_it_is() -> None:
    told = report(("no", "disk"))
    assert in_one_line(record("%s", told, crash_report=told)).endswith("ended: ('no', 'disk')")


def test_what_could_not_be_closed_is_told_by_its_first_line() -> None:
    told = report(Crash(raised("busy")))
    text = "what %s owned could not be closed: %s\n%s"
    line = in_one_line(record(text, told.pid, "a socket", "Traceback ...", crash_report=told))
    assert line == f"what {told.pid} owned could not be closed: a socket"


def test_an_exception_whose_text_cannot_be_made_is_described() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    told = report(Crash(Mute()))
    assert in_one_line(record("x", told, crash_report=told))
    assert "Mute that can't be shown: RuntimeError" in JsonFormat().format(record("x", crash_report=told))


def test_crashes_and_failed_starts_of_the_library_are_crashes_and_errors_of_others_are_not() -> None:
    assert is_crash(crash("x"))
    failed = record("child %r did not start", "till", name="resprout.supervision")
    assert not is_crash(failed)
    failed.exc_info = (ValueError, ValueError("x"), None)
    assert is_crash(failed)
    failed.name = "shop"
    assert not is_crash(failed)


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 20, "short"),
        ("one two three four", 10, "one two\n  three\n  four"),
        ("    one two three", 12, "    one two\n      three"),
        ("x" * 12, 8, "x" * 8 + "\n  " + "x" * 4),
        ("    sync(request)\n         ^^^^^^^", 20, "    sync(request)\n         ^^^^^^^"),
        ("  a = b + call(c)\n          ^^^^^^^", 12, "  a = b +\n    call(c)"),
        ("one\n\ntwo", 10, "one\n\ntwo"),
    ],
)
def test_lines_are_folded_and_marks_under_folded_ones_go(text: str, width: int, expected: str) -> None:
    assert folded(text, width) == expected


def test_text_folds_reports_of_crashes_and_leaves_other_lines_to_the_terminal() -> None:
    format = TextFormat(width=lambda: 30)
    assert max(map(len, format.format(crash("word " * 30)).splitlines())) <= 30
    assert format.format(record("word " * 30)) == "ERROR shop: " + "word " * 30


def test_without_a_width_a_report_is_whole() -> None:
    text = TextFormat().format(crash("word " * 30))
    assert "ValueError: " + "word " * 30 in text
    assert "in raised\n    raise ValueError(text)\n" in text


def test_an_object_of_json_has_the_time_the_level_the_logger_the_message_and_what_extra_gave() -> None:
    line = JsonFormat().format(record("%d orders\nlate", 3, customer=7, when=complex(1, 2), nan=float("nan")))
    assert "\n" not in line
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "ERROR",
        "logger": "shop",
        "message": "3 orders\nlate",
        "customer": "7",
        "when": "(1+2j)",
        "nan": "nan",
    }


def test_what_json_knows_stays_what_it_is() -> None:
    assert json.loads(JsonFormat().format(record("x", customer=7, tags=["a", "b"])))["tags"] == ["a", "b"]


def test_an_exception_that_was_logged_is_a_field_of_json() -> None:
    made = record("it failed")
    try:
        raise raised("no disk")
    except ValueError:
        made.exc_info = sys.exc_info()
    told = json.loads(JsonFormat().format(made))
    assert told["message"] == "it failed"
    assert told["exception"].endswith("ValueError: no disk")


def test_a_crash_is_an_object_with_all_that_the_report_knows() -> None:
    told = json.loads(JsonFormat().format(crash("on fire")))
    assert told["message"].endswith("ended: ValueError: on fire")
    about = told["crash"]
    assert (about["name"], about["kind"], about["reason"]) == ("till", "Server", "ValueError: on fire")
    assert (about["last_message"], about["owned"]) == ("'open'", ["a socket"])
    assert "in raised\n" in about["traceback"]


def test_printable_text_has_no_line_ends_escape_codes_or_halves_of_characters() -> None:
    assert printable("a\nb\x1b[2Jc\u2028\ud800\u202e") == "a\\nb\\x1b[2Jc\\u2028\\ud800\\u202e"
    assert printable("Grüße, 世界") == "Grüße, 世界"
