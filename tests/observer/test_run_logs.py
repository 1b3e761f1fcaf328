"""What users log, as it comes out of `resprout run`: on pipes, on terminals and in files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .shop import TILL

BASIC = "import logging\nlogging.basicConfig(level=logging.INFO, format='mine %(message)s')\n"
FORCED = BASIC.replace("format=", "force=True, format=")


def test_info_of_the_program_appears_once_and_debug_does_not(shop: Any) -> None:
    shop.write(TILL)
    ended = shop.run()
    assert ended.returncode == 0
    assert ended.stderr == "INFO shop.till: an info\nWARNING shop.till: a warning\n"


@pytest.mark.parametrize("look", [(), ("--plain",)])
@pytest.mark.parametrize("setup", [BASIC, FORCED])
def test_what_basic_config_shows_is_shown_once_and_in_its_format(
    setup: str, look: tuple[str, ...], shop: Any
) -> None:
    shop.write(TILL, setup)
    assert shop.run(*look).stderr == "mine an info\nmine a warning\n"


IMPORTED = "import logging\nlogging.getLogger('setup').info('imported')\n"


def test_what_modules_log_when_they_are_imported_appears_too(shop: Any) -> None:
    shop.write(TILL, IMPORTED)
    assert shop.run("--log-file", "log").stderr.splitlines() == [
        "INFO setup: imported",
        "INFO shop.till: an info",
        "WARNING shop.till: a warning",
    ]
    assert [line.split(" ", 3)[3] for line in (shop.folder / "log").read_text().splitlines()] == [
        "setup: imported",
        "shop.till: an info",
        "shop.till: a warning",
    ]


def test_a_module_that_configures_and_then_logs_is_heard_once(shop: Any) -> None:
    shop.write(TILL, BASIC + IMPORTED)
    assert shop.run().stderr == "mine imported\nmine an info\nmine a warning\n"


def test_a_module_that_wants_warnings_only_gets_them(shop: Any) -> None:
    shop.write(TILL, BASIC.replace("INFO", "WARNING"))
    assert shop.run().stderr == "mine a warning\n"


def test_a_program_that_configures_logging_while_it_runs_is_heard_once(shop: Any) -> None:
    shop.write(TILL)
    code = (shop.folder / "shop.py").read_text()
    (shop.folder / "shop.py").write_text(
        code.replace('        log.debug("a debug")', f"        {'; '.join(FORCED.splitlines())}")
    )
    assert shop.run().stderr == "mine an info\nmine a warning\n"


@pytest.mark.parametrize("setup", ["", BASIC])
@pytest.mark.parametrize(
    ("level", "heard"),
    [("debug", ["a debug", "an info", "a warning"]), ("WARNING", ["a warning"]), ("error", [])],
)
def test_the_level_of_the_command_line_wins(level: str, heard: list[str], setup: str, shop: Any) -> None:
    shop.write(TILL, setup)
    err = shop.run("--log-level", level).stderr
    assert re.findall(r"an? (?:debug|info|warning)$", err, re.MULTILINE) == heard


def test_a_quiet_run_shows_warnings_and_a_file_has_the_rest(shop: Any) -> None:
    shop.write(TILL, BASIC)
    ended = shop.run("--quiet", "--log-file", "log")
    assert (ended.stdout, ended.stderr) == ("", "mine a warning\n")
    assert [line.split(" ", 2)[2] for line in (shop.folder / "log").read_text().splitlines()] == [
        "INFO shop.till: an info",
        "WARNING shop.till: a warning",
    ]


def test_a_log_of_json_is_json_from_the_first_line_to_the_last(shop: Any) -> None:
    shop.write(TILL, BASIC)
    ended = shop.run("--log-format", "json", "--set", "crash=always", "--log-file", "log")
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert lines[0]["message"] == "an info"
    assert lines[0]["till"] == 7
    crashes = [line["crash"] for line in lines if "crash" in line]
    assert len(crashes) == 4
    assert "in handle_cast" in crashes[0]["traceback"]
    assert [json.loads(line) for line in (shop.folder / "log").read_text().splitlines()] == lines


def test_a_log_that_cannot_be_written_keeps_the_run_from_starting(shop: Any) -> None:
    shop.write(TILL)
    ended = shop.run("--log-file", "no/log")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "resprout: the log cannot be written: no/log: No such file or directory\n"


def test_a_reader_of_the_log_that_went_away_is_no_fault(shop: Any) -> None:
    shop.write(TILL)
    program = shop.begin()
    program.stderr.close()
    assert program.wait(60) == 0
    program.stdout.close()


# On a terminal


def text_of(seen: str) -> str:
    """What was written, without what moves the cursor and sets colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen).replace("\r", "")


