"""Somebody who waits in their own thread or coroutine.

A claim's ``fate`` is a list of which the first entry counts: a hold, an error, a nudge, or that whoever waits
has given up. Appending is atomic, so grant, timeout and cancellation may race as they like, and each finds
out whether it was first. (The same idea completes a Future; here it is written out, without a future's
callbacks, since this is the price of waiting.)
"""

from __future__ import annotations

import _thread
import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..actors import CallTimeout
from ..actors.engine import Waiter, kernel, local, park
from .claim import Claim, Hold

if TYPE_CHECKING:
    from ..actors import Pid
    from .book import Book

_NUDGED: Final = object()
"""Awake, but nothing is granted yet."""
_GONE: Final = object()
"""Nobody waits any more."""


class Caller(Claim):
    """What the two kinds of callers share. ``hold`` is written before the fate, so who is woken finds it."""

    hold: Hold | None = None
    error: BaseException | None = None
    fate: list[Any]

    def ring(self) -> None:
        """Wake whoever waits."""
        raise NotImplementedError

    def renew(self) -> None:
        """Make ready to wait once more."""
        self.fate = []

    def offer(self, hold: Hold) -> bool:
        self.hold = hold
        fate = self.fate
        fate.append(hold)
        first = fate[0]
        if first is hold:
            self.ring()
            return True
        if first is _NUDGED:
            # Awake already, and about to look.
            return True
        self.hold = None
        return False

    def refuse(self, error: BaseException) -> None:
        self.error = error
        self.fate.append(error)
        self.ring()

    def nudge(self) -> None:
        self.fate.append(_NUDGED)
        self.ring()

    def abandon(self) -> bool:
        """Give up; False when something was decided before."""
        fate = self.fate
        fate.append(_GONE)
        return fate[0] is _GONE


