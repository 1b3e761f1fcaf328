"""The main job as users run it, through the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orders import store
from orders.check import expected
from orders.topic import read_topic

TREE = Path(__file__).resolve().parents[2] / "examples" / "orders" / "tree.yaml"


def with_a_loop_of_its_own(folder: Path) -> Path:
    """The same tree, with the API on a loop in a thread of its own."""
    tree = folder / "tree.yaml"
    shared = TREE.read_text(encoding="utf-8")
    own = shared.replace("app: orders.api:app,", "app: orders.api:app, loop: own,")
    assert own != shared
    tree.write_text(own, encoding="utf-8")
    return tree


def command(folder: Path, *arguments: str, tree: Path = TREE) -> list[str]:
    settings = ["--set", f"database=sqlite:///{folder}/orders.db", "--set", "port=0"]
    report = ["--plain", "--report", str(folder / "report.json")]
    return [sys.executable, "-m", "resprout", "run", str(tree), *settings, *report, *arguments]


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def run(folder: Path, *arguments: str, tree: Path = TREE) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        command(folder, *arguments, tree=tree),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TREE.parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return report_of(folder), done.stdout


def assert_exact(report: dict[str, Any]) -> None:
    counts = {key: report[key] for key in ("processed", "expected", "orders", "dead_letters", "mismatches")}
    assert counts == {"processed": 3200, "expected": 3200, "orders": 568, "dead_letters": 12, "mismatches": 0}
    assert report["num_slots"] == 2


@pytest.mark.slow
def test_the_main_job_handles_everything_and_finds_nothing_left_to_do_the_second_time(tmp_path: Path) -> None:
    first, output = run(tmp_path)

    assert_exact(first)
    assert first["max_running"] == 2
    assert first["restarts"] == 0
    assert first["api_errors"] == 0
    assert first["api_requests"] > 50
    assert "all is as the topic says" in output

    second, output = run(tmp_path)

    assert_exact(second)
    assert second["handled_this_run"] == 0
    assert second["seconds"] < first["seconds"]
    assert "nothing left to do" in output


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["tree", "own"])
def test_the_totals_stay_exact_under_chaos(tmp_path: Path, loop: str) -> None:
    tree = TREE if loop == "tree" else with_a_loop_of_its_own(tmp_path)
    report, _ = run(tmp_path, "--chaos", "200", "--seed", "11", tree=tree)

    assert_exact(report)
    assert report["max_running"] == 2
    assert len(report["crashes"]) == 200
    assert {crash["kind"] for crash in report["crashes"]} == {"worker", "lock", "registry", "api"}


@pytest.mark.slow
def test_the_totals_are_exact_from_kafka_whoever_crashes(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka")
    report, _ = run(tmp_path, "--set", "source=kafka", "--chaos", "100", "--seed", "5")

    assert_exact(report)
    assert report["max_running"] == 2
    workers = {crash["child"] for crash in report["crashes"] if crash["kind"] == "worker"}
    assert len(workers) > 5
    assert all(worker.startswith("consumers/subscriber/partitions/orders/") for worker in workers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_leaves_a_consistent_database(tmp_path: Path, number: signal.Signals) -> None:
    job = subprocess.Popen(
        command(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert job.stdout is not None
    with job, job.stdout:
        for line in job.stdout:
            if "messages" in line:
                break
        job.send_signal(number)
        job.stdout.read()
        assert job.wait(timeout=60) == 0

    report = report_of(tmp_path)
    assert 0 < report["processed"] < 3200
    assert report["mismatches"] == 0
    engine = store.connect(f"sqlite:///{tmp_path}/orders.db", size=1)
    offsets, effects = store.everything(engine)
    engine.dispose()
    assert sum(offsets.values()) == report["processed"]
    assert effects.mismatches(expected(read_topic(), offsets)) == 0
