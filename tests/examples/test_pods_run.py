"""The pods as users run them, through the command line, on the pipe and on PostgreSQL; and the proof."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import pods.account
from pods.account import TooLate, open_account, pay, read_account
from pods.payment import Payment, make_payments
from pods.proof import NotExact, Proof
from pods.receipts import Receipts

from ..programs import resprout
from .stopping import stopped

TREE = Path(pods.account.__file__).parents[1] / "tree.yaml"
WATCHDOG = 100.0


def run(folder: Path, *settings: str) -> tuple[dict[str, Any], str]:
    sets = [each for setting in settings for each in ("--set", setting)]
    done = subprocess.run(
        resprout("run", TREE, "--plain", "--report", "report.json", *sets),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WATCHDOG,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "report.json").read_text(encoding="utf-8")), done.stdout


def assert_proven(report: dict[str, Any], count: int) -> None:
    proof = {key: report[key] for key in ("asked", "paid", "in_account", "lost", "finished")}
    assert proof == {"asked": count, "paid": count, "in_account": count, "lost": 0, "finished": True}
    assert report["total"] == sum(each.amount for each in make_payments(1, count))


def test_no_payment_is_lost_or_made_twice_whoever_is_killed(tmp_path: Path) -> None:
    report, output = run(tmp_path, "count=60", "every=0.05")
    assert_proven(report, 60)
    assert report["kills"] > 3
    assert report["again"] > 0
    assert "60 of 60 payments made, all in the account" in output


@pytest.mark.postgres
def test_it_is_the_same_on_postgresql(tmp_path: Path) -> None:
    from ..cluster.postgres_server import PostgresServer, bin_folder

    folder = bin_folder()
    if folder is None:
        pytest.skip("no PostgreSQL here")
    server = PostgresServer(folder)
    try:
        report, _ = run(tmp_path, "count=60", "every=0.4", f"database={server.url_of('postgres')}")
    finally:
        server.remove()
    assert_proven(report, 60)
    assert report["kills"] > 0


def test_a_run_that_is_stopped_says_how_far_it_came_and_is_no_failed_proof(tmp_path: Path) -> None:
    report, _ = stopped(TREE, tmp_path, "--set", "count=100000")
    assert report["finished"] is False
    assert report["lost"] == 0
    assert report["paid"] <= report["in_account"] < report["asked"] == 100_000


def test_the_account_refuses_who_comes_too_late_and_pays_once(tmp_path: Path) -> None:
    file = str(tmp_path / "account.json")
    open_account(file)
    pay(file, Payment(1, 100), token=5)
    pay(file, Payment(1, 100), token=6)
    with pytest.raises(TooLate, match="token 4 after 5"):
        pay(file, Payment(2, 100), token=4)
    assert read_account(file).paid == {1: 100}
    assert os.listdir(tmp_path) == ["account.json"]


def test_a_payment_that_is_not_in_the_account_is_a_failed_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = Proof(str(tmp_path / "account.json"), count=3, seed=1)
    receipts = Receipts()
    receipts.note_paid(make_payments(1, 3)[2])
    monkeypatch.setattr("pods.proof.receipts", receipts)
    with pytest.raises(NotExact, match="1 of 1 payments were made, and are not in the account"):
        proof.report()
