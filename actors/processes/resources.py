"""What a process owns dies with it, as a port closes with its owner on the BEAM.

A process that owns something has an *estate*, which is closed when it dies: on a thread of the pool (at the
interpreter's exit on one of ``closers``), never in a finalizer, a dying thread or the kernel thread, the
newest thing first. The death waits for that in one place: after its name, its keys and its callers are dealt
with, and before ``exited``, links and monitors are told, so after ``Down`` nothing is left and a supervisor
starts the successor then. The order, for a process with an estate (one without never comes here):

1. ``Pid._bury`` comes to ``holds``, which hands the estate to the pool and says yes; the burial ends there,
   after whoever waits in the process was woken.
2. ``run`` closes one thing after another. Whoever has the right of the estate (one element in ``_right``)
   does; a close that takes half of the time that is left is passed over: the right goes to another thread.
3. When all is closed, or its time is over, ``_finish`` marks it closed and buries the process once more,
   which now goes on behind ``holds``, and calls back those who wait for the closing alone.

A thing that is owned by a process that is flagged already is handed to the pool by ``own`` itself: add, then
look whether it has died.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from ..reports import crash_reports as reports
from ..reports import telemetry
from ..runtime.closers import closers
from ..runtime.kernel import Alarm, kernel
from ..runtime.parking import Waiter, park
from ..runtime.thread_state import current_if_any
from ..vocabulary.errors import NotOwned, ServerExit, brief
from .ambient import current
from .closing import Owning, owning_of
from .offloaded import acting

if TYPE_CHECKING:
    from .pid import Pid

T = TypeVar("T")
logger = logging.getLogger("resprout")
ESTATE = "estate"
LIMIT = "closing"
DEFAULT_LIMIT = 5.0
"""Seconds that all closings of a process may take before its death is told, unless a supervisor knows
better.
"""
SHORTEST = 0.1
"""Seconds that they may take at least: a child that is given no time to end has things to close all the
same.
"""
PATIENCE = 0.25
"""Seconds that a pool's thread has, at the interpreter's exit, to say that the time is over, before the main
thread does.
"""
UNBOUNDED = 86400.0
"""What a close is told to be left when its time is not limited."""
_estates: dict[int, Estate] = {}
"""What is owned by anybody, by the ids of the processes."""
NOT_CLOSED = ("resprout", "process", "not_closed")


def own(thing: T, close: Callable[..., Any] | None = None) -> T:
    """See ``process.own``."""
    me = current_if_any() or current()
    pid = acting() if me.pooled and not me._fate else me
    owning = owning_of(thing, close, pid)
    kernel.ensure()
    closers.ensure()
    estate: Estate = pid._ties.get(ESTATE) or pid._ties.setdefault(ESTATE, Estate(pid))
    estate.entries[owning.key] = owning
    _estates[pid.id] = estate
    if pid._fate:
        _have_closed(estate)
        if pid is not me:
            raise ServerExit(pid.exit_reason, pid, "process.own on a thread that works for it")
        pid.meet_death()
    return thing


def disown(thing: object) -> None:
    """See ``process.disown``."""
    pid = acting()
    estate: Estate | None = pid._ties.get(ESTATE)
    key = ("number", thing) if type(thing) is int else id(thing)
    if estate is None or estate.entries.pop(key, None) is None:
        raise NotOwned(pid, thing, owned_by(pid))
    if not (estate.entries or pid._fate):
        _estates.pop(pid.id, None)


def owned_by(pid: Pid) -> tuple[object, ...]:
    """What a process owns, the oldest first."""
    estate: Estate | None = pid._ties.get(ESTATE)
    return () if estate is None else tuple(each.thing for each in list(estate.entries.values()))


def still_closing(pid: Pid) -> bool:
    """Whether something that a dead process owned is not closed yet, and is waited for."""
    estate: Estate | None = pid._ties.get(ESTATE)
    return estate is not None and estate.to_wait_for


def limit_closing(pid: Pid, seconds: float | None) -> None:
    """Say how long the closings may hold up the news of a death; None for as long as they take."""
    if seconds != DEFAULT_LIMIT:
        pid._ties[LIMIT] = None if seconds is None else max(SHORTEST, seconds)


def when_closed(pid: Pid, call: Callable[[], object]) -> None:
    """Call back as soon as what a dying process owned is closed, or its time is over; at once if there is
    nothing to wait for.
    """
    estate: Estate | None = pid._ties.get(ESTATE)
    if estate is None or not estate.to_wait_for:
        call()
        return
    estate.waiting.append(call)
    if not estate.to_wait_for:
        estate.call_back()


def heirs_of(dead: Iterable[Pid]) -> list[Pid]:
    """The processes below dead ones that own something which is not closed yet, though it is about to be: a
    supervisor that is killed leaves its children to die by themselves.
    """
    if not _estates:
        return []
    above = frozenset(dead)
    return [estate.pid for estate in list(_estates.values()) if _is_heir(estate, above)]


def _is_heir(estate: Estate, above: frozenset[Pid]) -> bool:
    pid: Pid | None = estate.pid
    # What somebody has started without a link lives on, and only servers are certain to have had one.
    while pid is not None and (pid._fate or pid.kind == "server"):
        if pid.parent in above:
            return estate.to_wait_for
        pid = pid.parent
    return False


def await_heirs(dead: Iterable[Pid], seconds: float) -> list[Pid]:
    """Wait until what was owned below dead processes is closed; those that are left when the time is over."""
    dead = tuple(dead)
    deadline = time.monotonic() + seconds
    while heirs := heirs_of(dead):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        _await_one(heirs[0], left)
    return heirs


def _await_one(pid: Pid, seconds: float) -> None:
    def register(waiter: Waiter) -> bool:
        when_closed(pid, waiter.wake)
        return False

    park(register, lambda waiter: None, seconds)


def close_all(deadline: float) -> None:
    """At the interpreter's exit: close what the processes that still live own, those of the youngest first,
    and wait for it.
    """
    pending = [estate for _, estate in sorted(_estates.items(), reverse=True)]
    for estate in pending:
        # Some time is left to say what did not close.
        estate.begin(max(SHORTEST, deadline - time.monotonic() - 4 * PATIENCE))
    for estate in pending:
        closed = threading.Event()
        when_closed(estate.pid, closed.set)
        until = deadline if estate.deadline is None else min(deadline, estate.deadline + PATIENCE)
        if not _wait_at_exit(closed, until):
            _TimeIsOver(estate).run(None)


def _wait_at_exit(closed: threading.Event, until: float) -> bool:
    while not closed.wait(0.0):
        left = until - time.monotonic()
        if left <= 0:
            return False
        if closers.ensure():
            closed.wait(left)
        elif not kernel.pool.help():
            # Something was owned for the first time at the exit.
            closed.wait(min(left, 0.01))
    return True


def _have_closed(estate: Estate) -> None:
    """Hand it to a thread."""
    if not (kernel.exiting and closers.submit(estate)):
        kernel.pool.submit(estate)


class Estate:
    """What one process owns; a task of the pool once that is to be closed."""

    __slots__ = (
        "_alarm",
        "_begun",
        "_open",
        "_right",
        "_seen",
        "_turn",
        "deadline",
        "entries",
        "home",
        "kind",
        "pid",
        "stuck",
        "waiting",
    )

    def __init__(self, pid: Pid) -> None:
        self.pid = pid
        # A dead process forgets what it was.
        self.kind = reports.class_of(pid)
        self.entries: dict[object, Owning] = {}
        self.stuck: list[Owning] = []
        """What is being closed by threads that were passed over."""
        self.waiting: list[Callable[[], object]] = []
        self.deadline: float | None = None
        self.home = os.getpid()
        """After a fork the child must not close what is its parent's."""
        self._begun = False
        self._open = [True]
        self._right = [True]
        self._turn: _Turn | None = None
        self._seen: Owning | None = None
        self._alarm: Alarm | None = None

    @property
    def to_wait_for(self) -> bool:
        """Whether the death of the process is not to be told yet."""
        return bool(self._open and (self._begun or self.entries)) and self.home == os.getpid()

    def holds(self) -> bool:
        """Whether the burial has to wait; then the closing has begun, and goes on with the burial itself."""
        if not self.to_wait_for:
            _estates.pop(self.pid.id, None)
            self.call_back()
            return False
        self.begin(self.pid._ties.get(LIMIT, DEFAULT_LIMIT))
        return True

    def begin(self, limit: float | None) -> None:
        """Have everything closed soon. May be repeated, by a burial that was interrupted."""
        if self.home != os.getpid():
            return
        if not self._begun:
            if limit is not None:
                now = time.monotonic()
                self.deadline = now + limit
                self._alarm = kernel.at(now + limit / 2, self._look)
            self._begun = True
        _have_closed(self)

    def run(self, worker: object) -> None:
        """Close one thing after another, unless another thread is at it."""
        if self.home != os.getpid():
            return
        while True:
            try:
                del self._right[0]
            except IndexError:
                return
            turn = self._turn = _Turn()
            self._close_each(turn)
            if self._turn is not turn:
                break  # passed over meanwhile
            self._right.append(True)
            if not self.entries:
                break
        self._finish_if_closed()

    def _close_each(self, turn: _Turn) -> None:
        while self._turn is turn and self.entries:
            try:
                owning = self.entries.popitem()[1]
            except KeyError:
                return
            turn.at = owning
            left = UNBOUNDED if self.deadline is None else max(SHORTEST, self.deadline - time.monotonic())
            try:
                owning.close(left, lambda: not self._open)
            except BaseException as error:
                reports.close_failed(self.pid, self.kind, owning.thing, error, owned_by(self.pid))
            turn.at = None
            if owning in self.stuck:
                self.stuck.remove(owning)

    def _finish_if_closed(self) -> None:
        if self._begun and self._right and not (self.entries or self.stuck):
            self.finish()

    def finish(self) -> None:
        """Nobody waits for this any more: tell of the death."""
        try:
            del self._open[0]
        except IndexError:
            return
        _estates.pop(self.pid.id, None)
        if self._alarm is not None:
            self._alarm.cancel()
        if self.pid._fate:
            self.pid.bury()
        self.call_back()

    def call_back(self) -> None:
        """Call back those who wait for the closing."""
        while self.waiting:
            try:
                call = self.waiting.pop()
            except IndexError:
                return
            call()

    # In the kernel thread: no user code, nothing that blocks ------------------------------------------

    def _look(self) -> None:
        """See how the closing goes on; a close that is stuck must not keep the others open."""
        if not self._open or self.deadline is None:
            return
        now = time.monotonic()
        left = self.deadline - now
        at = self._turn.at if self._turn is not None else None
        if left < 0.01:
            self._pass_over(at)
            kernel.pool.submit(_TimeIsOver(self))
            return
        if at is not None and at is self._seen:
            self._pass_over(at)
        self._seen = at
        self._alarm = kernel.at(now + left / 2, self._look)

    def _pass_over(self, at: Owning | None) -> None:
        if at is None or self._right:
            return
        self.stuck.append(at)
        self._turn = None
        self._right.append(True)
        _have_closed(self)


class _Turn:
    """One thread's turn at closing, and what it is closing right now."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: Owning | None = None


class _TimeIsOver:
    """A task of the pool: say what did not close, and go on without it."""

    __slots__ = ("_estate",)

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def run(self, worker: object) -> None:
        estate = self._estate
        if not estate._open:
            return
        open_still = tuple(each.thing for each in [*estate.stuck, *estate.entries.values()])
        names = ", ".join(map(brief, open_still)) or "(what it closed last)"
        logger.warning(
            "%s is dead (%r), but what it owned has not closed in its time, and it is not waited for any "
            "longer: %s",
            estate.pid,
            estate.pid.exit_reason,
            names,
        )
        if telemetry._attached:
            telemetry.tell(NOT_CLOSED, {}, {"pid": estate.pid, "things": open_still})
        estate.finish()
