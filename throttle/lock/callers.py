"""Somebody who waits in their own thread or coroutine, as the ledger tells them.

A claim's ``answer`` is written inside the combiner only: a grant, an error, a nudge. Whoever waits reads it,
and gives up by setting ``depth`` to 0, as a holder gives back: a grant that finds it so is taken back, and
one that has just been made is given back by ``hand_on``, which goes through the combiner. So grant, timeout
and cancellation may race as they like.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ...actors.engine import FREE_THREADED, Bells, Waiter, bells_of, finish, in_step_of, increase, task_of
from ..ledger.holds import Claim, Hold

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Awaitable, Generator
    from weakref import ref

    from ...actors import Pid

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
    core: Any
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
        """Leave the line, and give a slot that was granted already to the next. May be repeated.

        Inside the combiner, where it is certain whether it was granted, and that nothing follows.
        """
        ledger = self.core.ledger
        now = monotonic()
        ledger.withdraw(self, now)
        if ledger.holders.get(self.key) is self:
            # Nothing was done with it.
            self.outcome = "ignored"
            ledger.release(self, now)
        counted = self.counted
        if counted is not None:
            self.counted = None
            if counted.depth > 1 and (not FREE_THREADED or increase(counted, "depth", -1, above=1)):
                if not FREE_THREADED:
                    counted.depth -= 1
            else:
                ledger.release(counted, now)
        return True

    def renew(self) -> None:
        """Make ready to wait once more. Inside the combiner."""
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
        # Made empty, as a Hold is; filled by thread_caller().
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
    """Waits in a coroutine, for a bell. Whoever grants in the same loop rings it without leaving that.

    The bell is the loop's, under this claim: who has the claim keeps neither the task nor the loop.
    """

    __slots__ = ("_bells",)

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
            self._bells: ref[Bells] = pid._bells  # type: ignore[attr-defined]  # of a TaskPid
        except AttributeError:
            self._bells = bells_of(asyncio.get_running_loop()).ref

    @property
    def bell(self) -> Awaitable[None]:
        """What to await until there is an answer."""
        bells = self._bells()
        assert bells is not None, "its loop runs"
        bells.waiting[self] = bell = bells.make()
        # Whoever answers does so first, and looks for a bell afterwards.
        if self.answer is None:
            return bell
        bells.waiting.pop(self, None)
        return RUNG

    def ring(self) -> bool:
        bells = self._bells()
        if bells is None:
            # The loop is gone.
            return False
        loop = bells.loop
        bell = bells.waiting.get(self)
        if bell is None:
            # The task does not sleep yet, or has been woken, and will look.
            return not loop.is_closed()
        if in_step_of(loop):
            finish(bell)
        else:
            try:
                loop.call_soon_threadsafe(finish, bell)
            except RuntimeError:
                if not loop.is_closed():
                    # A stack that is full.
                    raise
                return False
        # Last, so that a step which is cut before this rings once more. From now on the loop has the rest.
        bells.waiting.pop(self, None)
        return True

    def offer(self, hold: Hold) -> bool:
        bells = self._bells()
        # in_step_of(), written out.
        if (
            hold is not self
            or bells is None
            or _get_running_loop() is not (loop := bells.loop)
            or task_of(loop) is None
        ):
            return Caller.offer(self, hold)
        # Written out, as this is every hand-over within a loop.
        self.answer = GRANTED
        if self.depth <= 0:
            return False
        waiting = bells.waiting
        try:
            waiting[self].set_result(None)
            del waiting[self]
        except KeyError:
            # As in ring().
            pass
        except asyncio.InvalidStateError:
            # Its time is over, or the task is being cancelled, and will leave.
            waiting.pop(self, None)
        return True

    def leave(self) -> bool:
        bells = self._bells()
        if bells is not None:
            bells.waiting.pop(self, None)
        return Caller.leave(self)

    async def rung(self, seconds: float | None) -> None:
        """Wait for the bell, or until the time is over."""
        bell = self.bell
        if seconds is None or not isinstance(bell, asyncio.Future):
            await bell
            return
        timer = bell.get_loop().call_later(seconds, finish, bell)
        try:
            await bell
        finally:
            timer.cancel()


class _Rung:
    """A bell that has rung."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


RUNG: Final = _Rung()


def thread_caller(name: str, pid: Pid, priority: int, weight: int, release_on_kill: bool) -> ThreadCaller:
    """Make one."""
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
