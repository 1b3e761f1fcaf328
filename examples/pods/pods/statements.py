"""The statements, a file for each user that is read, changed and written anew by who has the user's key."""

from __future__ import annotations

import json
import time
from pathlib import Path

from .payment import Payment
from .whole import write_whole

SECONDS = 0.002
"""How long somebody takes who enters a payment, between reading and writing."""


def open_statement(folder: str, user: int) -> None:
    """Begins an empty statement."""
    write_whole(_path(folder, user), "{}")


def read_statement(folder: str, user: int) -> dict[int, int]:
    """Reads the amounts in a statement, by the number of the payment."""
    there = json.loads(_path(folder, user).read_text(encoding="utf-8"))
    return {int(number): amount for number, amount in there.items()}


def enter(folder: str, payment: Payment) -> None:
    """Enters a payment, once. Of two who do so for one user at the same time, one would undo the other."""
    statement = read_statement(folder, payment.user)
    if payment.number not in statement:
        time.sleep(SECONDS)
        write_whole(_path(folder, payment.user), json.dumps({**statement, payment.number: payment.amount}))


def _path(folder: str, user: int) -> Path:
    return Path(folder, f"statement{user}.json")
