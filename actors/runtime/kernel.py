"""The kernel thread: timers, work posted from places that may do nothing themselves, and the growth of the
pool.

One daemon thread, started with the first process. ``post`` and ``ring`` only append and release a lock, so a
finalizer or a dying thread may call them. No user code runs here.
"""

from __future__ import annotations

import _thread
import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from ..primitives.atomic import counter
from .forked import first_use
from .pool import Pool

logger = logging.getLogger("resprout")
_order = itertools.count()
SWEEP = 64
"""So many cancelled alarms are always borne; and as many as there are pending ones."""


class Clock(Protocol):
    """What tells the time to timers, to the timeouts of results and to restarts, and wakes them: the kernel,
    or in a test something that is moved by hand (see ``clock``).
    """

    def now(self) -> float:
        """The time, in seconds."""

    def at(self, when: float, fire: Callable[[], object]) -> Alarm:
        """Have ``fire`` called when the time has come."""


class Keeper(Protocol):
    """Who keeps alarms until they are due, and throws away the cancelled ones."""

    _littered: bool
    _cancels: Iterator[int]

    def _is_littered(self, cancels: int) -> bool: ...

    def ring(self) -> None:
        """Have them thrown away."""


class Alarm:
    """Something that happens at a time, unless it is cancelled first; exactly one of the two."""

    __slots__ = ("_fire", "_once", "at", "kernel")

    def __init__(self, kernel: Keeper, at: float, fire: Callable[[], object]) -> None:
        self.kernel = kernel
        self.at = at
        self._fire = fire
        self._once = [True]

    def __lt__(self, other: Alarm) -> bool:
        return self.at < other.at

    def claim(self) -> bool:
        """Take the only right to fire or to cancel (list.pop is atomic)."""
        try:
            return self._once.pop()
        except IndexError:
            return False

    def cancel(self) -> bool:
        """Prevent it; False when it has fired or was cancelled before."""
        if not self.claim():
            return False
        self._fire = _nothing
        kernel = self.kernel
        number = next(kernel._cancels)
        # Once in a while, whoever cancels looks whether there is so much to be thrown away that the thread
        # should do it.
        if not number % SWEEP and kernel._is_littered(number):
            kernel._littered = True
            kernel.ring()
        return True

    @property
    def pending(self) -> bool:
        return bool(self._once)

    def fire(self) -> bool:
        """Have it happen; False when it was cancelled before."""
        if not self.claim():
            return False
        self._fire()
        return True


def _nothing() -> None:
    return None


class Kernel:
    """See the module."""

    def __init__(self) -> None:
        self.pool = Pool(self.ring)
        self.clock: Clock = self
        """What the processes go by; the runtime's own waits go by the kernel itself."""
        self._cancels: Iterator[int] = counter(1)
        """How many alarms were ever cancelled, plus one; counted in one step, by whoever cancels."""
        self._discarded = 0
        """How many of those have been thrown away, by the thread."""
        self._littered = False
        """The thread is to throw away what was cancelled."""
        self.exiting = False
        """Whether the interpreter is going down, when no thread can be started any more."""
        self.posted: deque[Callable[[], object]] = deque()
        """What ``post`` appends to. Who has no room on the stack for a call of that appends here, and frees
        the bell.
        """
        self._new: deque[Alarm] = deque()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self.bell = _thread.allocate_lock()
        self.bell.acquire()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def reset(self) -> None:
        """Begin anew, in place: after a fork the thread and everything it was about to do are the
        parent's.
        """
        self.__init__()  # type: ignore[misc]  # the one object that everybody has imported must stay

    def ensure(self) -> None:
        """Start the thread if it does not run yet; for ordinary code, not for finalizers."""
        if self._thread is None:
            with self._start_lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._main, name="resprout-kernel", daemon=True)
                    thread.start()
                    self._thread = thread
            first_use()

    def ring(self) -> None:
        """Make the thread look around; safe anywhere."""
        try:
            self.bell.release()
        except RecursionError:
            # No room on the stack even for this; it is a RuntimeError, too.
            raise
        except RuntimeError:
            # Released already: it has been rung and has not looked yet.
            pass

    def post(self, work: Callable[[], object]) -> None:
        """Have the runtime's own work done soon; safe anywhere. It must not block and must not run user
        code.
        """
        self.posted.append(work)
        self.ring()

    now = staticmethod(time.monotonic)

    def at(self, when: float, fire: Callable[[], object]) -> Alarm:
        """Have ``fire`` called at a ``time.monotonic()`` time."""
        alarm = Alarm(self, when, fire)
        self._new.append(alarm)
        # The thread sleeps until the earliest alarm it knows; only an earlier one needs to wake it.
        try:
            sooner = when < self._alarms[0][0]
        except IndexError:
            sooner = True
        if sooner:
            self.ring()
        return alarm

    def _main(self) -> None:
        while True:
            try:
                pause = self._turn()
            except Exception:
                logger.exception("the kernel thread met an error and goes on")
                pause = 0.0
            if pause is None:
                self.bell.acquire()
            elif pause > 0.0:
                self.bell.acquire(timeout=min(pause, 3600.0))

    def _turn(self) -> float | None:
        posted = self.posted
        while posted:
            posted.popleft()()
        pause = self._ring_alarms()
        again = self.pool.grow()
        if posted:
            return 0.0
        if again is None:
            return pause
        return again if pause is None else min(again, pause)

    def _is_littered(self, cancels: int) -> bool:
        """Whether more than half of the alarms are cancelled ones, after so many cancels."""
        return (cancels - self._discarded) * 2 > len(self._alarms) + len(self._new)

    def _ring_alarms(self) -> float | None:
        alarms, new = self._alarms, self._new
        while True:
            if self._littered:
                self._littered = False
                before = len(alarms)
                alarms[:] = [entry for entry in alarms if entry[2].pending]
                heapq.heapify(alarms)
                self._discarded += before - len(alarms)
            while new:
                alarm = new.popleft()
                if alarm.pending:
                    heapq.heappush(alarms, (alarm.at, next(_order), alarm))
                else:
                    self._discarded += 1
            pause = self._fire_due()
            # Last: who has set an alarm meanwhile may have seen one before it that is gone by now, and has
            # not rung the bell.
            if not new:
                return pause

    def _fire_due(self) -> float | None:
        """Fire what is due; seconds until the next, None when there is none."""
        alarms = self._alarms
        while alarms:
            now = time.monotonic()
            if alarms[0][0] > now:
                return alarms[0][0] - now
            if not heapq.heappop(alarms)[2].fire():
                self._discarded += 1
        return None


kernel = Kernel()