@pytest.mark.parametrize("setup", ["", BASIC, FORCED])
def test_above_the_picture_a_crash_is_one_line_and_the_file_has_the_whole(setup: str, shop: Any) -> None:
    pytest.importorskip("rich", reason="the live picture is an extra")
    shop.write(TILL, setup)
    status, seen = shop.on_terminal("--set", "crash=once", "--log-file", "log").finish()
    assert status == 0
    shown = text_of(seen)
    assert "Traceback" not in shown
    (line,) = [line for line in shown.splitlines() if "the till is on fire" in line]
    assert re.search(r"ERROR Till <[^>]*> ended: ValueError: the till is on fire, and .*…$", line)
    assert len(line[line.index("ERROR") - 9 :]) == 80
    assert shown.count("an info\n") == 2
    whole = (shop.folder / "log").read_text()
    assert "--log-file" not in shown
    assert whole.count("Traceback") == 1
    assert "and the fire brigade is late " * 4 + "\nagain" in whole


def test_of_a_run_that_failed_the_last_crash_is_told_whole(shop: Any) -> None:
    pytest.importorskip("rich", reason="the live picture is an extra")
    shop.write(TILL)
    status, seen = shop.on_terminal("--set", "crash=always", size=(70, 24)).finish()
    assert status == 1
    shown, _, whole = text_of(seen).partition("The last crash:\n")
    assert "Traceback" not in shown
    assert whole.count("Traceback") == 1
    assert "in handle_cast" in whole
    assert max(map(len, whole.splitlines())) <= 70


def test_a_run_that_ends_well_says_where_its_crashes_would_be_whole(shop: Any) -> None:
    pytest.importorskip("rich", reason="the live picture is an extra")
    shop.write(TILL)
    hint = "--log-file FILE has the whole of each crash"
    assert hint in shop.on_terminal("--set", "crash=once").finish()[1]
    assert hint not in shop.on_terminal().finish()[1]


def test_standard_error_that_is_a_file_gets_all_that_belongs_there(shop: Any) -> None:
    shop.write(TILL)
    path = shop.folder / "errors"
    status, seen = shop.on_terminal("--set", "crash=once", errors=path).finish()
    assert status == 0
    assert "an info" not in seen
    assert path.read_text().startswith("INFO shop.till: an info\nWARNING shop.till: a warning\nERROR")
    assert path.read_text().count("Traceback") == 1


@pytest.mark.parametrize("size", [(80, 24), (50, 24)])
def test_plain_reports_are_folded_to_the_width_of_the_terminal(size: tuple[int, int], shop: Any) -> None:
    shop.write(TILL)
    _, seen = shop.on_terminal("--plain", "--set", "crash=once", size=size).finish()
    report = text_of(seen).partition("ERROR")[2].partition("\nINFO")[0]
    assert "Traceback" in report
    assert max(map(len, ("ERROR" + report).splitlines())) <= size[0]


def test_without_a_terminal_a_report_is_as_wide_as_it_is(shop: Any) -> None:
    shop.write(TILL)
    assert "and the fire brigade is late " * 4 in shop.run("--set", "crash=once").stderr


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_terminals_without_colours_get_none(environ: dict[str, str], shop: Any) -> None:
    shop.write(TILL)
    status, seen = shop.on_terminal("--set", "crash=once", **environ).finish()
    assert status == 0
    assert re.findall(r"\x1b\[(?:3|4|9)\d", seen) == []
    assert ("\x1b" in seen) is ("NO_COLOR" in environ)
