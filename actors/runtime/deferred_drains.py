"""Drains that a thread owes: processes whose run right it holds, to be run when it is in no drain."""

from __future__ import annotations

from .kernel import kernel
from .thread_state import local

OWED_AT_ONCE = 1000
"""How many owed drains a thread does before it leaves the rest to the pool."""


def pay_owed() -> None:
    """Do the drains that this thread owes, now that it is in none; a bounded number, the pool gets the
    rest.
    """
    owed = local.state.owed
    left = OWED_AT_ONCE
    while owed:
        pid = owed.popleft()
        if left:
            left -= 1
            pid.drain()
        else:
            kernel.pool.submit(pid)


def give_away_owed() -> None:
    """Hand the drains that this thread owes to the pool: whoever waits must not hold others up (or wait for
    itself).
    """
    owed = local.state.owed
    while owed:
        kernel.pool.submit(owed.popleft())
