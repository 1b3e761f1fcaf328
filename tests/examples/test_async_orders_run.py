"""The orders example with asyncio as users run it, through the command line."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from async_orders.job import NotExact, OrdersJob, Result

TREE = Path(__file__).resolve().parents[2] / "examples" / "async_orders" / "tree.yaml"
EXACT = {"processed": 800, "expected": 800, "mismatches": 0, "max_running": 2, "num_slots": 2}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = ["--set", f"database=sqlite:///{folder}/orders.db", "--set", "port=0"]
    report = ["--plain", "--report", str(folder / "report.json")]
    return subprocess.run(
        [sys.executable, "-m", "resprout", "run", str(TREE), *settings, *report, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def report_of(folder: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    assert {key: report[key] for key in EXACT} == EXACT
    assert report["fewest_free"] > 0
    return report


def test_consumers_and_api_share_a_pool_and_a_run_that_is_not_exact_fails(tmp_path: Path) -> None:
    report = report_of(tmp_path, run(tmp_path))
    assert report["api_requests"] > 50
    assert (report["api_errors"], report["restarts"]) == (0, 0)
    url = f"sqlite:///{tmp_path}/orders.db"
    assert OrdersJob(url).summary() == "nothing left to do: all 800 messages were handled before"

    with sqlite3.connect(tmp_path / "orders.db") as database:
        database.execute("UPDATE customers SET cents = cents + 1 WHERE name = 'c7'")
    database.close()
    again = run(tmp_path)
    assert again.returncode == 1
    assert "the totals of 1 customers are not as the topic says" in again.stderr


def test_the_totals_stay_exact_under_chaos(tmp_path: Path) -> None:
    report = report_of(tmp_path, run(tmp_path, "--chaos", "60", "--seed", "3"))
    assert len(report["crashes"]) == 60
    assert {crash["kind"] for crash in report["crashes"]} == {"worker", "lock", "api"}


def test_a_pool_that_is_killed_is_closed_and_opened_again(tmp_path: Path) -> None:
    report = report_of(tmp_path, run(tmp_path, "--chaos", "15", "--chaos-only", "database", "--seed", "3"))
    assert {crash["child"] for crash in report["crashes"]} == {"services/database"}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("mismatches", 3, "the totals of 3 customers are not as the topic says"),
        ("max_running", 3, "3 consumers were at work at once, on 2 slots"),
        ("fewest_free", 0, "a request of the API found no connection free"),
    ],
)
def test_each_promise_is_checked(field: str, value: int, reason: str) -> None:
    good = {
        "processed": 5,
        "expected": 5,
        "mismatches": 0,
        "max_running": 2,
        "num_slots": 2,
        "fewest_free": 1,
        "api_requests": 9,
        "api_errors": 0,
    }
    Result(**good).check()
    with pytest.raises(NotExact, match=reason):
        Result(**{**good, field: value}).check()
