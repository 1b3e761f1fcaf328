"""Deferred drains: of processes whose run right a thread holds, to be run when it is in no drain."""

from __future__ import annotations

from .kernel import kernel
from .thread_state import local

DRAINS_AT_ONCE = 1000
"""How many deferred drains a thread does before it leaves the rest to the pool."""


def run_deferred_drains() -> None:
    """Do the drains that this thread owes, now that it is in none; a bounded number, the pool gets the
    rest.
    """
    deferred = local.state.deferred
    left = DRAINS_AT_ONCE
    while deferred:
        pid = deferred.popleft()
        if left:
            left -= 1
            pid.drain()
        else:
            kernel.pool.submit(pid)


def hand_over_deferred_drains() -> None:
    """Hand the drains that this thread owes to the pool: whoever waits must not hold others up (or wait for
    itself).
    """
    deferred = local.state.deferred
    while deferred:
        kernel.pool.submit(deferred.popleft())
