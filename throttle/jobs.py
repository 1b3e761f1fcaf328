"""A job of ``execute``: what waits in the line, its future, and how it comes to a worker and ends."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from ..actors import Future, ServerExit, process
from ..actors.engine import (
    Alarm,
    current,
    explain,
    kernel,
    local,
    spawn_at,
    work_for,
)
from .ledger.holds import Claim, Hold, fresh_key
from .lock.flow import opened
from .lock.tree import start_worker
from .lock.workers import SlotWorker, WorkerHandle
from .unfinished import check_finished

if TYPE_CHECKING:
    from ..actors import Pid
    from ..actors.engine import Worker
    from .lock.lock_core import LockCore

T = TypeVar("T")
logger = logging.getLogger("resprout.throttle")


class JobFuture(Future[T]):
    """The future of a job: cancelling it takes the job out of the line, unless it runs already."""

    __slots__ = ("_job",)
    _job: Job | None
    """None from its beginning on: nothing can be cancelled then, and there is no cycle to be collected."""

    def cancel(self) -> bool:
        job = self._job
        if job is None:
            return self.cancelled()
        try:
            # claim(), written out: no interrupt can come between it and what follows.
            del job._fate[0]
        except IndexError:
            return self.cancelled()
        try:
            self._leave(job)
        except BaseException:
            # It is decided, so it is carried out.
            kernel.pool.submit(_Cancel(self, job))
            raise
        return True

    def _leave(self, job: Job) -> None:
        """Carry out what has been claimed. May be repeated."""
        super().cancel()
        job.leave()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(future)`` when it ends, in a process of its own: it may wait, and the worker may
        have the next job by then. At once and here when it has ended.
        """
        super().add_done_callback(callback if self.done() else _Callback(callback))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Take a callback away that has not been called yet."""
        for each in list(self._callbacks):
            if isinstance(each, _Callback) and each.callback == callback:
                super().remove_done_callback(each)


class _Cancel:
    """A task of the pool: carry out a cancellation that an interrupt has cut off."""

    __slots__ = ("_future", "_job")

    def __init__(self, future: JobFuture[Any], job: Job) -> None:
        self._future = future
        self._job = job

    def run(self, worker: Worker) -> None:
        self._future._leave(self._job)


class _Callback:
    """A done callback, to be called elsewhere."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[Any], object]) -> None:
        self.callback = callback

    def __call__(self, future: Future[Any]) -> None:
        process.spawn(self._call, future)

    def _call(self, future: Future[Any]) -> None:
        try:
            self.callback(future)
        except Exception:
            logger.exception("a callback of %r raised", future)


