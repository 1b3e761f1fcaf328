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
from pods.statements import enter, open_statement, read_statement

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
    proof = {key: report[key] for key in ("asked", "paid", "in_account", "lost", "undone", "finished")}
    expected = {"asked": count, "paid": count, "in_account": count, "lost": 0, "undone": 0, "finished": True}
    assert proof == expected
    assert report["total"] == report["in_statements"] == sum(each.amount for each in make_payments(1, count))


def test_no_payment_is_lost_or_made_twice_whoever_is_killed(tmp_path: Path) -> None:
    report, output = run(tmp_path, "count=60", "every=0.05")
    assert_proven(report, 60)
    assert report["kills"] > 3
    assert report["again"] > 0
    assert report["taken"] > 0
    assert "60 of 60 payments made, all in the account" in output
    assert f"{report['taken']} were put back, as another pod had the user" in output


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
    assert (report["lost"], report["undone"]) == (0, 0)
    assert report["paid"] <= report["in_account"] < report["asked"] == 100_000


def test_the_account_refuses_who_comes_too_late_and_pays_once(tmp_path: Path) -> None:
    file = str(tmp_path / "account.json")
    open_account(file)
    pay(file, Payment(1, 0, 100), token=5)
    pay(file, Payment(1, 0, 100), token=6)
    with pytest.raises(TooLate, match="token 4 after 5"):
        pay(file, Payment(2, 0, 100), token=4)
    assert read_account(file).paid == {1: 100}
    assert os.listdir(tmp_path) == ["account.json"]


def test_a_statement_has_each_payment_of_its_user_once(tmp_path: Path) -> None:
    for user in (0, 1):
        open_statement(str(tmp_path), user)
    for payment in (Payment(1, 0, 100), Payment(2, 0, 50), Payment(1, 0, 100), Payment(3, 1, 7)):
        enter(str(tmp_path), payment)
    assert [read_statement(str(tmp_path), user) for user in (0, 1)] == [{1: 100, 2: 50}, {3: 7}]


def test_a_payment_that_is_not_in_the_account_or_in_the_statement_is_a_failed_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tmp_path / "account.json")
    proof = Proof(file, str(tmp_path), count=3, seed=1)
    payment = make_payments(1, 3)[2]
    receipts = Receipts()
    receipts.note_paid(payment)
    monkeypatch.setattr("pods.proof.receipts", receipts)
    with pytest.raises(NotExact, match="1 of 1 payments were made, and are not in the account"):
        proof.report()
    pay(file, payment, token=1)
    with pytest.raises(NotExact, match="1 of 1 payments were made, and are in no statement"):
        proof.report()
    enter(str(tmp_path), payment)
    assert proof.report()["in_statements"] == payment.amount
