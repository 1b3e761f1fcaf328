"""The slot workers of a lock: who is idle, and how one is given a job.

A worker that has finished a job lingers for a moment and takes the next one straight from its queue, as a
thread of an executor does; after that it becomes an idle process, which owns no thread, and is woken for its
next job by a message.

Whoever gives a job may be the main thread, which an interrupt may hit between any two steps. So each step may
be repeated, by the same thread or another, after the worker has done that job and has the next one, too.
"""

from __future__ import annotations

import _thread
import queue
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...actors import NoReply, Ok, Stop
from ...actors.engine import Cast, LibraryServer, kernel

if TYPE_CHECKING:
    from ...actors import Pid
    from .settings import Settings

LINGER: Final = 0.02
"""Seconds that a worker keeps its thread after a job."""


class Task(Protocol):
    """What a worker is given."""

    def run(self) -> bool:
        """Do it; False when the worker should end."""


class Owner(Protocol):
    """The core of the lock, as far as its workers need it."""

    settings: Settings
    idle_workers: deque[WorkerHandle] | None
    """The idle workers, the last used one last."""

    def owner_died(self, pid: Pid, reason: object) -> None:
        """A worker is dead."""

    def owner_left(self, pid: Pid) -> None:
        """No code of a worker runs any more."""


class WorkerHandle:
    """One worker, for whoever gives it a job.

    Whoever finds it among the idle workers may give it one job, if they can ``take`` it: a step that was cut
    off and repeated may have put it there twice, or while it is at work. A job goes into its queue first;
    then the worker is sent a message, unless it is warm. Only the worker itself says that it is warm, and
    looks at its queue once more after it has said that it is not: so no job is left where nobody looks.
    """

    __slots__ = ("_jobs", "_taken", "core", "pid", "warm")

    def __init__(self, core: Owner) -> None:
        self.core = core
        self.pid: Pid | None = None
        self.warm = False
        """Its worker will look at the queue. Written by the worker only."""
        self._taken: dict[int, object] = {}
        """Under 0, the job that it was taken for; empty while it is idle."""
        self._jobs: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    @property
    def alive(self) -> bool:
        """Whether the worker lives."""
        pid = self.pid
        return pid is not None and not pid._fate

    def take(self, job: Task) -> bool:
        """Take it for a job; False when it is at work for another one, or dead. May be repeated."""
        return self._taken.setdefault(0, job) is job and self.alive

    def give(self, job: Task) -> None:
        """Give it the job that it was taken for, whose slot is the worker's by now. May be repeated.

        If the worker has died, the core is told once more.
        """
        pid = self.pid
        assert pid is not None
        self._jobs.put(job)
        if not self.warm:
            pid.deliver(Cast(self))
        if pid._fate:
            # It may have died, and left, before the slot was its own: then nobody has freed that.
            self.core.owner_died(pid, pid.exit_reason)
            if pid.left:
                self.core.owner_left(pid)

    def dismiss(self) -> None:
        """End the worker; for whoever has popped it."""
        pid = self.pid
        if pid is not None:
            pid.signal(None, "shutdown")
        self._jobs.put(None)

    def idle(self, idle_workers: deque[WorkerHandle], job: Task) -> None:
        """Join the idle workers after a job, or without having been given it.

        May be repeated, also when it has the next one.
        """
        taken = self._taken
        if taken.get(0) is job:
            del taken[0]
        if not taken and self not in idle_workers:
            idle_workers.append(self)

    def next(self, idle_workers: deque[WorkerHandle] | None) -> Task | None:
        """Wait for a job for a moment; None when there is none, and the next one comes as a message."""
        waiting = kernel.pool.waiting
        ident = _thread.get_ident()
        # Who waits does not count against the pool's growth.
        waiting[ident] = None
        try:
            # A dead worker is not among the idle workers; whoever gives it a job nevertheless tells the core.
            if not self.alive:
                return None
            try:
                return self._jobs.get(timeout=LINGER)
            except queue.Empty:
                return self._cool(idle_workers)
        finally:
            waiting.pop(ident, None)

    def _cool(self, idle_workers: deque[WorkerHandle] | None) -> Task | None:
        """Stop waiting, unless a job has come in this moment."""
        self.warm = False
        # Whoever has put a job there without seeing that is seen here.
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            pass
        else:
            self.warm = True
            return job
        if idle_workers is not None:
            try:
                idle_workers.remove(self)
            except ValueError:
                # Somebody has popped it, and is about to give it a job.
                return None
            # Warm ones are popped first.
            idle_workers.appendleft(self)
        return None


class SlotWorker(LibraryServer):
    """Runs the jobs of one lock, one at a time."""

    _what = "a slot worker of a lock"
    _use = "throttle.execute"

    def init(self, handle: WorkerHandle) -> Ok:
        handle.pid = self.pid
        return Ok(handle)

    def handle_cast(self, message: Any, handle: WorkerHandle) -> NoReply | Stop:
        if message is not handle:
            return super().handle_cast(message, handle)  # type: ignore[no-any-return]  # a NoReply
        handle.warm = True
        while (task := handle.next(handle.core.idle_workers)) is not None:
            if not task.run():
                return Stop("shutdown", handle)
            if self._pid._inbox:
                # Jobs may come for ever; whoever has sent it something else has its turn between two of them.
                # (It stays warm: it looks at its queue when this message of its own comes.)
                self._pid.deliver(Cast(handle))
                break
        return NoReply(handle)
