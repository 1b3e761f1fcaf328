"""Who blocks an event loop, told while it does; in development mode (``python -X dev``).

A callback that computes, or waits without ``await``, holds up all that lives on its loop: servers, workers,
web applications. asyncio's own debug mode says so afterwards, so never of one that blocks for good. Here the
kernel thread sends each loop a beat as long as the beats come back, and looks into the loop's thread when one
does not.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
import sysconfig
import threading
import time
import traceback
import weakref
from asyncio import _get_running_loop
from asyncio.events import Handle
from typing import TYPE_CHECKING

import attrs

from ..primitives.atomic import frames as frames_of_threads
from ..primitives.fork_locks import lock
from .call_cycles import DEVELOPMENT
from .kernel import kernel
from .resting import Rest
from .thread_state import tasks

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from ..vocabulary.identity import Identity

logger = logging.getLogger("resprout")
BEAT = 0.01
"""Seconds from a beat to the next look. With the limit, and twice the 5 ms for which a thread that computes
lets no other run, what blocks for an eighth of a second is told of, unless the machine is busy.
"""
LIMIT = 0.1
"""Seconds without a beat after which the callback that runs is told of."""
NAME = "_resprout_watch"
"""The attribute of a loop that is watched."""
DEEPEST = 12
"""So many of the innermost frames are shown."""
ADVICE = (
    "await what takes its time, or have it done elsewhere: in a thread (`await asyncio.to_thread(...)`), by "
    "a server whose callbacks are plain functions (each has a thread while it works), or, if it is a web "
    "application, with `loop: own` in the tree file"
)
_lock = lock()
_ACTING = Rest.act_within.__code__


@attrs.frozen
class Place:
    """A line of a function."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


@attrs.frozen
class BlockedLoop:
    """What is known of a loop that is blocked. Also an attribute of the log record, ``blocked_loop``.

    Attributes:
        thread: the name of the thread in which the loop runs.
        seconds: for how long it has served nobody, so far.
        process: whose code it is; None if it is no process yet.
        task: the name of the asyncio task; empty for a callback that is of none.
        callback: the function that the loop has called, or the process: the outermost that is neither the
            library's nor an installed package's, if there is one.
        stack: the way from what the loop has called to where it stands now, that last.
    """

    thread: str
    seconds: float
    process: Identity | None
    task: str
    callback: Place
    stack: tuple[Place, ...]

    @property
    def now(self) -> Place:
        """Where it stands."""
        return self.stack[-1]

    def __str__(self) -> str:
        who = str(self.process) if self.process is not None else f"the task {self.task!r}"
        if self.process is None and not self.task:
            who = "a callback"
        shown = traceback.format_list(
            [traceback.FrameSummary(each.file, each.line, each.function) for each in self.stack[-DEEPEST:]]
        )
        return (
            f"the event loop of the thread {self.thread!r} has been blocked for {self.seconds:.2f} s, and "
            f"nothing else that lives on it goes on: {who} is in {self.callback}, now at {self.now}\n"
            + "".join(shown)
            + ADVICE
        )


def whereabouts(loop: asyncio.AbstractEventLoop) -> str:
    """Where a loop of another thread stands this moment, to be put behind what is said of it; nothing if that
    cannot be seen.
    """
    ident = getattr(loop, "_thread_id", None)
    task = asyncio.current_task(loop)
    frames = _frames(frames_of_threads().get(ident or 0), _step_of(task), Handle._run.__code__)
    if not frames:
        return ""
    process = None if task is None else tasks.get(id(task))
    who = f"{process} is in " if process is not None else ""
    callback = _place(frames[_outermost_of_ones_own(frames)])
    return f" ({who}{callback}, now at {_place(frames[-1])})"


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Watch a loop from now on, in development mode, until it is closed; doing it again changes nothing."""
    if not DEVELOPMENT or getattr(loop, NAME, None) is not None:
        return
    with _lock:
        if getattr(loop, NAME, None) is None:
            watch = LoopWatch(loop)
            setattr(loop, NAME, watch)
            watch.begin()


def watch_running_loop() -> None:
    """Watch the loop that runs in this thread, if one of asyncio's does."""
    loop = _get_running_loop()
    if loop is not None:
        watch_loop(loop)


class Misses:
    """Which of the beats that did not come is worth telling: pure.

    The first of a block at which the loop is at the same callback as at the one before, after `LIMIT`. Else
    many callbacks that are short have taken the time, or the thread was not let run.
    """

    __slots__ = ("_seen", "_told")

    def __init__(self) -> None:
        self._seen: object = None
        self._told = False

    def came(self) -> None:
        """The beat has come: what blocked the loop, if anything did, is over."""
        self._seen, self._told = None, False

    def missed(self, seen: object, seconds: float) -> bool:
        """Whether that is to be told.

        Args:
            seen: what the loop is at; None if at nothing.
            seconds: for how long the beat has been on its way.
        """
        before, self._seen = self._seen, seen
        if self._told or seen is None or seen != before or seconds < LIMIT:
            return False
        self._told = True
        return True


