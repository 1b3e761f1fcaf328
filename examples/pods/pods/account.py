"""The account, a file that is read, changed and written anew: what two may never do at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import attrs

from .payment import Payment
from .whole import write_whole

SECONDS = 0.002
"""How long somebody takes who pays, between reading and writing."""


class TooLate(Exception):
    """Somebody with a later token has been here: the lock is no longer one's own."""


@attrs.frozen
class Account:
    """What is in the file.

    Args:
        token: Of the grant with which it was written.
        paid: The amounts, by the number of the payment.
    """

    token: int
    paid: dict[int, int]


def open_account(path: str) -> None:
    """Begins an empty account."""
    _write(path, Account(0, {}))


def read_account(path: str) -> Account:
    """Reads the account."""
    there = json.loads(Path(path).read_text(encoding="utf-8"))
    return Account(there["token"], {int(number): amount for number, amount in there["paid"].items()})


def pay(path: str, payment: Payment, token: int) -> None:
    """Pays, once; a payment that is there already was done by somebody who was killed before saying so.

    Args:
        token: Of the grant of the lock; the account refuses one that comes too late.

    Raises:
        TooLate: It does.
    """
    account = read_account(path)
    if token < account.token:
        raise TooLate(f"token {token} after {account.token}")
    if payment.number not in account.paid:
        time.sleep(SECONDS)
        _write(path, Account(token, {**account.paid, payment.number: payment.amount}))


def _write(path: str, account: Account) -> None:
    write_whole(path, json.dumps(attrs.asdict(account)))
