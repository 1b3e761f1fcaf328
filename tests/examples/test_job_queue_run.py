"""The job queue as users run it, through the command line, and as it is when its programs are killed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import job_queue
from job_queue.table import LOST, Table

from ..programs import resprout

TREE = Path(job_queue.__file__).parents[1] / "tree.yaml"
WATCHDOG = 60.0


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    sets = ["--set", "database=jobs.db", "--set", "seconds=0.02", "--set", "twenties=2"]
    command = resprout("run", TREE, "--plain", *sets, "--report", f"{name}.json")
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def report_of(program: subprocess.Popen[str], folder: Path, name: str) -> dict[str, Any]:
    output = program.communicate(timeout=WATCHDOG)[0]
    assert program.returncode == 0, output
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return report


def test_what_a_killed_program_had_taken_is_done_by_others_and_each_job_ends_once_as_it_should(tmp_path):
    killed = start(tmp_path, "killed")
    try:
        assert killed.stdout is not None
        assert "the mail program has crashed" in killed.stdout.readline()  # while others are at work
    finally:
        killed.kill()
        killed.communicate(timeout=WATCHDOG)
    table = Table(str(tmp_path / "jobs.db"))
    lost = {job.id for job in table.jobs() if job.state == "executing"}

    others = {name: start(tmp_path, name) for name in ("one", "another")}
    for name, program in others.items():
        report = report_of(program, tmp_path, name)
        assert report["wrong"] == []
        assert report["states"] == {"completed": 32, "discarded": 6, "cancelled": 2}
        assert report["lost"] >= len(lost) > 0
    assert all(LOST in job.errors for job in table.jobs() if job.id in lost)
