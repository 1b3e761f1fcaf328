"""Somebody who waits in their own thread or coroutine.

A claim's ``fate`` is a list of which the first entry counts: a hold, an error, a nudge, or that whoever waits
has given up. Appending is atomic, so grant, timeout and cancellation may race as they like, and each finds
out whether it was first. (The same idea completes a Future; here it is written out, without a future's
callbacks, since this is the price of waiting.)
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ..actors import CallTimeout
from ..actors.engine import Waiter, kernel, local, park
from .claim import Claim, Hold

if TYPE_CHECKING:
    from _thread import LockType

    from ..actors import Pid
    from .book import Book

GRANTED: Final = object()
"""The claim is the hold now."""
_NUDGED: Final = object()
"""Awake, but nothing is granted yet."""
_GONE: Final = object()
"""Nobody waits any more."""


class Caller(Claim):
    """What the two kinds of callers share. ``answer`` is written before the fate: who is woken finds it."""

    __slots__ = ("answer", "fate")

    own = True
    fate: list[Any]
    answer: object
    """None until there is one: GRANTED, or the hold of the same process that it shares."""
    error: BaseException | None = None
    counted: Hold | None = None
    """The hold that it shares, once it has counted the nesting."""
    book: Book
    """Known when it leaves late."""

    def leave(self) -> None:
        """What hand_on does, as a step."""
        _give_up(self.book, self)

    def ring(self) -> bool:
        """Wake whoever waits; False when there is nobody left who could."""
        raise NotImplementedError

    def renew(self) -> None:
        """Make ready to wait once more."""
        self.fate = []

    def offer(self, hold: Hold) -> bool:
        # Never itself, which would be a cycle.
        self.answer = answer = GRANTED if hold is self else hold
        fate = self.fate
        fate.append(answer)
        first = fate[0]
        # Who was nudged is about to look, or will never.
        if (first is _NUDGED or first is answer) and self.ring():
            return True
        self.answer = None
        return False

    def refuse(self, error: BaseException) -> None:
        self.error = error
        self.fate.append(error)
        self.ring()

    def nudge(self) -> bool:
        self.fate.append(_NUDGED)
        return self.ring()

    def abandon(self) -> bool:
        """Give up; False when something was decided before."""
        fate = self.fate
        fate.append(_GONE)
        return fate[0] is _GONE


class ThreadCaller(Caller):
    """Waits in a thread. It is also what an exit signal wakes, as ``parked`` of its process."""

    __slots__ = ("sleeper",)

    def __init__(self, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> None:
        # Claim.__init__ written out, as in TaskCaller: these run once a wait.
        self.pid = pid
        self.key = pid.id
        self.weight = weight
        self.priority = priority
        self.ticket = 0
        self.out = False
        self.depth = 1
        self.fate = []
        self.answer = None
        self.sleeper: LockType | None = None
        """What the thread sleeps on; rung by freeing it."""
        if release_on_kill:
            self.release_on_kill = True

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

    def offer(self, hold: Hold) -> bool:
        fate = self.fate
        if fate or hold is not self:
            return Caller.offer(self, hold)
        self.answer = GRANTED
        fate.append(GRANTED)
        if fate[0] is not GRANTED:
            return Caller.offer(self, hold)
        # Written out, as this is every hand-over between threads.
        sleeper = self.sleeper
        if sleeper is not None:
            try:
                sleeper.release()
            except RecursionError:
                raise
            except RuntimeError:
                pass
        return True

    def register(self, waiter: Waiter) -> bool:
        """Have this waiter woken; True when there is nothing to wait for, looked at after registering."""
        self.sleeper = waiter.lock
        return bool(self.fate)

    def unregister(self, waiter: Waiter) -> None:
        """The wait is over."""
        self.sleeper = None


class TaskCaller(Caller):
    """Waits in a coroutine, for a bell. Whoever grants in the same loop rings it without leaving that."""

    __slots__ = ("_loop", "bell")

    def __init__(self, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> None:
        self.pid = pid
        self.key = pid.id
        self.weight = weight
        self.priority = priority
        self.ticket = 0
        self.out = False
        self.depth = 1
        self.fate = []
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
        bell = self.bell
        loop = self._loop
        if _get_running_loop() is loop:
            if not bell.done():
                bell.set_result(None)
            return True
        try:
            loop.call_soon_threadsafe(_finish, bell)
        except RecursionError:
            raise
        except RuntimeError:
            # It has been closed.
            return False
        return True

    def offer(self, hold: Hold) -> bool:
        fate = self.fate
        if fate or hold is not self or _get_running_loop() is not self._loop:
            return Caller.offer(self, hold)
        # Written out, as this is every hand-over within a loop.
        self.answer = GRANTED
        fate.append(GRANTED)
        bell = self.bell
        if not bell.done():
            bell.set_result(None)
        return True

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


def queue_up(
    book: Book, me: Pid, timeout: float | None, priority: int, weight: int, release_on_kill: bool
) -> Hold:
    """Get a hold for this thread's process, however long it takes.

    Raises:
        CallTimeout: the time is over, and the claim is out of the line.
        LockNotFound, QueueFull, ValueError: the claim was refused.
        Killed, ServerExit: the process has died meanwhile.
    """
    claim = ThreadCaller(me, priority, weight, release_on_kill)
    fate = claim.fate
    sleeper = me.sleeper
    try:
        book.join(claim)
        plain = timeout is None and not local.state.owed and not kernel.exiting
        if plain and sleeper is not None and not fate:
            # What park does, written out for plain threads that wait for ever: most of those that fight for a
            # lock. The thread's sleeper is used again and again, so who rings late for a wait before rings
            # this one. A signal handler that waits on top of this wait finds none.
            claim.sleeper = sleeper
            before = me.parked
            try:
                me.sleeper = None
                me.parked = claim
                if not fate:
                    if me._fate:
                        me.meet_death()
                    sleeper.acquire()
                    if me._fate:
                        me.meet_death()
            finally:
                claim.sleeper = None
                me.parked = before
                me.sleeper = sleeper
        hold: Hold = claim if claim.answer is GRANTED else _wait(book, claim, timeout)
        if release_on_kill and me.dead:
            # It died before there was anything to release.
            book.owner_died(me, None)
    except BaseException:
        try:
            hand_on(book, claim)
        except RecursionError:
            # There is no room on the stack for a call: whoever comes to the gate next does it.
            claim.book = book
            requests = book.gate.requests
            requests += (claim.leave,)
            raise
        raise
    return hold


def _wait(book: Book, claim: ThreadCaller, timeout: float | None) -> Hold:
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        if not claim.fate:
            seconds = None if deadline is None else max(0.0, deadline - monotonic())
            park(claim.register, claim.unregister, seconds)
        hold = _decided(book, claim, deadline, timeout)
        if hold is not None:
            return hold


async def queue_up_async(book: Book, me: Pid, claim: TaskCaller, timeout: float | None) -> Hold:
    """Get a hold for this task, however long it takes; otherwise the same. The claim may be in the line
    already.

    Cancelling it leaves the line, or hands the slot on.
    """
    try:
        if not claim.ticket and not claim.fate:
            book.join(claim)
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            if not claim.fate:
                await claim.rung(None if deadline is None else max(0.0, deadline - monotonic()))
            hold = _decided(book, claim, deadline, timeout)
            if hold is not None:
                break
        if claim.release_on_kill and me.dead:
            book.owner_died(me, None)
    except BaseException:
        try:
            hand_on(book, claim)
        except RecursionError:
            # There is no room on the stack for a call: whoever comes to the gate next does it.
            claim.book = book
            requests = book.gate.requests
            requests += (claim.leave,)
            raise
        raise
    return hold


def _decided(book: Book, claim: Caller, deadline: float | None, timeout: float | None) -> Hold | None:
    """Tell what came of a wait; None when it is to be gone on with."""
    fate = claim.fate
    if not fate:
        if deadline is None or monotonic() < deadline:
            return None
        # The time is over, unless it is granted in this very moment.
        if claim.abandon():
            hand_on(book, claim)
            book.timed_out(claim)
            raise CallTimeout(f"lock {book.settings.name!r} gave {claim.pid} no slot within {timeout:g} s")
    first = fate[0]
    if first is GRANTED:
        return claim
    if isinstance(first, Hold):
        if first.depth > 0:
            first.depth += 1
            claim.counted = first
            return first
        # Its process has given that back before this claim came to it.
        step = partial(_start_over, book, claim)
        if book.decide(step) is None:
            book.step(step)
        return None
    if first is _NUDGED:
        book.gate.decide(partial(_retry, book, claim))
        book.flush()
        return None
    assert isinstance(first, BaseException)
    raise first


def _start_over(book: Book, claim: Caller) -> bool:
    """Join the line anew. Inside the gate, where whoever offered the shared hold has finished with it."""
    if claim.shared:
        claim.renew()
        claim.answer = None
        claim.ticket = 0
        claim.sibling = None
        claim.out = claim.nudged = claim.shared = False
    book.ledger.join(claim, monotonic())
    return True


def _retry(book: Book, claim: Caller) -> None:
    """After a nudge: take a free slot, or wait anew in the old place. Inside the gate."""
    if claim.answer is not None:
        # Granted between the nudge and now.
        claim.fate = [claim.answer]
    elif claim.error is not None:
        claim.fate = [claim.error]
    else:
        claim.renew()
        book.ledger.retry(claim, monotonic())


def hand_on(book: Book, claim: Caller) -> None:
    """Leave the line, and give a slot that was granted already to the next. May be repeated.

    Through the gate, not just into its queue: a step under way may have entered a hold for this claim, and
    takes it out again when its offer fails. Until then the process would seem to hold the lock, and its next
    acquire would be taken for a nested one.
    """
    claim.abandon()
    step = partial(_give_up, book, claim)
    if book.decide(step) is None:
        # On top of a step of this very thread.
        book.step(step)


def _give_up(book: Book, claim: Caller) -> bool:
    """Inside the gate, where it is certain whether it was granted, and that nothing follows."""
    ledger = book.ledger
    now = monotonic()
    ledger.withdraw(claim, now)
    if claim.answer is GRANTED and claim.depth > 0:
        ledger.release(claim, now)
    counted = claim.counted
    if counted is not None:
        claim.counted = None
        if counted.depth > 1:
            counted.depth -= 1
        else:
            ledger.release(counted, now)
    return True
