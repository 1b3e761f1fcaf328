"""A claim of somebody in another OS process, whom a placed child's pipe leads to."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ...actors import CallTimeout, QueueFull
from ..ledger.holds import Claim, Hold, fresh_key
from . import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...actors import Pid
    from ..ledger.values import Outcome
    from .lock_core import LockCore


class Remote(Protocol):
    """Tells whoever waits there. Called inside the combiner of a lock: never waits, may be repeated."""

    def granted(self, ref: int, token: int) -> None:
        """It has its slots."""

    def refused(self, ref: int, error: BaseException | None) -> None:
        """It does not get them; None: they are not free, and it did not want to wait."""

    def lost(self, ref: int) -> None:
        """Its grant is over, though nobody gave it back. Called anywhere."""


class RemoteClaim(Claim):
    """Waits in the line and holds like any other, under a key of its own: what ends it is the end of the OS
    process over there, and not that of the process that stands for it here.

    Args:
        ref: what it is called over there.
        pid: the process that stands for it here.
        once: it does not wait.
        who: its process over there, for people.
    """

    own = True

    def __init__(
        self,
        core: LockCore,
        ref: int,
        pid: Pid,
        weight: int,
        priority: int,
        once: bool,
        who: str,
        remote: Remote,
    ) -> None:
        super().__init__(pid, fresh_key(), weight, priority)
        self.name = core.settings.name
        self.code = None
        self.core = core
        self.ref = ref
        self.once = once
        self.who = who
        self.job = self
        self.remote = remote

    @property
    def straggler(self) -> bool:  # type: ignore[override]  # nobody sets it
        """Whether it goes on, though the process that stands for it is dead."""
        return self.pid.dead

    def offer(self, hold: Hold) -> bool:
        if self.depth <= 0:
            return False
        self.remote.granted(self.ref, hold.token)
        return True

    def refuse(self, error: BaseException) -> None:
        busy = self.once and isinstance(error, (CallTimeout, QueueFull))
        self.remote.refused(self.ref, None if busy else error)

    def nudge(self) -> bool:
        self.core.combiner.requests.append(self._retry)
        return self.depth > 0

    def worker_died(self, pid: Pid, reason: object) -> None:
        """Its grant is void, as the engine of the lock has not been heard of."""
        self.remote.lost(self.ref)

    def enter(self) -> None:
        """Join the line. From a place where no user code may run."""
        self.since = monotonic()
        self.core.tell_ledger(self._join)

    def end(self, outcome: Outcome) -> None:
        """Leave the line, or give back. From a place where no user code may run; may be repeated."""
        self.outcome = outcome
        # In this order: from now on no grant is taken.
        self.depth = 0
        self.core.tell_ledger(self._leave)

    # Inside the combiner; all of them may be repeated.

    def _join(self) -> None:
        if self.depth <= 0:
            # It has left by now.
            return
        ledger = self.core.ledger
        ledger.join(self, monotonic())
        if self.once and self in ledger.queue and not ledger.remote:
            ledger.withdraw(self, monotonic())
            self.remote.refused(self.ref, None)

    def _retry(self) -> None:
        self.core.ledger.retry(self, monotonic())

    def _leave(self) -> None:
        ledger = self.core.ledger
        ledger.withdraw(self, monotonic())
        self.core._release(self)


def claims_of(core: LockCore) -> tuple[list[Hold], list[Claim]]:
    """Return who holds a lock, oldest grant first, and who waits, next first."""
    holds: list[Hold] = core.combiner.visit(lambda: list(core.ledger.holders.values()))
    waiting: list[Claim] = core.combiner.visit(lambda: list(core.ledger.waiting()))
    return sorted([hold for hold in holds if hold.host is None], key=lambda hold: hold.token), waiting


def pause_from_afar(core: LockCore, paused: bool) -> None:
    """Grant nothing more, or go on, since somebody over there says so. Safe where no user code may run."""
    event = events.PAUSED if paused else events.RESUMED
    core.tell_ledger(partial(_change, core, partial(core._pause, paused), event))


def resize_from_afar(core: LockCore, num_slots: int) -> None:
    """Change the number of slots, likewise."""
    core.tell_ledger(partial(_change, core, partial(core._resize, num_slots), events.RESIZED))


def _change(core: LockCore, step: Callable[[], object], event: Any) -> None:
    step()
    core.later(partial(_tell, core, event))


def _tell(core: LockCore, event: Any) -> None:
    events.tell(event, core.state(), core.settings.name, core.ledger.num_slots)
