"""The book of a lock: the desk, who answers for it, who dies, and when it ends. It outlives the lock process.

The lock's own process and its owner (the supervisor) are watched by two small resources of their own.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ..actors import is_orderly
from . import events
from .claim import Hold
from .desk import Desk, Settings

if TYPE_CHECKING:
    from ..actors import Pid
    from .crew import Hand

logger = logging.getLogger("resprout.throttle")

_warned: set[tuple[object, int]] = set()
"""Places where a grant was left unreleased; each is told once."""


class Table(Protocol):
    """Where books are kept by name."""

    def highest_token(self) -> int:
        """The highest token that a forgotten lock has given."""

    def keep(self, book: Book) -> None:
        """Have it found by its name."""

    def forget(self, book: Book) -> None:
        """Have it found no more. Called inside the book's gate."""


class Book(Desk):
    """See the module. The methods are in the order of a lock's life."""

    __slots__ = ("_owned", "_table", "announced", "crew", "ended", "last", "owner", "process")

    def __init__(self, settings: Settings, table: Table) -> None:
        super().__init__(settings, table.highest_token())
        self.process: Pid | None = None
        """The lock process that answers for the ledger; None between a crash and the restart."""
        self.last: Pid | None = None
        """That process or, between a crash and the restart, the one before."""
        self.announced = False
        """Whether observers know of the lock."""
        self.owner: Pid | None = None
        """The supervisor (or whoever started the lock process)."""
        self.ended = False
        """Stopped for good by ``stop_lock``."""
        self.crew: deque[Hand] | None = None
        """Idle slot workers, from the first ``execute`` on."""
        self._owned = _Owner(self)
        self._table = table

    # -- deaths ----------------------------------------------------------------

    def owner_died(self, pid: Pid, reason: object) -> None:
        """A holder or waiter is dead (see actors.Resource)."""
        if self._concerns(pid.id):
            self.gate.submit(partial(self._holder_died, pid.id, reason))
            self.flush_elsewhere()

    def owner_left(self, pid: Pid) -> None:
        """No code of it runs any more, so its slots are free."""
        self.attached.pop(pid.id, None)
        if self._concerns(pid.id):
            self.gate.submit(partial(self._holder_left, pid.id))
            self.flush_elsewhere()

    def _concerns(self, key: int) -> bool:
        """Tell whether a process that has just died may have anything here.

        Looked at without the gate. In this order: a grant writes the hold before it takes the claim out of
        the line, so a process is never seen with neither. What it has on the way is in the requests, or done
        by code of its own, after which it leaves.
        """
        ledger = self.ledger
        return bool(self.gate.requests) or key in ledger.line.by_key or key in ledger.holders

    def _holder_died(self, key: int, reason: object) -> None:
        hold = self.ledger.holders.get(key)
        if hold is not None and reason != "normal":
            # A crash explains why nobody released it.
            hold.code = None
        if hold is not None and hold.job is not None:
            self.later(partial(hold.job.worker_died, hold.pid, reason))
        self.ledger.holder_died(key, monotonic())

    def _holder_left(self, key: int) -> None:
        hold = self.ledger.holder_left(key, monotonic())
        if hold is not None and hold.code is not None and (hold.code, hold.lasti) not in _warned:
            _warned.add((hold.code, hold.lasti))
            self.later(partial(_warn_unreleased, hold))
        self._retire()

    # -- the lock process ------------------------------------------------------

    def adopt(self, process: Pid, owner: Pid | None, settings: Settings) -> None:
        """A new lock process answers for the ledger, from its init."""
        self.gate.submit(partial(self._adopt, process, owner, settings))
        # Afterwards, so that a process or owner that is dead already is told of last.
        process.attach(_Process(self))
        if owner is not None:
            owner.attach(self._owned)
        # Deaths that were missed (an exception cut somebody off before it could attach) are told now; known
        # ones again change nothing.
        for hold in list(self.ledger.holders.values()):
            self.attach(hold.pid)
        for claim in self.ledger.waiting():
            if claim.key > 0:
                self.attach(claim.pid)
        self.flush_elsewhere()

    def _adopt(self, process: Pid, owner: Pid | None, settings: Settings) -> None:
        ledger = self.ledger
        if ledger.closed:
            # A new life rather than a restart: what it is made from counts again. After a crash, a resize
            # stays.
            ledger.num_slots = settings.num_slots
            ledger.max_waiting = settings.max_waiting
            ledger.orderly = ledger.strict = settings.fairness == "strict"
            self._shape(settings)
        self.settings = settings
        self.process = self.last = process
        self.owner = owner
        self._hear()
        ledger.adopt(monotonic())
        self._table.keep(self)

    def process_died(self, process: Pid, reason: object) -> None:
        """The lock process is dead: its supervisor restarts it, or the lock is over."""
        self.gate.submit(partial(self._process_died, process, reason))
        self.flush_elsewhere()

    def _process_died(self, process: Pid, reason: object) -> None:
        if self.process is not process:
            return
        self.process = None
        owner = self.owner
        if owner is not None and owner.alive and not is_orderly(reason):
            # It is restarted, or given up.
            self.ledger.suspend()
        else:
            self._close()

    def given_up(self, owner: Pid) -> None:
        """The supervisor lives, and will not restart the lock process."""
        self.step(partial(self._owner_gone, owner))

    def owner_gone(self, owner: Pid) -> None:
        """The supervisor is dead: nobody restarts the lock process any more."""
        self.gate.submit(partial(self._owner_gone, owner))
        self.flush_elsewhere()

    def _owner_gone(self, owner: Pid) -> None:
        if self.owner is owner and self.process is None and not self.ledger.closed:
            self._close()

    # -- the end ---------------------------------------------------------------

    def close(self) -> None:
        """The lock is over: who waits is refused. Holders finish; their ledger is kept until then."""
        self.step(self._close)

    def _close(self) -> None:
        self.ledger.close()
        crew = self.crew
        while crew:
            try:
                crew.pop().dismiss()
            except IndexError:
                break
        self._retire()

    def end(self) -> None:
        """The lock is over and forgotten, holders and all (``stop_lock``)."""
        self.ended = True
        self.close()

    def _retire(self) -> None:
        """Leave the table once nobody needs it: no process, no holders, no supervisor that brings it back."""
        ledger = self.ledger
        if self.ended or (ledger.closed and not ledger.holders and not self.settings.home):
            self._table.forget(self)
            attached = self.attached
            while attached:
                try:
                    attached.popitem()[1].detach(self)
                except KeyError:
                    break

    def resize(self, num_slots: int) -> None:
        """Change the number of slots."""
        self.step(partial(self._resize, num_slots))
        events.tell(events.RESIZED, self.state(), self.settings.name, num_slots)

    def _resize(self, num_slots: int) -> None:
        self.ledger.resize(num_slots, monotonic())


class _Process:
    """Tells the book that the lock process died."""

    __slots__ = ("_book",)

    def __init__(self, book: Book) -> None:
        self._book = book

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._book.process_died(pid, reason)

    def owner_left(self, pid: Pid) -> None:
        """Nothing: the ledger is the gate's, so a straggling lock process can do no harm."""


class _Owner:
    """Tells the book that its supervisor died."""

    __slots__ = ("_book",)

    def __init__(self, book: Book) -> None:
        self._book = book

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._book.owner_gone(pid)

    def owner_left(self, pid: Pid) -> None:
        """Nothing more."""


def _warn_unreleased(hold: Hold) -> None:
    code = hold.code
    assert code is not None
    logger.warning(
        "%s ended without releasing lock %r (token %d), acquired at %s:%d; the slot is free again",
        hold.pid,
        hold.name,
        hold.token,
        code.co_filename,
        line_of(code, hold.lasti),
    )


def line_of(code: Any, lasti: int) -> int:
    """Return the line number of an instruction."""
    for start, end, line in code.co_lines():
        if start <= lasti < end:
            return int(line or code.co_firstlineno)
    return int(code.co_firstlineno)
