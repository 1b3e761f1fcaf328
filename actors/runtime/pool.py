"""The elastic pool: threads that processes borrow while they have something to do.

A submit hands the task to an idle thread, and where there is none leaves it in the backlog and wakes the
kernel thread, which starts threads. So submitting takes no lock and starts no thread, and is safe in a
finalizer, a signal handler or a dying thread. The pool grows at once while few of its threads are runnable
(those known to wait inside resprout do not count), and otherwise when the backlog has not moved for a tick: a
handler may block for as long as it likes and nothing starves, while a burst of short tasks does not make a
thread each.
"""

from __future__ import annotations

import _thread
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from .thread_state import local

logger = logging.getLogger("resprout")

EAGER = 4 + 2 * (os.cpu_count() or 1)
"""Runnable threads up to which the pool grows without looking at the backlog's progress."""
TICK = 0.002
"""Seconds without progress of the backlog after which one more thread is started."""
LINGER = 10.0
"""Seconds that a thread stays without work before it ends."""


class Task(Protocol):
    """Something that wants to run on a thread of the pool."""

    def run(self, worker: Worker) -> None:
        """Do the work; may call ``worker.pool.park(worker)`` early, when all but cheap steps are done."""


class _End:
    """The task that ends the thread that gets it."""

    def run(self, worker: Worker) -> None:
        """Nothing is left to do."""


END = _End()


class Worker:
    """One thread of the pool, and the lock that it sleeps on."""

    __slots__ = ("parked", "pool", "task", "wake")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.wake = _thread.allocate_lock()
        self.wake.acquire()
        self.task: Task | None = None
        self.parked = False

    def main(self) -> None:
        pool = self.pool
        local.state.worker = True
        try:
            while True:
                task = self.task
                self.task = None
                if task is END:
                    return
                if task is None:
                    task = pool.next_task()
                if task is not None:
                    try:
                        task.run(self)
                    except BaseException:
                        logger.exception("a task of the pool raised: %r", task)
                    task = None
                if self._rest():
                    return
        finally:
            pool.ended(self)

    def _rest(self) -> bool:
        """Wait for a task; True when the thread should end."""
        pool = self.pool
        if not self.parked:
            if pool.backlog and self.task is None:
                return False
            self.parked = True
            pool.idle.append(self)
        # Look again: a submit between the last look and the append has left its task in the backlog.
        if pool.backlog and pool.unpark(self):
            return False
        while not self.wake.acquire(timeout=LINGER):
            if pool.unpark(self):
                return self.task is None and not pool.backlog
        self.parked = False
        return False


class Pool:
    """See the module.

    Args:
        wake_kernel: asks the kernel thread to call ``grow`` soon; safe anywhere.
    """

    def __init__(self, wake_kernel: Callable[[], None]) -> None:
        self._wake_kernel = wake_kernel
        self.idle: list[Worker] = []
        self._next_idle = iter(self.idle.pop, None)
        """Pops one, as a ``for`` does: without a call, behind which an interrupt could come before the one
        who pops knows what they have.
        """
        self.backlog: deque[Task] = deque()
        self.workers: dict[int, Worker] = {}
        self.waiting: dict[int, Worker | None] = {}
        """Threads known to wait inside resprout, by thread id."""
        self._seen_head: object = None
        self._seen_at = 0.0
        self._burst = 1

    def submit(self, task: Task) -> None:
        """Run a task soon, on some thread; safe anywhere, never blocks.

        An interrupt that comes after the first bytecode leaves the task to some thread, or to nobody.
        """
        try:
            for worker in self._next_idle:
                worker.task = task
                worker.wake.release()
                return
        except IndexError:
            pass
        try:
            self.backlog.append(task)
            # A thread that parked between the pop and the append would not see the task: hand it the backlog.
            for worker in self._next_idle:
                worker.wake.release()
        except IndexError:
            self._wake_kernel()
        except BaseException:
            # An interrupt: nobody may have been told of the backlog.
            self._wake_kernel()
            raise

    def next_task(self) -> Task | None:
        """Take the oldest task of the backlog."""
        try:
            return self.backlog.popleft()
        except IndexError:
            return None

    def park(self, worker: Worker) -> None:
        """Offer a thread that is about to be free, so that who is answered by its last step finds it."""
        worker.parked = True
        self.idle.append(worker)

    def unpark(self, worker: Worker) -> bool:
        """Take the offer back; False when somebody has given the thread a task already."""
        try:
            self.idle.remove(worker)
        except ValueError:
            return False
        worker.parked = False
        return True

    def grow(self) -> float | None:
        """Start threads if the backlog needs them; seconds until this should be asked again, None for not at
        all.

        Runs in the kernel thread only.
        """
        while self.backlog:
            if len(self.workers) - len(self.waiting) < EAGER:
                if not self._start():
                    return TICK
                continue
            head: object = None
            try:
                head = self.backlog[0]
            except IndexError:
                return None
            now = time.monotonic()
            if head is not self._seen_head:
                self._seen_head, self._seen_at, self._burst = head, now, 1
                return TICK
            if now - self._seen_at < TICK:
                return TICK
            # Nothing moved for a tick: every thread is blocked. Twice as many as the last time, so that a
            # crowd of blocking handlers is served within a few ticks.
            for _ in range(self._burst):
                if not self._start():
                    return TICK
            self._burst *= 2
            self._seen_head, self._seen_at = (self.backlog[0] if self.backlog else None), now
        self._seen_head = None
        return None

    def _start(self) -> bool:
        task = self.next_task()
        if task is None:
            return False
        worker = Worker(self)
        worker.task = task
        thread = threading.Thread(target=worker.main, name="resprout-worker", daemon=True)
        self.workers[id(worker)] = worker
        try:
            thread.start()
        except RuntimeError:
            # The interpreter is going down, or the machine is out of threads: somebody who waits helps (see
            # help).
            self.workers.pop(id(worker), None)
            self.backlog.appendleft(task)
            return False
        return True

    def ended(self, worker: Worker) -> None:
        """A thread of the pool says that it ends."""
        self.workers.pop(id(worker), None)

    def help(self) -> bool:
        """Run one task of the backlog on the calling thread; False when there is none. For the interpreter's
        exit.
        """
        task = self.next_task()
        if task is None:
            return False
        worker = Worker(self)
        worker.task = task
        while worker.task is not None:
            task, worker.task = worker.task, None
            task.run(worker)
            # It may have been offered as idle; it is no thread, so the offer is taken back, or what came on
            # it is done.
            if worker.parked and self.unpark(worker):
                break
        return True

    def trim(self) -> None:
        """Let every idle thread end; busy ones go on and stay usable."""
        while self.idle:
            try:
                worker = self.idle.pop()
            except IndexError:
                break
            worker.task = END
            worker.wake.release()
