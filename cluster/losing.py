"""Has grants end that an engine no longer answers for, and their holders know."""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ..actors import CallTimeout, ProcessExit, process
from ..throttle.engine import LockLost, RemoteClaim, Steps

if TYPE_CHECKING:
    from ..actors import Pid
    from ..throttle.engine import Hold

logger = logging.getLogger("resprout.cluster")


class Losing(Protocol):
    """A ledger that takes such holds out."""

    def lose(self, holds: list[Hold], now: float) -> list[tuple[Pid, LockLost]]:
        """Take them out; returns who is to be told, and what."""


def lose(core: Steps, ledger: Losing, holds: list[Hold], tells: bool) -> None:
    """Do that, in a process of its own.

    Args:
        tells: holders get a message rather than an exit signal.
    """
    name = core.settings.name
    jobs = [hold for hold in holds if hold.job is not None]
    for hold in jobs:
        # First, or its future would get a result from whoever goes on without the slot.
        if hold.job is not None:
            hold.job.worker_died(hold.pid, LockLost(name, hold.token))
    workers = {hold.pid for hold in jobs}
    # Who holds it in another OS process is told there.
    elsewhere = {hold.pid for hold in jobs if isinstance(hold, RemoteClaim)}
    for pid, lost in core.decide(partial(ledger.lose, holds, monotonic())) or ():
        logger.warning("%s has lost %s", pid, lost)
        if pid in elsewhere:
            continue
        try:
            if tells and pid not in workers:
                process.send(pid, lost)
            else:
                process.exit(pid, lost)
        except (ProcessExit, CallTimeout):
            # It has ended by itself.
            continue
