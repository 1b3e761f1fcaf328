"""Taking a slot now or never, as a step of the ledger."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from ...actors.engine import FREE_THREADED, increase

if TYPE_CHECKING:
    from ...actors import Pid
    from .holds import Hold
    from .ledger import Ledger


class Attempt:
    """A step that grants without joining the line. May be repeated."""

    __slots__ = ("_before", "_ledger", "_pid", "_weight", "hold")

    def __init__(self, ledger: Ledger, pid: Pid, weight: int) -> None:
        self._ledger = ledger
        self._pid = pid
        self._weight = weight
        self._before: int | None = None
        self.hold: Hold | None = None

    def __call__(self) -> Hold | None:
        ledger = self._ledger
        if self._before is None:
            self._before = ledger.token
        held = ledger.holders.get(self._pid.id)
        if held is None or held.depth <= 0:
            self.hold = ledger.take(self._pid, self._pid.id, self._weight, monotonic())
        elif held.ticket == 0 and held.token > self._before:
            # This step was cut after the grant, and is repeated.
            self.hold = held
        elif self._weight <= held.weight and self.hold is None:
            # Meanwhile its process, which waits below a signal handler that this is in, was granted a slot.
            self.hold = held
            if FREE_THREADED:
                increase(held, "depth")
            else:
                held.depth += 1
        return self.hold

    def undo(self) -> None:
        """Take back what it granted."""
        hold = self.hold
        if hold is None:
            return
        self.hold = None
        if hold.depth > 1 and (not FREE_THREADED or increase(hold, "depth", -1, above=1)):
            if not FREE_THREADED:
                hold.depth -= 1
        else:
            hold.outcome = "ignored"
            self._ledger.release(hold, monotonic())
