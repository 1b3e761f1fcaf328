"""The core of a lock: who answers for it, who dies, and when it ends. It outlives the lock process.

The lock's own process and the supervisors above it are watched by two small resources of their own. Only
``stop_lock``, and the final stop of the tree that declares it, end a lock: while somebody may start its
process again, who waits goes on waiting.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ...actors import NoProcess, NotHeld, Pid
from ...actors.engine import home_of, kernel
from ...supervision.restarts import reviver, supervisors_above
from ..ledger.holds import Hold, fresh_key
from . import events
from .fast_steps import FastSteps
from .settings import Settings
from .workers import WorkerHandle

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("resprout.throttle")

_warned: set[tuple[object, int]] = set()
"""Places where a grant was left unreleased; each is told once."""


class Table(Protocol):
    """Where cores are kept by name."""

    def highest_token(self) -> int:
        """The highest token that a forgotten lock has given."""

    def keep(self, core: LockCore) -> None:
        """Have it found by its name."""

    def forget(self, core: LockCore) -> None:
        """Have it found no more. Called inside the core's combiner."""

    def orphaned(self, core: LockCore) -> None:
        """Have its process started again, which nobody above does. Called inside the core's combiner."""


class LockCore(FastSteps):
    """See the module. The methods are in the order of a lock's life."""

    __slots__ = (
        "_above",
        "_table",
        "above",
        "announced",
        "apart",
        "draining",
        "ended",
        "idle_workers",
        "last",
        "loop",
        "owner",
        "process",
    )

    in_parent = False
    """It stands for a lock of the process that this one is a placed child of."""

    def __init__(self, settings: Settings, table: Table) -> None:
        super().__init__(settings, table.highest_token())
        self.process: Pid | None = None
        """The lock process that answers for the ledger; None between a crash and the restart."""
        self.last: Pid | None = None
        """That process or, between a crash and the restart, the one before."""
        self.loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        """The event loop on which the tree that declares it was started; None: the runtime's."""
        self.announced = False
        """Whether observers know of the lock."""
        self.owner: Pid | None = None
        """The supervisor (or whoever started the lock process)."""
        self.above: tuple[Pid, ...] = ()
        """The supervisors above the lock process, the nearest first."""
        self.ended = False
        """Stopped for good by ``stop_lock``."""
        self.draining: list[list[Any]] = []
        """The jobs that each drain under way waits for; meanwhile no new ones are taken. Changed inside the
        combiner."""
        self.idle_workers: deque[WorkerHandle] | None = None
        """Idle slot workers, from the first ``execute`` on."""
        self.apart: dict[int, Hold] = {}
        """Holds that are not kept under the id of their process, since it may have several (see flow)."""
        self._above = _Above(self)
        self._table = table

    # -- deaths ----------------------------------------------------------------

    def owner_died(self, pid: Pid, reason: object) -> None:
        """A holder or waiter is dead (see actors.Resource)."""
        if self._concerns(pid.id):
            self.combiner.submit(partial(self._holder_died, pid, reason))
            self.flush_elsewhere()

    def owner_left(self, pid: Pid) -> None:
        """No code of it runs any more, so its slots are free."""
        self.attached.pop(pid.id, None)
        if self._concerns(pid.id):
            self.combiner.submit(partial(self._holder_left, pid))
            self.flush_elsewhere()

    def _concerns(self, key: int) -> bool:
        """Tell whether a process that has just died may have anything here.

        Looked at without the combiner. In this order: a grant writes the hold before it takes the claim out
        of the line, so a process is never seen with neither. What it has on the way is in the requests, or
        done by code of its own, after which it leaves.
        """
        ledger = self.ledger
        return (
            bool(self.combiner.requests or self.apart) or key in ledger.queue.by_key or key in ledger.holders
        )

    def _keys_of(self, pid: Pid) -> list[int]:
        """All the keys under which a process may hold something."""
        if not self.apart:
            return [pid.id]
        return [pid.id, *[key for key, hold in list(self.apart.items()) if hold.pid is pid]]

    def _holder_died(self, pid: Pid, reason: object) -> None:
        for key in self._keys_of(pid):
            hold = self.ledger.holders.get(key)
            if hold is not None and reason != "normal":
                # A crash explains why nobody released it.
                hold.code = None
            if hold is not None and hold.job is not None:
                self.later(partial(hold.job.worker_died, hold.pid, reason))
            self.ledger.holder_died(key, monotonic())

    def _holder_left(self, pid: Pid) -> None:
        for key in self._keys_of(pid):
            self._key_left(key)
        self._retire()

    def _key_left(self, key: int) -> None:
        hold = self.apart.get(key)
        if hold is not None and hold.leaving is not None and not hold.leaving.over:
            # A pool's thread goes on with the work of a task that has ended.
            hold.leaving.follow()
            return
        hold = self.ledger.holder_left(key, monotonic())
        self.apart.pop(key, None)
        if hold is not None and hold.code is not None and (hold.code, hold.lasti) not in _warned:
            _warned.add((hold.code, hold.lasti))
            self.later(partial(_warn_unreleased, hold))

    # -- several holds of one process, and one hold of several -------------------

    def set_aside(self, hold: Hold, pid: Pid | None = None) -> None:
        """Keep a hold under a key of its own, so that its process can have another; ``pid``: as another's."""
        key = fresh_key()
        if pid is not None:
            self.attach(pid)
        self.apart[key] = hold
        try:
            self.decide(partial(self._set_aside, hold, pid or hold.pid, key))
        finally:
            if hold.key != key:
                self.apart.pop(key, None)
        if pid is not None and pid.dead:
            # It died before this was its own.
            self._tell_again(pid)

    def _set_aside(self, hold: Hold, pid: Pid, key: int) -> bool:
        if hold.depth > 0:
            self.ledger.rekey(hold, pid, key)
        return True

    def call_over(self, key: int) -> None:
        """A pool's thread has come to the end of the call that took a hold. Safe anywhere."""
        if key in self.apart:
            kernel.post(partial(self._submit_call_over, key))

    def _submit_call_over(self, key: int) -> None:
        self.combiner.submit(partial(self._call_over, key))
        self.flush_elsewhere()

    def _call_over(self, key: int) -> None:
        hold = self.apart.get(key)
        if hold is not None and hold.pid.left:
            self._key_left(key)
            self._retire()

    def admit(self, host: Hold, pid: Pid, opener: Pid, alone: bool) -> Hold | None:
        """Let a process work in the slots of a hold, in a block that ``opener`` opens, be it ``alone`` or
        not; None when it can't.
        """
        self.attach(pid)
        guest = Hold()
        guest.core = self
        guest.pid = pid
        guest.key = key = fresh_key()
        guest.ticket = 0
        guest.code = None
        guest.depth = 1
        guest.opener = opener
        self.apart[key] = guest
        try:
            admitted = self.decide(partial(self.ledger.admit, host, guest, monotonic(), alone))
            if admitted is None:
                self.apart.pop(key, None)
            elif pid.dead:
                self._tell_again(pid)
        except BaseException:
            self.give_back(guest)
            self.apart.pop(key, None)
            raise
        return admitted

    def transfer(self, hold: Hold, pid: Pid) -> Hold:
        """Make another process the holder (see Grant)."""
        if not isinstance(pid, Pid):
            raise TypeError(f"expected the Pid of the new holder of lock {hold.name!r}, got: {pid!r}")
        if pid.dead:
            raise NoProcess(pid, pid)
        self.attach(pid)
        heir = Hold()
        heir.core = self
        heir.name = hold.name
        heir.pid = pid
        heir.key = pid.id
        heir.ticket = 0
        heir.code = None
        heir.depth = 1
        answer = self.decide(partial(self._transfer, hold, heir))
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise RuntimeError(f"lock {hold.name!r} is in the middle of a step that this interrupted")
        if pid.dead:
            self._tell_again(pid)
        return heir

    def _transfer(self, hold: Hold, heir: Hold) -> Hold | Exception:
        other = self.ledger.holders.get(heir.key)
        if other is not heir:
            if hold.depth <= 0 or self.ledger.holders.get(hold.key) is not hold:
                return NotHeld(hold.name)
            if hold.depth > 1:
                times = f"one that is acquired {hold.depth} times"
                return ValueError(
                    f"expected a grant of lock {hold.name!r} in its outermost block, got {times}"
                )
            if other is not None and other is not hold and other.depth > 0:
                without = f"a new holder without a slot of lock {hold.name!r}"
                return ValueError(f"expected {without}, got {heir.pid}, which has one")
        self.ledger.transfer(hold, heir)
        self.apart.pop(hold.key, None)
        return heir

    def _tell_again(self, pid: Pid) -> None:
        """A process died before something was its own, so nobody was told."""
        self.owner_died(pid, pid.exit_reason)
        if pid.left:
            self.owner_left(pid)

    # -- the lock process ------------------------------------------------------

    def adopt(self, process: Pid, settings: Settings) -> bool:
        """A new lock process answers for the ledger, from its init; False when the lock was stopped."""
        above = supervisors_above(process)
        owner = process.parent
        step = partial(self._adopt, process, owner, above, settings)
        adopted = self.decide(step)
        if adopted is None:
            # On top of a step of this very thread, which goes on afterwards.
            self.step(step)
        elif not adopted:
            return False
        # Afterwards, so that a process or owner that is dead already is told of last.
        process.attach(_Process(self))
        if owner is not None:
            owner.attach(self._above)
        # Deaths that were missed (an exception cut somebody off before it could attach) are told now; known
        # ones again change nothing.
        for hold in list(self.ledger.holders.values()):
            self.attach(hold.pid)
        for claim in self.ledger.waiting():
            if claim.key > 0:
                self.attach(claim.pid)
        self.flush_elsewhere()
        return True

    def _adopt(self, process: Pid, owner: Pid | None, above: tuple[Pid, ...], settings: Settings) -> bool:
        if self.ended or settings.life.ended:
            return False
        ledger = self.ledger
        if ledger.closed:
            # A new life rather than a restart: what it is made from counts again. After a crash, a resize
            # stays.
            ledger.num_slots = settings.num_slots
            ledger.max_waiting = settings.max_waiting
            ledger.orderly = ledger.strict = settings.fairness == "strict"
            ledger.paused = settings.paused
            self._shape(settings)
        self.settings = settings
        self.process = self.last = process
        # The library's own tree may have been started by a coroutine, but is nobody's.
        loop = None if settings.home else home_of(process)
        self.loop = None if loop is None else weakref.ref(loop)
        self.owner = owner
        self.above = above
        self._hear()
        ledger.adopt(monotonic())
        self._table.keep(self)
        return True

    def comes_back(self, settings: Settings) -> bool:
        """Whether the supervisor of its last process, which is dead, is about to start it again, and from
        other settings than these. Its name is free meanwhile, but not to be had.
        """
        last, owner = self.last, self.owner
        if last is None or owner is None or not last.dead or settings.life is self.settings.life:
            return False
        return not self.ledger.closed and reviver(last, self.above) is owner

    def process_died(self, process: Pid, reason: object) -> None:
        """The lock process is dead: it is restarted, or the lock is over."""
        self.combiner.submit(partial(self._process_died, process))
        self.flush_elsewhere()

    def _process_died(self, process: Pid) -> None:
        if self.process is process:
            self.process = None
            # Nobody is granted until it is clear who comes next.
            self.ledger.suspend()
            self._wait_for_successor()

    def above_died(self, pid: Pid) -> None:
        """A supervisor above is dead, which may be restarted itself."""
        self.combiner.submit(self._wait_for_successor)
        self.flush_elsewhere()

    def _wait_for_successor(self) -> None:
        """While no process answers: close, unless somebody may start the next one. Inside the combiner."""
        last = self.last
        if self.process is not None or last is None or self.ledger.closed:
            return
        hope = reviver(last, self.above)
        if hope is not None:
            # Who is dead by now tells this once more.
            hope.attach(self._above)
        elif self.settings.home and not kernel.exiting:
            # The library's own tree is always started again; but it may have been so already, and have taken
            # this process for alive.
            self._table.orphaned(self)
        else:
            self._close()

    def lost(self, pid: Pid) -> None:
        """A supervisor will not start again what ended with this process."""
        if self.process is None and not self.ledger.closed and (pid is self.last or pid in self.above):
            self.step(self._lost)

    def _lost(self) -> None:
        if self.process is None and not self.ledger.closed:
            self._close()

    # -- the end ---------------------------------------------------------------

    def close(self) -> None:
        """The lock is over: who waits is refused. Holders finish; their ledger is kept until then."""
        self.step(self._close)

    def _close(self) -> bool:
        self.ledger.close()
        idle_workers = self.idle_workers
        while idle_workers:
            try:
                idle_workers.pop().dismiss()
            except IndexError:
                break
        self._retire()
        return True

    def end(self) -> None:
        """The lock is over and forgotten, holders and all (``stop_lock``); its name is free on return."""
        self.ended = self.settings.life.ended = True
        if self.decide(self._close) is None:
            # On top of a step of this very thread, which goes on afterwards.
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

    def pause(self, paused: bool) -> None:
        """Grant nothing more, or go on granting."""
        self.step(partial(self._pause, paused))
        event = events.PAUSED if paused else events.RESUMED
        events.tell(event, self.state(), self.settings.name, self.ledger.num_slots)

    def _pause(self, paused: bool) -> None:
        self.ledger.pause(paused, self.process is not None, monotonic())

    def resize(self, num_slots: int) -> None:
        """Change the number of slots."""
        self.step(partial(self._resize, num_slots))
        events.tell(events.RESIZED, self.state(), self.settings.name, num_slots)

    def _resize(self, num_slots: int) -> None:
        self.ledger.resize(num_slots, monotonic())


class _Process:
    """Tells the core that the lock process died."""

    __slots__ = ("_core",)

    def __init__(self, core: LockCore) -> None:
        self._core = core

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._core.process_died(pid, reason)

    def owner_left(self, pid: Pid) -> None:
        """Nothing: the ledger is the combiner's, so a straggling lock process can do no harm."""


class _Above:
    """Tells the core that a supervisor above died."""

    __slots__ = ("_core",)

    def __init__(self, core: LockCore) -> None:
        self._core = core

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._core.above_died(pid)

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
