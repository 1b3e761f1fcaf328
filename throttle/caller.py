"""Somebody who waits in their own thread or coroutine, as the ledger tells them.

A claim's ``answer`` is written inside the gate only: a grant, an error, a nudge. Whoever waits reads it, and
gives up by setting ``depth`` to 0, as a holder gives back: a grant that finds it so is taken back, and one
that has just been made is given back by ``hand_on``, which goes through the gate. So grant, timeout and
cancellation may race as they like.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..actors.engine import Waiter, task_of
from .claim import Claim, Hold

if TYPE_CHECKING:
    from _thread import LockType

    from ..actors import Pid
    from .book import Book

GRANTED: Final = object()
"""The claim is the hold now."""
NUDGED: Final = object()
"""Awake, but nothing is granted yet."""


class Caller(Claim):
    """What the two kinds of callers share."""

    __slots__ = ("answer",)

    own = True
    answer: object
    """None until there is one: GRANTED; the hold of the same process that it shares; NUDGED; an exception."""
    counted: Hold | None = None
    """The hold that it shares, once it has counted the nesting."""
    book: Book
    """Known when it leaves."""

    def ring(self) -> bool:
        """Wake whoever waits; False when there is nobody left who could."""
        raise NotImplementedError

    def offer(self, hold: Hold) -> bool:
        # Never itself, which would be a cycle.
        self.answer = GRANTED if hold is self else hold
        # Who gives up does so first, and looks for a grant afterwards.
        if self.depth > 0 and self.ring():
            return True
        self.answer = None
        return False

    def leave(self) -> bool:
        """Inside the gate, where it is certain whether it was granted, and that nothing follows: leave the
        line, and give a slot that was granted already to the next. May be repeated.
        """
        ledger = self.book.ledger
        now = monotonic()
        ledger.withdraw(self, now)
        if ledger.holders.get(self.key) is self:
            # Nothing was done with it.
            self.outcome = "ignored"
            ledger.release(self, now)
        counted = self.counted
        if counted is not None:
            self.counted = None
            if counted.depth > 1:
                counted.depth -= 1
            else:
                ledger.release(counted, now)
        return True

    def renew(self) -> None:
        """Make ready to wait once more. Inside the gate."""
        self.answer = None

    def refuse(self, error: BaseException) -> None:
        self.answer = error
        self.ring()

    def nudge(self) -> bool:
        if self.answer is None:
            self.answer = NUDGED
        return self.depth > 0 and self.ring()


class ThreadCaller(Caller):
    """Waits in a thread. It is also what an exit signal wakes, as ``parked`` of its process."""

    __slots__ = ("sleeper",)

    sleeper: LockType | None
    """What the thread sleeps on; rung by freeing it."""

    if not TYPE_CHECKING:
        # Made empty, as a Hold is; filled by thread_caller() or, written out, by queue_up().
        __init__ = object.__init__

    else:

        def __init__(self) -> None: ...

    def ring(self) -> bool:
        sleeper = self.sleeper
        if sleeper is not None:
            # Free already means rung already.
            try:
                sleeper.release()
            except RecursionError:
                raise
            except RuntimeError:
                pass
        return True

    def wake(self) -> None:
        """Have the thread look whether its process has died."""
        self.ring()

    def register(self, waiter: Waiter) -> bool:
        """Have this waiter woken; True when there is nothing to wait for, looked at after registering."""
        self.sleeper = waiter.lock
        return self.answer is not None

    def unregister(self, waiter: Waiter) -> None:
        """The wait is over."""
        self.sleeper = None


class TaskCaller(Caller):
    """Waits in a coroutine, for a bell. Whoever grants in the same loop rings it without leaving that."""

    __slots__ = ("_loop", "bell")

    def __init__(self, name: str, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> None:
        # Claim.__init__ written out: this runs once a wait.
        self.name = name
        self.code = None
        self.pid = pid
        self.key = pid.id
        self.weight = weight
        self.priority = priority
        self.ticket = 0
        self.out = False
        self.depth = 1
        self.answer = None
        if release_on_kill:
            self.release_on_kill = True
        # A task knows its loop. (Asking for the running one is a system call on Python 3.11 and before.)
        try:
            loop = pid._loop  # type: ignore[attr-defined]  # of a TaskPid
        except AttributeError:
            loop = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop = loop
        self.bell: asyncio.Future[None] = loop.create_future()

    def ring(self) -> bool:
        loop = self._loop
        if in_step_of(loop):
            finish(self.bell)
            return True
        try:
            loop.call_soon_threadsafe(finish, self.bell)
        except RecursionError:
            raise
        except RuntimeError:
            # It has been closed.
            return False
        return True

    def offer(self, hold: Hold) -> bool:
        # in_step_of(), written out.
        loop = self._loop
        if hold is not self or _get_running_loop() is not loop or task_of(loop) is None:
            return Caller.offer(self, hold)
        # Written out, as this is every hand-over within a loop.
        self.answer = GRANTED
        if self.depth <= 0:
            return False
        try:
            self.bell.set_result(None)
        except asyncio.InvalidStateError:
            # It has rung, or the task is being cancelled, and will leave.
            pass
        return True

    def renew(self) -> None:
        self.answer = None
        self.bell = self._loop.create_future()

    async def rung(self, seconds: float | None) -> None:
        """Wait for the bell, or until the time is over."""
        if seconds is None:
            await self.bell
            return
        timer = self._loop.call_later(seconds, finish, self.bell)
        try:
            await self.bell
        finally:
            timer.cancel()


def in_step_of(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a step of one of the loop's tasks is under way here, so that the loop looks at once after
    it for what is ready. (A signal handler may run here while the loop sleeps, and would not wake it.)
    """
    return _get_running_loop() is loop and task_of(loop) is not None


def finish(bell: asyncio.Future[None]) -> None:
    """Ring it, unless it has rung."""
    if not bell.done():
        bell.set_result(None)


def thread_caller(name: str, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> ThreadCaller:
    """Make one. ``queue_up`` has the same written out."""
    claim = ThreadCaller()
    claim.name = name
    claim.code = None
    claim.pid = pid
    claim.key = pid.id
    claim.weight = weight
    claim.priority = priority
    claim.ticket = 0
    claim.out = False
    claim.depth = 1
    claim.answer = None
    claim.sleeper = None
    if release_on_kill:
        claim.release_on_kill = True
    return claim
