"""The second story as users run it, through the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .stopping import stopped

TREE = Path(__file__).resolve().parents[2] / "examples" / "user_sync" / "tree.yaml"


def run(folder: Path, *arguments: str) -> tuple[dict[str, Any], str, str]:
    command = [sys.executable, "-m", "resprout", "run", str(TREE), "--plain"]
    report = ["--report", str(folder / "report.json")]
    done = subprocess.run(
        [*command, *report, *arguments], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "report.json").read_text()), done.stdout, done.stderr


def assert_proven(report: dict[str, Any], count: int) -> None:
    proof = {key: report[key] for key in ("asked", "synced", "wrong_counts", "overlaps")}
    assert proof == {"asked": count, "synced": count, "wrong_counts": 0, "overlaps": 0}


def test_each_user_is_synced_as_often_as_asked_and_never_twice_at_once(tmp_path: Path) -> None:
    report, output, _ = run(tmp_path, "--set", "count=300", "--set", "seed=4")
    assert_proven(report, 300)
    assert report["given_up"] > 0
    assert report["put_back"] > 0
    assert "each as often as asked, never two at once" in output


def test_it_tells_its_story_a_line_each_time_a_worker_crashes(tmp_path: Path) -> None:
    report, _, log = run(tmp_path, "--set", "count=300", "--set", "seed=4")
    lines = log.splitlines()
    assert len(lines) == report["given_up"] > 0
    line_of_story = re.compile(
        r"INFO user_sync: user \d+: worker cut off (before|after) the sync; queued again"
    )
    assert [line for line in lines if not line_of_story.fullmatch(line)] == []


def test_with_the_level_debug_each_crash_is_reported_whole(tmp_path: Path) -> None:
    report, _, log = run(tmp_path, "--set", "count=300", "--set", "seed=4", "--log-level", "debug")
    assert log.count("user_sync.story.RemoteTrouble: cut off ") == report["given_up"] > 0


def test_a_run_that_is_stopped_says_how_far_it_came_and_is_no_failed_proof(tmp_path: Path) -> None:
    report, output = stopped(TREE, tmp_path)
    assert report["finished"] is False
    assert report["synced"] < report["asked"] == 2000
    assert (report["wrong_counts"], report["overlaps"]) == (0, 0)
    assert f"{report['synced']} of 2,000 syncs of 249 users: none more often than asked" in output


@pytest.mark.slow
def test_chaos_changes_nothing(tmp_path: Path) -> None:
    report, _, _ = run(tmp_path, "--set", "count=1000", "--chaos", "100", "--seed", "7")
    assert_proven(report, 1000)
    assert len(report["crashes"]) == 100
