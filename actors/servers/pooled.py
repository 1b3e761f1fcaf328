"""Servers that may block: they borrow a thread of the pool while they have something to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..reports.stragglers import caught_up, straggles
from ..runtime.kernel import kernel
from ..runtime.thread_state import local
from ..vocabulary.reasons import Crash
from .runnable import BUDGET, RunnablePid

if TYPE_CHECKING:
    from ..runtime.pool import Worker


class PooledPid(RunnablePid):
    """Borrows a thread of the pool while it has something to do, so its callbacks may block for as long as
    they like.
    """

    __slots__ = ()

    def _submit(self) -> None:
        kernel.pool.submit(self)

    def run(self, worker: Worker) -> None:
        """Be run by a thread of the pool; the run right is held."""
        if not self._begin_run():
            return
        before = local.state.process
        local.state.process = self
        try:
            context = self._context
            while True:
                more = context.run(self.turn, BUDGET) if context is not None else False
                if self._fate:
                    self.leave()
                    return
                if more:
                    self._pending = True
                    self._submit()
                    return
                # Offered before the right is given up: whoever was answered and calls again finds this
                # thread idle.
                worker.pool.park(worker)
                self._run.append(True)
                if not (self._fate or self.has_work()) or not self._claim():
                    return
                if not worker.pool.unpark(worker):
                    # Somebody has given this thread other work; this process goes to another one.
                    self._pending = True
                    self._submit()
                    return
        except Exception as fault:
            # Not a callback's, those are caught where they are called: better dead than never running again.
            self.die(Crash(fault))
            self.leave()
            raise
        finally:
            local.state.process = before

    def _now_a_straggler(self) -> None:
        # Its own code that has just died by itself is on its way out; somebody else's signal makes a
        # straggler.
        if local.state.process is not self:
            straggles(self)

    def leave(self) -> None:
        super().leave()
        # Afterwards: who notes it as a straggler meanwhile comes before this, or sees that it has left.
        caught_up(self)