class ThreadCaller(Caller):
    """Waits in a thread."""

    _waiter: Waiter | None = None

    def __init__(self, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> None:
        # Claim.__init__ written out, as in TaskCaller: these run once a wait.
        self.pid = pid
        self.key = pid.id
        self.weight = weight
        self.priority = priority
        self.fate = []
        if release_on_kill:
            self.release_on_kill = True

    def ring(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    def offer(self, hold: Hold) -> bool:
        fate = self.fate
        if fate:
            return Caller.offer(self, hold)
        # Nobody was first so far; written out, as this is every hand-over between threads.
        self.hold = hold
        fate.append(hold)
        if fate[0] is not hold:
            return Caller.offer(self, hold)
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()
        return True

    def register(self, waiter: Waiter) -> bool:
        """Have this waiter woken; True when there is nothing to wait for, looked at after registering."""
        self._waiter = waiter
        return bool(self.fate)

    def unregister(self, waiter: Waiter) -> None:
        """The wait is over."""
        self._waiter = None

    def sleep(self, seconds: float | None) -> None:
        """Sleep until woken, or the time is over.

        Raises:
            Killed, ServerExit: the process has died meanwhile.
        """
        state = local.state
        if seconds is not None or state.worker or state.owed or kernel.exiting:
            park(self.register, self.unregister, seconds)
            return
        # What park does, written out for plain threads that wait for ever: most of those that fight for a
        # lock.
        pid = self.pid
        self._waiter = waiter = Waiter()
        try:
            pid.parked = waiter
            if not self.fate:
                if pid._fate:
                    pid.meet_death()
                waiter.wait(None)
                if pid._fate:
                    pid.meet_death()
        finally:
            self._waiter = None
            pid.parked = None


class TaskCaller(Caller):
    """Waits in a coroutine, for a bell. Whoever grants in the same loop rings it without leaving that."""

    def __init__(self, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> None:
        self.pid = pid
        self.key = pid.id
        self.weight = weight
        self.priority = priority
        self.fate = []
        if release_on_kill:
            self.release_on_kill = True
        # A task knows its loop. (Asking for the running one is a system call on Python 3.11 and before.)
        self._loop = loop = getattr(pid, "_loop", None) or asyncio.get_running_loop()
        self._thread = _thread.get_ident()
        self.bell = loop.create_future()

    def ring(self) -> None:
        bell = self.bell
        if _thread.get_ident() == self._thread:
            if not bell.done():
                bell.set_result(None)
            return
        # A loop that has been closed has nobody left who waits.
        try:
            self._loop.call_soon_threadsafe(_finish, bell)
        except RuntimeError:
            pass

    def renew(self) -> None:
        self.bell = self._loop.create_future()
        self.fate = []

    async def rung(self, seconds: float | None) -> None:
        """Wait for the bell, or until the time is over."""
        if seconds is None:
            await self.bell
            return
        timer = self._loop.call_later(seconds, _finish, self.bell)
        try:
            await self.bell
        finally:
            timer.cancel()


def _finish(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)


def wait(book: Book, claim: ThreadCaller, timeout: float | None) -> Hold:
    """Wait for a claim in this thread.

    Raises:
        CallTimeout: the time is over, and the claim is out of the line.
        LockNotFound, QueueFull, ValueError: the claim was refused.
    """
    deadline = None if timeout is None else monotonic() + timeout
    try:
        while True:
            if not claim.fate:
                left = None if deadline is None else max(0.0, deadline - monotonic())
                claim.sleep(left)
            hold = _decided(book, claim, timeout)
            if hold is not None:
                return hold
    except BaseException:
        hand_on(book, claim)
        raise


async def wait_async(book: Book, claim: TaskCaller, timeout: float | None) -> Hold:
    """Wait for a claim in this coroutine; otherwise the same as wait.

    Cancelling it leaves the line, or hands the slot on.
    """
    deadline = None if timeout is None else monotonic() + timeout
    try:
        while True:
            if not claim.fate:
                await claim.rung(None if deadline is None else max(0.0, deadline - monotonic()))
            hold = _decided(book, claim, timeout)
            if hold is not None:
                return hold
    except BaseException:
        hand_on(book, claim)
        raise


def _decided(book: Book, claim: Caller, timeout: float | None) -> Hold | None:
    """Tell what came of a wait; None when it is to be gone on with."""
    fate = claim.fate
    if not fate:
        # The time is over, unless it is granted in this very moment.
        if claim.abandon():
            _leave(book, claim)
            book.timed_out(claim)
            raise CallTimeout(f"lock {book.settings.name!r} gave {claim.pid} no slot within {timeout:g} s")
    first = fate[0]
    if isinstance(first, Hold):
        if not claim.shared:
            return first
        if first.depth > 0:
            first.depth += 1
            return first
        # Its process has given that back before this claim came to it.
        _start_over(claim)
        book.join(claim)
        return None
    if first is _NUDGED:
        book.gate.decide(partial(_retry, book, claim))
        book.flush()
        return None
    assert isinstance(first, BaseException)
    raise first


def _start_over(claim: Caller) -> None:
    claim.renew()
    claim.hold = None
    claim.shared = False
    claim.ticket = 0


def _retry(book: Book, claim: Caller) -> None:
    """After a nudge: take a free slot, or wait anew in the old place. Inside the gate."""
    if claim.hold is not None:
        # Granted between the nudge and now.
        claim.fate = [claim.hold]
    elif claim.error is not None:
        claim.fate = [claim.error]
    else:
        claim.renew()
        book.ledger.retry(claim, monotonic())


def _leave(book: Book, claim: Caller) -> None:
    """Take a claim that has given up out of the line.

    Through the gate, not just into its queue: a step under way may have entered a hold for this claim, and
    takes it out again when its offer fails. Until then the process would seem to hold the lock, and its next
    acquire would be taken for a nested one.
    """
    book.decide(partial(book.ledger.withdraw, claim, monotonic()))


def hand_on(book: Book, claim: Caller) -> None:
    """Leave the line, and give a slot that was granted already to the next."""
    if claim.abandon():
        _leave(book, claim)
        return
    # In the gate it is certain whether it was granted, and that nothing follows.
    book.gate.decide(partial(book.ledger.withdraw, claim, monotonic()))
    hold = claim.hold
    if hold is not None and not claim.shared:
        book.give_back(hold)
