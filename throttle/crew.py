"""The slot workers of a lock: who is idle, and how one is given a job.

A worker that has finished a job lingers for a moment and takes the next one straight from its queue, as a
thread of an executor does; after that it becomes an idle process, which owns no thread, and is given its next
job as a message.
"""

from __future__ import annotations

import _thread
import queue
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..actors import NoReply, Ok, Stop
from ..actors.engine import Cast, LibraryServer, kernel
from .claim import Claim

if TYPE_CHECKING:
    from ..actors import Pid
    from .book import Book

LINGER: Final = 0.02
"""Seconds that a worker keeps its thread after a job."""


class Task(Protocol):
    """What a worker is given."""

    def run(self) -> bool:
        """Do it; False when the worker should end."""


class Hand:
    """One worker, for whoever gives it a job.

    Whoever pops a hand from the crew may give it one job. While it is warm, its worker waits in ``next``, and
    can only stop waiting after it has taken itself out of the crew: so a job is never put into a queue that
    nobody reads.
    """

    __slots__ = ("_jobs", "book", "pid", "warm")

    def __init__(self, book: Book) -> None:
        self.book = book
        self.pid: Pid | None = None
        self.warm = False
        self._jobs: queue.SimpleQueue[Task | None] = queue.SimpleQueue()

    @property
    def alive(self) -> bool:
        """Whether the worker lives."""
        pid = self.pid
        return pid is not None and not pid._fate

    def give(self, job: Task) -> None:
        """Give it a job; its slot is the worker's by now. If the worker has died.

        The book is told once more.
        """
        pid = self.pid
        assert pid is not None
        if self.warm:
            self._jobs.put(job)
        else:
            pid.deliver(Cast(job))
        if pid._fate:
            # It may have died, and left, before the slot was its own: then nobody has freed that.
            self.book.owner_died(pid, pid.exit_reason)
            if pid.left:
                self.book.owner_left(pid)

    def dismiss(self) -> None:
        """End the worker; for whoever has popped it."""
        pid = self.pid
        if pid is not None:
            pid.signal(None, "shutdown")
        self._jobs.put(None)

    def idle(self, crew: deque[Hand]) -> None:
        """Join the crew, from the worker's own code, which goes on to ``next``. May be repeated."""
        self.warm = True
        if self not in crew:
            crew.append(self)

    def next(self, crew: deque[Hand] | None) -> Task | None:
        """Wait for a job for a moment; None when there is none, and the next one comes as a message."""
        waiting = kernel.pool.waiting
        ident = _thread.get_ident()
        # Who waits does not count against the pool's growth.
        waiting[ident] = None
        try:
            # A dead worker is in no crew; whoever gives it a job nevertheless tells the book.
            while self.alive:
                try:
                    return self._jobs.get(timeout=LINGER)
                except queue.Empty:
                    if crew is None or self._cool(crew):
                        break
            return None
        finally:
            waiting.pop(ident, None)

    def _cool(self, crew: deque[Hand]) -> bool:
        """Stop waiting, unless somebody has popped this hand and is about to give it a job."""
        try:
            crew.remove(self)
        except ValueError:
            return False
        self.warm = False
        # Warm ones are popped first.
        crew.appendleft(self)
        return True


class SlotWorker(LibraryServer):
    """Runs the jobs of one lock, one at a time."""

    _what = "a slot worker of a lock"
    _use = "throttle.execute"

    def init(self, hand: Hand) -> Ok:
        hand.pid = self.pid
        return Ok(hand)

    def handle_cast(self, job: Any, hand: Hand) -> NoReply | Stop:
        stray = not isinstance(job, Claim)
        if stray:
            return super().handle_cast(job, hand)  # type: ignore[no-any-return]  # a NoReply
        task: Task | None = job
        while task is not None:
            if not task.run():
                return Stop("shutdown", hand)
            task = hand.next(hand.book.crew)
            if task is not None and self._pid._inbox:
                # Jobs may come for ever; whoever has sent it something else has its turn between two of them.
                self._pid.deliver(Cast(task))
                break
        return NoReply(hand)
