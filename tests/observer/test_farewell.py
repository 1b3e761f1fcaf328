from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from resprout import cli
from resprout.observer.farewell import PATIENCE, Farewell

from ..interrupting import traced

WORK = '''
"""A tree that ends by itself, and its job, which is interrupted while it reports."""

import signal

from resprout.observer import Progress


def brief(): ...


class Job:
    def progress(self):
        return Progress(1, 1, "pieces")

    def report(self):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return {"pieces": 1}

    def summary(self):
        signal.raise_signal(signal.SIGINT)
        return "one piece done"
'''
TREE = """
name: brief
auto_shutdown: any_significant
job: {start: "%(module)s:Job"}
children:
  - {worker: brief, run: "%(module)s:brief", restart: transient, significant: true}
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", sys.path[:])
    module = f"work_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(WORK)
    path = tmp_path / "tree.yaml"
    path.write_text(TREE % {"module": module})
    return path


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_every_place_after_the_end_of_the_tree_leave_report_and_summary_whole(
    number: signal.Signals, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = 0
    ended = False

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal places, ended
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        here = "/observer/" in file and "/tests/" not in file
        if not here and not file.endswith("/trees/application.py"):
            return None
        frame.f_trace_opcodes = True
        if name == "_serve" and event == "return":
            ended = True
        elif name == "protected" and event == "return" and ended:
            ended = False  # The handlers of before are there again, and all is said.
        elif ended and name != "protected":  # Which puts the handlers of before back.
            places += 1
            signal.raise_signal(number)
        return trace

    report = tree.parent / "report.json"
    status: list[int] = []
    arguments = ["run", str(tree), "--plain", "--report", str(report)]
    traced(trace, lambda: status.append(cli.main(arguments)))
    out, err = capsys.readouterr()
    assert (status, err) == ([0], "")
    # The first of them came in the moment in which the tree ended.
    assert f"  ended     stopped by {number.name}\n" in out
    assert out.endswith("one piece done\n")
    assert json.loads(report.read_text())["pieces"] == 1
    assert places > 500


def test_before_the_tree_begins_signals_end_the_program_in_order() -> None:
    with Farewell(lambda: False).protected(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    farewell = Farewell(lambda: False)
    with farewell.protected():
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert (ended.value.code, farewell.stopped_by) == (143, signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_the_job_is_made_leave_report_and_summary_whole(
    number: signal.Signals, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work,) = tree.parent.glob("work_*.py")
    # An impatient second one comes while the first one ends the run.
    made = f"""
    def __init__(self):
        try:
            signal.raise_signal({int(number)})
        finally:
            signal.raise_signal({int(number)})

    def progress"""
    work.write_text(WORK.replace("\n    def progress", made))
    report = tree.parent / "report.json"
    assert cli.main(["run", str(tree), "--plain", "--report", str(report)]) == 128 + number
    out, err = capsys.readouterr()
    reason = f"stopped by {number.name} before the tree started"
    assert (json.loads(report.read_text())["reason"], err) == (reason, "")
    assert f"  ended     {reason}\n" in out


def test_a_job_that_exits_while_it_is_made_is_reported(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work,) = tree.parent.glob("work_*.py")
    work.write_text(
        WORK.replace("    def progress", "    def __init__(self):\n        exit(3)\n\n    def progress")
    )
    report = tree.parent / "report.json"
    assert cli.main(["run", str(tree), "--plain", "--report", str(report)]) == 1
    assert json.loads(report.read_text())["reason"] == "the job could not be made: SystemExit: 3"
    assert "SystemExit: 3" in capsys.readouterr().out


def test_what_hangs_after_the_end_can_be_interrupted() -> None:
    now = 100.0
    farewell = Farewell(lambda: True, lambda: now)
    with farewell.protected():
        signal.raise_signal(signal.SIGINT)
        farewell.begin()
        now += PATIENCE - 0.1
        signal.raise_signal(signal.SIGINT)
        now += 0.2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_handlers_of_somebody_else_stay() -> None:
    got: list[int] = []

    def theirs(number: int, frame: FrameType | None) -> None:
        got.append(number)

    signal.signal(signal.SIGTERM, theirs)
    with Farewell(lambda: True).protected():
        signal.raise_signal(signal.SIGTERM)
    assert got == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is theirs


@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_a_job_that_exits_while_it_reports_takes_nothing_with_it(
    raised: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work,) = tree.parent.glob("work_*.py")
    work.write_text(WORK.replace('return {"pieces": 1}', f"raise {raised}"))
    report = tree.parent / "report.json"
    assert cli.main(["run", str(tree), "--plain", "--report", str(report)]) == 1
    assert json.loads(report.read_text())["job_error"].startswith(raised.partition("(")[0])
    assert "  ended      finished\n" in capsys.readouterr().out
