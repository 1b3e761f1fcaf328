"""Stragglers: processes that were killed while their handler ran, which goes on because Python cannot stop a
thread.

Nor can it stop a coroutine that swallows its cancellation, or blocks its loop. They are dead to everybody
else. Their code meets ``Killed`` at its next call into resprout.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import attrs

from ..primitives.atomic import frames
from ..runtime.kernel import kernel
from ..runtime.thread_state import check_alive
from . import telemetry

if TYPE_CHECKING:
    from types import FrameType

    from ..vocabulary.identity import Identity

logger = logging.getLogger("resprout")
PATIENCE = 2.0
"""Seconds after which a straggler is reported."""
TOGETHER = 0.5
"""Seconds from one look for such stragglers to the next, so that many are reported together."""
SHOWN = 3
"""So many of them are reported each with its stack; the rest is counted."""
SOON = 0.1
"""Seconds in which a coroutine may meet its cancellation before telemetry is told."""
_since: dict[int, tuple[Any, float]] = {}
_unseen: deque[tuple[Any, float]] = deque()
"""Those that have not been looked at whether they are to be reported, in order."""
_at_rest: list[bool] = [True]
"""One element while no such look is on its way."""


@attrs.frozen
class Straggler:
    """One of them.

    Attributes:
        pid: the dead process.
        reason: its exit reason.
        seconds: for how long its handler has gone on since its death.
        stack: where it is now, innermost frame last; empty when that cannot be seen, as of a thread on a
            free-threaded build.
    """

    pid: Any
    reason: object
    seconds: float
    stack: tuple[str, ...]


def straggles(pid: Identity, grace: float = 0.0) -> None:
    """Note that a process died while its code ran.

    Args:
        grace: seconds in which it may still come to its end before telemetry is told.
    """
    since = (pid, time.monotonic())
    if _since.setdefault(pid.id, since) is not since:
        # Its burial has come here before, and was waiting for what it owns to be closed.
        return
    if pid.left:
        # It left between the failed try for its run right and the line above.
        _since.pop(pid.id, None)
        return
    if not grace:
        _tell(pid)
    elif telemetry._attached:
        kernel.at(time.monotonic() + grace, lambda: kernel.pool.submit(_Tell(pid)))
    _unseen.append(since)
    _look_in(PATIENCE)


def _tell(pid: Identity) -> None:
    if telemetry._attached:
        telemetry.tell(("resprout", "process", "straggling"), {}, {"pid": pid, "reason": pid.exit_reason})


class _Tell:
    """A task of the pool: tell telemetry, unless it has left."""

    __slots__ = ("_pid",)

    def __init__(self, pid: Identity) -> None:
        self._pid = pid

    def run(self, worker: object) -> None:
        if self._pid.id in _since and _goes_on(self._pid):
            _tell(self._pid)


def _look_in(seconds: float) -> None:
    try:
        _at_rest.pop()
    except IndexError:
        return
    kernel.at(time.monotonic() + seconds, lambda: kernel.pool.submit(_Report()))


class _Report:
    """A task of the pool: say once of those that go on and on that they do, and where they are."""

    __slots__ = ()

    def run(self, worker: object) -> None:
        try:
            _report([pid for pid in _due() if pid.id in _since and _goes_on(pid)])
        finally:
            _at_rest[:] = [True]
            # In this order: who comes in between begins a look itself.
            if _unseen:
                _look_in(max(TOGETHER, _unseen[0][1] + PATIENCE - time.monotonic()))


def _due() -> Iterator[Any]:
    """Take those whose time has come."""
    before = time.monotonic() - PATIENCE
    while _unseen and _unseen[0][1] <= before:
        pid, _ = _unseen.popleft()
        if pid.left:
            caught_up(pid)
        yield pid


def _report(late: list[Any]) -> None:
    for pid in late[:SHOWN]:
        where = "".join(_stack_of(pid)) or "(its stack cannot be seen)"
        logger.warning(
            "%s was killed (%r) %g s ago, but its handler goes on:\n%s", pid, pid.exit_reason, PATIENCE, where
        )
    rest = late[SHOWN:]
    if rest:
        logger.warning(
            "%d more were killed %g s ago, but their handlers go on (`process.stragglers()` has their "
            "stacks): %s%s",
            len(rest),
            PATIENCE,
            ", ".join(map(str, rest[:10])),
            ", ..." if len(rest) > 10 else "",
        )


def begin_anew() -> None:
    """After a fork: the stragglers, and the look that was on its way, are the parent's."""
    _since.clear()
    _unseen.clear()
    _at_rest[:] = [True]


def caught_up(pid: Identity) -> None:
    """It has left."""
    if _since:
        _since.pop(pid.id, None)


def straggling() -> list[Any]:
    """Only the processes, without a look at where they are."""
    return [pid for pid, _ in list(_since.values()) if _goes_on(pid)]


def not_left_on(loop: object) -> list[Any]:
    """Those that have still to meet their end on an event loop."""
    return [pid for pid, _ in list(_since.values()) if getattr(pid, "loop", None) is loop and not pid.left]


def _goes_on(pid: Any) -> bool:
    """Whether code of it runs: not that of a coroutine whose loop does not."""
    if pid.left:
        return False
    loop = getattr(pid, "loop", None)
    return loop is None or loop.is_running()


def stragglers() -> list[Straggler]:
    """List the dead processes whose code still runs, oldest first."""
    check_alive()
    now = time.monotonic()
    return [
        Straggler(pid, pid.exit_reason, now - since, _stack_of(pid))
        for pid, since in list(_since.values())
        if _goes_on(pid)
    ]


def _stack_of(pid: Identity) -> tuple[str, ...]:
    waiting = task_frames(pid)
    for frame in frames().values():
        inner = frame
        walk = frame
        while walk is not None:
            if waiting and walk is waiting[0]:
                # Its task is at a step this moment.
                return tuple(traceback.format_stack(inner))
            # The name first: the locals of a frame that is just being made or left by its thread must not be
            # touched (CPython 3.11 crashed); one that is named so waits for what it called.
            if walk.f_code.co_name in ("run", "begin_item") and walk.f_locals.get("self") is pid:
                return tuple(traceback.format_stack(inner))
            if walk.f_back is None:
                break
            walk = walk.f_back
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in waiting)
    return tuple(traceback.format_list(summary))


def task_frames(pid: Any) -> list[FrameType]:
    """The frames of the coroutines of a process that runs as an asyncio task, outermost first."""
    find = getattr(pid, "task", None)
    task = find() if callable(find) else None
    if task is None or task.done():
        return []
    # And of what its task waits for without awaiting it, as that of a server does.
    return [*_coroutines(task.get_coro()), *_coroutines(getattr(pid, "begun", None))]


def _coroutines(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of what it awaits, outermost first."""
    for _ in range(1000):
        for kind in ("cr", "gi", "ag"):
            frame = getattr(coroutine, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                coroutine = getattr(coroutine, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            return
