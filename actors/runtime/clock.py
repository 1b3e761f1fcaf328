"""Time that stands still until somebody moves it: what processes go by in a test that does not want to wait.

While one is the kernel's clock, timers, timeouts of results, waits before restarts and the window of the
restart intensity go by it. What the runtime itself waits for (a call's answer, the end of a child that was
told to stop) does not.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator

from ..primitives.atomic import counter
from ..primitives.fork_locks import lock
from .kernel import Alarm, kernel


class HeldClock:
    """A clock that is moved by hand. It begins at the real time, and goes on with it when it is let go."""

    def __init__(self) -> None:
        self._now = kernel.now()
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._changes = lock()
        self._ahead: float | None = None
        """By how much it is ahead of the real time since it was let go; None while it is held."""
        self._littered = False
        self._cancels: Iterator[int] = counter(1)

    def now(self) -> float:
        """The time, in seconds."""
        ahead = self._ahead
        return self._now if ahead is None else kernel.now() + ahead

    def at(self, when: float, fire: Callable[[], object]) -> Alarm:
        """Have ``fire`` called by whoever moves the clock to that time, or past it."""
        with self._changes:
            if self._ahead is None:
                alarm = Alarm(self, when, fire)
                heapq.heappush(self._alarms, (when, next(self._order), alarm))
                return alarm
        return kernel.at(when - self._ahead, fire)

    def step(self, until: float) -> bool:
        """Move to the next alarm that is due by then, and have it happen; False when there is none, and it is
        that time now.
        """
        while True:
            with self._changes:
                if not self._alarms or self._alarms[0][0] > until:
                    self._now = max(self._now, until)
                    return False
                when, _, alarm = heapq.heappop(self._alarms)
                self._now = max(self._now, when)
            if alarm.fire():
                return True

    def pending(self) -> list[Alarm]:
        """What is still to happen, the next first."""
        with self._changes:
            return [alarm for _, _, alarm in sorted(self._alarms) if alarm.pending]

    def let_go(self) -> None:
        """Go on with the real time: what is pending happens after as many real seconds as were left."""
        with self._changes:
            if self._ahead is not None:
                return
            self._ahead = ahead = self._now - kernel.now()
            rest, self._alarms = self._alarms, []
        for when, _, alarm in sorted(rest):
            if alarm.pending:
                # Whoever holds the alarm may still cancel it.
                kernel.at(when - ahead, alarm.fire)

    def _is_littered(self, cancels: int) -> bool:
        return False

    def ring(self) -> None:
        """Nobody is to be woken: cancelled alarms are passed over."""