class Job(Claim):
    """A function that waits for a slot, and then runs in it."""

    hold: Hold | None = None
    error: BaseException | None = None
    """Why it was refused."""
    alarm: Alarm | None = None
    sent: bool = False
    handle: WorkerHandle | None = None
    """The worker that has it, or that was popped for it; a coroutine function has none."""

    def __init__(self, core: LockCore, call: Callable[[], Any], is_coroutine: bool, priority: int) -> None:
        # Claim.__init__ written out.
        self.pid = current()
        self.key = fresh_key()
        self.weight = 1
        self.priority = priority
        self.since = monotonic()
        self.ticket = 0
        self.out = False
        self.core = core
        self.call = call
        self.is_coroutine = is_coroutine
        self.context = contextvars.copy_context()
        self.future: JobFuture[Any] = JobFuture()
        self.future._job = self
        # Rights that exist once, taken in one atomic step: to decide what becomes of the job, and to run it.
        self._fate: list[None] = [None]
        self._run: list[None] = [None]

    def claim(self) -> bool:
        """Take the only right to start, cancel, refuse or time out the job."""
        return pop_right(self._fate)

    def leave(self) -> None:
        """Out of the line, for whoever has claimed it."""
        if self.alarm is not None:
            self.alarm.cancel()
        self.core.withdraw(self)

    # What the ledger calls, inside the combiner. No user code: futures are completed later, since they may
    # have callbacks.

    def offer(self, hold: Hold) -> bool:
        hold.core = self.core
        if self.hold is not hold:
            # claim(), written out: no interrupt can come in between, so a repeated step knows whose right it
            # was.
            try:
                del self._fate[0]
            except IndexError:
                return False
            self.hold = hold
        if not self.sent:
            hold.job = self
            self._send(hold)
            self.sent = True
        return True

    def refuse(self, error: BaseException) -> None:
        if self.error is not None or self.claim():
            # Nothing comes in between; from here on it may be repeated.
            self.error = error
            if self.alarm is not None:
                self.alarm.cancel()
            self.core.later(partial(self.future.try_set_exception, error))

    def nudge(self) -> bool:
        self.core.combiner.requests.append(partial(_retry, self))
        return True

    def _send(self, hold: Hold) -> None:
        """Give the job to somebody who runs it. If this is repeated, it is the same one, or only one of them
        runs it.
        """
        if self.alarm is not None:
            self.alarm.cancel()
        ledger = self.core.ledger
        while not self.is_coroutine and (handle := self.handle or self._pop_idle()) is not None:
            pid = handle.pid
            if handle.take(self) and pid is not None:
                stale = ledger.holders.get(pid.id)
                if stale is not None and stale is not hold:
                    # Given back, and whoever was to take it out was cut off.
                    ledger.drop(stale)
                ledger.rekey(hold, pid, pid.id)
                # Not before the combiner is left: the worker would wake only to wait for this thread.
                self.core.later(partial(handle.give, self))
                return
            self.handle = None
        # Starting a process takes its time, and a supervisor: not in the combiner.
        self.core.later(partial(process.spawn, _dispatch, self))

    def _pop_idle(self) -> WorkerHandle | None:
        idle_workers = self.core.idle_workers
        try:
            # Popped and noted without a call in between, behind which an interrupt could come.
            for handle in iter(idle_workers.pop, None) if idle_workers else ():
                self.handle = handle
                break
        except IndexError:
            pass
        return self.handle

    # In the worker.

    def run(self) -> bool:
        """Do the work and give the slot back; False when the lock is over and the worker should end.

        Only an Exception goes to the future. Anything above ends the worker, and with it the job.
        """
        hold = self.hold
        if hold is None or not pop_right(self._run):
            return True
        future = self.future
        future._job = None
        # What is opened inside, on whatever thread, is nested in it.
        hold.outer = None
        self.context.run(opened.set, hold)
        # The worker's; the next job overwrites it.
        work_for(local.state.process, self.pid)
        try:
            value = check_finished(self.context.run(self.call), self.call, "execute")
        except (Exception, asyncio.CancelledError) as error:
            self.core.ledger.judge(hold, error)
            self._done(hold)
            future.try_set_exception(error)
        else:
            self._done(hold)
            future.try_set(value)
        return not self.core.ledger.closed

    async def run_async(self) -> None:
        """The same for a coroutine function, as a process of its own."""
        hold = self.hold
        if hold is None or not pop_right(self._run):
            return
        self.future._job = None
        me = current()
        self.core.decide(partial(_take_over, self.core, hold, me))
        hold.outer = None
        opened.set(hold)
        work_for(me, self.pid)
        try:
            value = check_finished(await self.call(), self.call, "execute")
        except Exception as error:
            explain(me, error)
            self.core.ledger.judge(hold, error)
            hold.job = None
            self.core.give_back(hold)
            self.future.try_set_exception(error)
        else:
            hold.job = None
            self.core.give_back(hold)
            self.future.try_set(value)

    def _done(self, hold: Hold) -> None:
        hold.depth = 0
        hold.job = None
        self.core.step(partial(_finish, self.core, hold, self))

    def worker_died(self, pid: Pid, reason: object) -> None:
        """Whoever ran it, or was to run it, is dead."""
        self.fail(ServerExit(reason, pid, f"execute under lock {self.core.settings.name!r}"))

    def fail(self, error: BaseException) -> None:
        """It will not be run, or not to its end."""
        pop_right(self._run)
        self.future.try_set_exception(error)


def pop_right(right: list[None]) -> bool:
    """Take a right that exists once; False when somebody has it."""
    try:
        # Not by a call, behind which an interrupt could come before the taker knows.
        del right[0]
    except IndexError:
        return False
    return True


def _retry(job: Job) -> None:
    job.core.ledger.retry(job, monotonic())


def _take_over(core: LockCore, hold: Hold, pid: Pid) -> None:
    if hold.depth > 0 and hold.pid is not pid:
        core.ledger.rekey(hold, pid, pid.id)


def _finish(core: LockCore, hold: Hold, job: Job) -> None:
    """One step, so that the next job finds this worker idle, and the worker's own slot free."""
    ledger = core.ledger
    if ledger.plain:
        ledger.drop(hold)
    else:
        ledger.give_back(hold, monotonic())
    idle_workers, handle = core.idle_workers, job.handle
    if idle_workers is not None and handle is not None and not ledger.closed and handle.alive:
        handle.idle(idle_workers, job)
    if ledger.queue.size:
        ledger.pass_on(monotonic())
    if ledger.closed:
        core._retire()


def _dispatch(job: Job) -> None:
    """Start whoever runs the job, as a process of its own that may wait for a supervisor."""
    hold = job.hold
    assert hold is not None
    mine = object()
    if job.__dict__.setdefault("dispatched", mine) is not mine:
        # Told twice, since an interrupt came in between.
        return
    try:
        if job.is_coroutine:
            pid = spawn_at(job.core.loop, job.run_async, job.context)
        else:
            job.handle = handle = WorkerHandle(job.core)
            handle.take(job)
            pid = start_worker(SlotWorker, handle)
    except Exception as error:
        hold.outcome = "ignored"
        job.core.give_back(hold)
        job.fail(error)
        return
    job.core.attach(pid)
    # Waits until it is done: the job must find its slot when it acquires the same lock once more.
    job.core.decide(partial(_take_over, job.core, hold, pid))
    if job.handle is not None:
        job.handle.give(job)
    elif pid.dead:
        # It died before the slot was its own, so nobody was told.
        job.core.owner_died(pid, pid.exit_reason)
        if pid.left:
            job.core.owner_left(pid)
