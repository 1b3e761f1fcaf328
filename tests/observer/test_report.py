from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from resprout.observer import report
from resprout.observer.report import Chaos, CrashReport, Outcome

OUTCOME = Outcome("orders", seconds=1.23456, restarts=3, exit_status=0, reason="finished")


def test_the_fields_of_the_job_are_at_the_top_level() -> None:
    written = report.as_json(evolve(OUTCOME, fields={"processed": 7, "max_running": 2}))
    assert (written["processed"], written["max_running"]) == (7, 2)
    assert (written["name"], written["seconds"], written["restarts"]) == ("orders", 1.235, 3)
    assert (written["exit_status"], written["reason"]) == (0, "finished")


def test_a_job_cannot_overwrite_what_every_run_reports() -> None:
    assert report.as_json(evolve(OUTCOME, fields={"exit_status": 7, "restarts": -1}))["exit_status"] == 0


def test_each_crash_is_listed_with_how_long_it_took() -> None:
    crashes = (
        CrashReport("services/api", "api", "kill", 0.5, 0.02),
        CrashReport("consumers/c-1", "worker", "exception", 0.6, None),
    )
    written = report.as_json(evolve(OUTCOME, crashes=crashes, chaos=Chaos(2, 42)))
    assert written["chaos"] == {"wanted": 2, "seed": 42}
    assert written["crashes"] == [
        {
            "child": "services/api",
            "kind": "api",
            "how": "kill",
            "at_seconds": 0.5,
            "seconds_until_serving": 0.02,
        },
        {
            "child": "consumers/c-1",
            "kind": "worker",
            "how": "exception",
            "at_seconds": 0.6,
            "seconds_until_serving": None,
        },
    ]


def test_where_web_applications_listened_is_reported() -> None:
    assert report.as_json(OUTCOME)["addresses"] == {}
    written = report.as_json(evolve(OUTCOME, addresses={"api": "127.0.0.1:8080"}))
    assert written["addresses"] == {"api": "127.0.0.1:8080"}


def test_what_json_does_not_know_is_written_as_text(tmp_path: Path) -> None:
    report.write(tmp_path / "r.json", {"where": Path("/x"), "who": {1: "ä"}})
    assert json.loads((tmp_path / "r.json").read_text("utf-8")) == {"where": "/x", "who": {"1": "ä"}}


def test_a_report_replaces_the_one_before_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    report.write(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    circle: dict[str, object] = {}
    circle["self"] = circle
    with pytest.raises(ValueError, match=r"[Cc]ircular"):
        report.write(path, circle)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_take_a_report_is_known_before_the_run(tmp_path: Path) -> None:
    assert report.unwritable(tmp_path / "r.json") is None
    assert report.unwritable(tmp_path) == f"{tmp_path} is a folder"
    assert report.unwritable(tmp_path / "no" / "r.json") == f"there is no folder {tmp_path / 'no'}"