def next_look(now: float, sent: float | None) -> float:
    """When to look again: at the limit at the latest.

    Args:
        sent: when the beat was sent that is on its way.
    """
    limit = now if sent is None else sent + LIMIT
    return min(now + BEAT, limit) if limit > now else now + BEAT


class LoopWatch:
    """Watches one loop, which it does not keep alive.

    While the loop does not run, the watch rests: its last beat waits in the loop, and wakes it.
    """

    __slots__ = ("_below", "_loop", "_misses", "_resting", "_sent", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        # Elsewhere the first beat sees which it is.
        self._thread = threading.get_ident() if _get_running_loop() is loop else None
        self._below: CodeType = Handle._run.__code__
        """Of the Python function from which the loop calls callbacks; the beats see which it is."""
        self._sent: float | None = None
        """When the beat was sent that is on its way."""
        self._misses = Misses()
        self._resting: list[bool] = []

    def begin(self) -> None:
        """Send the first beat, before whatever else the loop is given to do."""
        kernel.ensure()
        if self._send_beat():
            kernel.at(time.monotonic() + BEAT, self._look)

    def _send_beat(self) -> bool:
        """Send one; False if there is no loop any more."""
        loop = self._loop()
        if loop is None:
            return False
        self._sent = time.monotonic()
        try:
            loop.call_soon_threadsafe(self._beat)
        except RuntimeError:
            # It is closed.
            return False
        return True

    # In the loop -------------------------------------------------------------------------------------

    def _beat(self) -> None:
        self._thread = threading.get_ident()
        self._below = sys._getframe(1).f_code
        self._sent = None
        self._wake()

    def _wake(self) -> None:
        try:
            self._resting.pop()
        except IndexError:
            return
        kernel.at(time.monotonic() + BEAT, self._look)

    # In the kernel thread ------------------------------------------------------------------------------

    def _look(self) -> None:
        loop = self._loop()
        if loop is None or loop.is_closed():
            return
        if self._sent is None:
            self._misses.came()
            if not self._send_beat():
                return
        elif not loop.is_running():
            self._resting.append(True)
            # In this order: a beat that comes in between wakes nobody.
            if self._sent is None:
                self._wake()
            return
        else:
            self._miss(loop, time.monotonic() - self._sent)
        kernel.at(next_look(time.monotonic(), self._sent), self._look)

    def _miss(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """The beat has not come."""
        task = asyncio.current_task(loop)
        frames = _frames(sys._current_frames().get(self._thread or 0), _step_of(task), self._below)
        seen = (id(frames[0]), id(task)) if frames else None
        if not self._misses.missed(seen, seconds):
            return
        process = None if task is None else tasks.get(id(task))
        thread = threading._active.get(self._thread)  # type: ignore[attr-defined]  # there is no public way
        stack = tuple(_place(frame) for frame in frames)
        blocked = BlockedLoop(
            thread="unknown" if thread is None else thread.name,
            seconds=seconds,
            process=process,
            task="" if task is None else task.get_name(),
            callback=stack[_outermost_of_ones_own(frames)],
            stack=stack,
        )
        kernel.pool.submit(_Tell(blocked))


def _step_of(task: asyncio.Task[object] | None) -> FrameType | None:
    """The outermost frame of a task."""
    return None if task is None else getattr(task.get_coro(), "cr_frame", None)


def _frames(frame: FrameType | None, step: FrameType | None, below: CodeType) -> list[FrameType]:
    """The frames of what a loop has called, the outermost first; empty if it has called nothing.

    Args:
        frame: where its thread stands.
        step: the outermost of the current task, whose step may have been taken inside another one's; or
            something acts as that task there.
        below: from which function the loop calls what is no task.
    """
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        outer = frame.f_back
        if frame is step or (outer is not None and outer.f_code in (below, _ACTING)):
            return found[::-1]
        frame = outer
    return []


def _place(frame: FrameType) -> Place:
    code = frame.f_code
    return Place(getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno)


def _outermost_of_ones_own(frames: list[FrameType]) -> int:
    """Which of the frames is the callback, in the eyes of whoever has written it."""
    modules = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames]
    not_ours = [place for place, name in enumerate(modules) if name not in ("resprout", "asyncio")]
    for place in not_ours:
        if not frames[place].f_code.co_filename.startswith(_libraries()):
            return place
    return not_ours[0] if not_ours else 0


@functools.cache
def _libraries() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({sysconfig.get_path(name) for name in names})


class _Tell:
    """A task of the pool: log it, as handlers of logs are the program's."""

    __slots__ = ("_blocked",)

    def __init__(self, blocked: BlockedLoop) -> None:
        self._blocked = blocked

    def run(self, worker: object) -> None:
        logger.warning("%s", self._blocked, extra={"blocked_loop": self._blocked})
