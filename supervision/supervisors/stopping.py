"""Stopping children: told to, waited for, and killed when their time is over.

A child is unlinked before it is told to stop, and watched by a monitor instead: whatever becomes of the
supervisor meanwhile, the child goes on with its end. The mailbox is not looked at: what waits there costs a
stop nothing, and the exit of a child that had ended before it was unlinked means nothing when it is read.

Semantics: OTP supervisor(3), the `shutdown` key; Elixir's DynamicSupervisor for many at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import attrs

from ...actors import BRUTAL_KILL, INFINITY, Pid, ShutdownTime, await_heirs, limit_closing, process
from ...actors.engine import Deaths
from .reports import logger

_HEIRS = 5.0
"""Seconds that a restart waits for what was owned below a supervisor that was killed."""


@attrs.frozen
class Stopped:
    """How a child's end went.

    Attributes:
        pid: The process.
        reason: Its exit reason, `"noproc"` if it had ended before.
        overdue: It did not end in its time and was killed.
        seconds: How long it took.
        stack: Where its thread was when it was killed, one line a frame, if it was overdue and running.
    """

    pid: Pid
    reason: object
    overdue: bool
    seconds: float
    stack: tuple[str, ...] = ()


@attrs.define(eq=False)
class _Leaving:
    pid: Pid
    shutdown: ShutdownTime
    told_at: float
    overdue: bool = False
    stack: tuple[str, ...] = ()

    @property
    def deadline(self) -> float:
        patient = self.overdue or self.shutdown is INFINITY or self.shutdown is BRUTAL_KILL
        return math.inf if patient else self.told_at + self.shutdown  # type: ignore[operator]


def stop_all(children: Sequence[tuple[Pid, ShutdownTime]], reason: object = "shutdown") -> list[Stopped]:
    """Stops processes at once, in the current process, which waits for them all.

    All are told first, then all are waited for; each has its own time.

    Args:
        children: The processes and their shutdown times. Any number of them costs O(1) each.
        reason: What they are told, if they are not killed.

    Returns:
        How it went, in the order in which they ended.
    """
    deaths = Deaths()
    leaving: dict[int, _Leaving] = {}
    # One moment for all, so that those with the same shutdown time are overdue together.
    now = time.monotonic()
    for pid, shutdown in children:
        process.unlink(pid)
        leaving[deaths.watch(pid).id] = _Leaving(pid, shutdown, now)
    for one in leaving.values():
        process.exit(one.pid, "kill" if one.shutdown is BRUTAL_KILL else reason)
    done: list[Stopped] = []
    deadline = min((one.deadline for one in leaving.values()), default=math.inf)
    while leaving:
        down = deaths.take(None if deadline == math.inf else max(0.0, deadline - time.monotonic()))
        if down is None:
            _kill_overdue(leaving)
            deadline = min((one.deadline for one in leaving.values()), default=math.inf)
            continue
        one = leaving.pop(down.ref.id)
        done.append(Stopped(one.pid, down.reason, one.overdue, time.monotonic() - one.told_at, one.stack))
    return done


def _kill_overdue(leaving: dict[int, _Leaving]) -> None:
    now = time.monotonic()
    for one in list(leaving.values()):
        if one.deadline <= now:
            if one.pid.dead:
                # It has ended in time; what it owned is being closed, which has a time of its own.
                one.shutdown = INFINITY
                continue
            one.overdue = True
            process.exit(one.pid, "kill")
            one.stack = stack_of(one.pid)


def stop(pid: Pid, shutdown: ShutdownTime, reason: object = "shutdown") -> Stopped:
    """Stops one process, in the current process, which waits for it."""
    return stop_all(((pid, shutdown),), reason)[0]


def limit_closing_of(pid: Pid, shutdown: ShutdownTime) -> None:
    """Gives what a child owns the child's shutdown time to be closed in.

    One that is killed without being asked has the usual time: what it holds is closed all the same.
    """
    if not isinstance(shutdown, float):
        if shutdown is INFINITY:
            limit_closing(pid, None)
        return
    limit_closing(pid, shutdown)


def await_what_is_closed(former: Sequence[Pid]) -> None:
    """Waits, in the current process, until what the children of killed supervisors owned is closed.

    The death of a process is told when what it owns itself is closed, but a supervisor that was killed could
    not wait for its children.
    """
    for pid in await_heirs(former, _HEIRS):
        logger.warning("%s starts again though %s, which was below it, still owns something", former, pid)


def stack_of(pid: Pid) -> tuple[str, ...]:
    """The frames of a straggler, outermost first; empty if nothing of it runs."""
    for straggler in process.stragglers():
        if straggler.pid is pid:
            return tuple(straggler.stack)
    return ()
