"""A clock that a test moves by hand."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Final

from ..actors import Pid, forbid_loop, need_loop, process
from ..actors.engine import HeldClock, at_work, check_alive, kernel
from ..supervision import tree

PATIENCE: Final = 1.0
"""Seconds that what an alarm has set off may take before the clock is moved on all the same."""
_PAUSE: Final = 0.001


class ManualClock:
    """Time that stands still until `advance`.

    These go by it: `process.send_after` and `send_interval`, the `timeout` of what a callback returns, the
    backoff of restarts, the `max_seconds` of restart intensities and budgets, and the timeouts of jobs given
    to `throttle.execute`. These do not: the timeouts of calls, tasks, `receive`, `acquire` and of everything
    else that blocks who waits, shutdown times, rates of locks, `process.sleep`, `time.sleep`.

    There is one at a time. It holds from its making until `stop`, the end of its `with` block, or that of the
    region (`testing.isolated()`, the fixture) in which it was made. Timers that were set before go on with
    real time; what is still to happen when it stops happens after as many real seconds as were left.

    Raises:
        RuntimeError: There is one already.

    Example:
        >>> from resprout import process, testing
        >>> with testing.clock() as clock:
        ...     timer = process.send_after(process.current(), "tick", 3600.0)
        ...     clock.advance(3600.0)
        ...     process.receive(timeout=0)
        'tick'
    """

    def __init__(self) -> None:
        check_alive()
        if kernel.clock is not kernel:
            raise RuntimeError("expected one manual clock at a time, got: a second one; stop() the first")
        kernel.ensure()
        self._clock = HeldClock()
        kernel.clock = self._clock

    def now(self) -> float:
        """The time that it shows, in seconds; at first that of `time.monotonic()`."""
        return self._clock.now()

    def advance(self, seconds: float) -> None:
        """Moves the time on, and has happen what is due until then, one after another.

        Before the next thing happens, what the one before has set off is waited for: until no server has a
        message or runs a callback and no supervisor restarts a child, but for at most a second, since
        somebody may be stuck until the time has moved on. So a timer that a callback sets, or a restart that
        fails and is waited for again, has its turn in the same `advance`.

        Args:
            seconds: At least 0; with 0 what is due already.

        Raises:
            RuntimeError: The clock was stopped.
            BlockingInLoop: In an event loop; there, `await clock.aadvance(...)`.
        """
        check_alive()
        forbid_loop("ManualClock.advance", "clock.aadvance(...)")
        until = self._until(seconds)
        while True:
            deadline = time.monotonic() + PATIENCE
            while not _settled() and time.monotonic() < deadline:
                time.sleep(_PAUSE)
            if not self._clock.step(until):
                return

    async def aadvance(self, seconds: float) -> None:
        """The form of `advance` for coroutines; the event loop runs meanwhile."""
        check_alive()
        need_loop("ManualClock.aadvance()")
        until = self._until(seconds)
        while True:
            deadline = time.monotonic() + PATIENCE
            await asyncio.sleep(0)
            while not _settled() and time.monotonic() < deadline:
                await asyncio.sleep(_PAUSE)
            if not self._clock.step(until):
                return

    def _until(self, seconds: float) -> float:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise TypeError(f"expected seconds to be a number, got: {seconds!r}")
        if not seconds >= 0:
            raise ValueError(f"expected seconds to be at least 0, got: {seconds!r}")
        if kernel.clock is not self._clock:
            raise RuntimeError("expected a clock that holds, got: one that was stopped")
        return self._clock.now() + seconds

    def stop(self) -> None:
        """Goes on with real time. Again: nothing."""
        check_alive()
        release(self)

    def __enter__(self) -> ManualClock:
        check_alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        release(self)


def clock() -> ManualClock:
    """A manual clock, which holds from now on; see `ManualClock`."""
    return ManualClock()


def release(manual: ManualClock) -> None:
    """Let the time go on, whoever's code this is."""
    held = manual._clock
    if kernel.clock is held:
        kernel.clock = kernel
    held.let_go()


def _settled() -> bool:
    before = _look()
    return before is not None and before == _look()


def _look() -> dict[Pid, int] | None:
    """How much each process has done so far; None while something is being done."""
    if kernel.posted or kernel.pool.backlog:
        return None
    seen: dict[Pid, int] = {}
    for pid in process.processes():
        if at_work(pid):
            return None
        seen[pid] = getattr(pid, "handled", 0)
        if hasattr(pid.actor, "siblings"):
            for row in tree(pid).children if pid.alive else ():
                if row.state == "restarting" or (row.pid is not None and not row.pid.alive):
                    return None
    return seen
