"""``execute``: work under a lock that is done elsewhere, by one of the lock's slot workers, for a future.

A job waits in the lock's line like everybody else, under a key of its own. When it is granted, an idle worker
becomes the holder, or a new one is started; a coroutine function becomes a process on an event loop, which
is the holder. So never more than ``num_slots`` workers are at work, and a lock that is never used with
``execute`` has none.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, overload

from ..actors import CallTimeout, Future, LockNotFound, need_loop
from ..actors.engine import (
    check_alive,
    check_timeout,
    dead_but_running,
    kernel,
)
from .acquire import ZERO
from .jobs import Job, pop_right
from .ledger.values import check_priority
from .lock.table import table
from .unfinished import check_callable, is_coroutine_function

if TYPE_CHECKING:
    from ..actors.engine import Worker
    from .lock.lock_core import LockCore

P = ParamSpec("P")
T = TypeVar("T")
Coro: TypeAlias = Coroutine[Any, Any, T]
logger = logging.getLogger("resprout.throttle")


@overload
def execute(
    name: str,
    fn: Callable[..., Coro[T]],
    /,
    *args: Any,
    timeout: float | None,
    priority: int = 0,
    **kwargs: Any,
) -> Future[T]: ...
@overload
def execute(
    name: str, fn: Callable[..., Coro[T]], /, *args: Any, priority: int, **kwargs: Any
) -> Future[T]: ...
@overload
def execute(
    name: str, fn: Callable[..., T], /, *args: Any, timeout: float | None, priority: int = 0, **kwargs: Any
) -> Future[T]: ...
@overload
def execute(name: str, fn: Callable[..., T], /, *args: Any, priority: int, **kwargs: Any) -> Future[T]: ...
@overload
def execute(name: str, fn: Callable[P, Coro[T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
@overload
def execute(name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
def execute(  # type: ignore[misc]  # timeout and priority are ours
    name: str,
    fn: Callable[..., Any],
    /,
    *args: Any,
    timeout: float | None = None,
    priority: int = 0,
    **kwargs: Any,
) -> Future[Any]:
    """Have a function called in one of the lock's slot workers, when it gets a slot.

    The worker is the holder. For work that the caller can do itself, ``run`` is cheaper; for work without a
    limit there is Task.

    Args:
        name: the lock.
        fn: called with args and kwargs in the caller's contextvars; a coroutine function is awaited on the
            loop on which the tree that declares the lock was started (``await application.astart()``, a
            ``lifespan``), so it can use what belongs to that; else, and for locks made by ``new``, on the
            runtime's own loop.
        timeout: seconds to wait for the slot at most, None for ever.
        priority: higher goes first.

    Returns:
        A future, at once: ``result()`` it in a thread, await it in a coroutine. ``cancel()`` takes the job
        out of the line if it does not run yet. It raises what fn raises, CallTimeout when no slot came in
        time, LockNotFound when the lock was stopped, ServerExit when the worker died or the loop ended on
        which it ran, StartError when that was closed before. A done callback runs in a process of its own,
        after the slot is free again.

    Raises:
        LockNotFound: no lock has that name, or it is being drained.
        QueueFull: the lock has ``max_waiting`` waiters already.
        TypeError: fn is not callable, or a generator function.
    """
    if dead_but_running:
        check_alive()
    core = table.find(name)
    check_callable(fn, "execute")
    if priority is not ZERO:
        check_priority(priority)
    if timeout is not None:
        check_timeout(timeout)
    if core.idle_workers is None:
        core.idle_workers = deque()
    job = Job(
        core, partial(fn, *args, **kwargs) if args or kwargs else fn, is_coroutine_function(fn), priority
    )
    if core.idle_workers and _at_once(core, job):
        return job.future
    if timeout == 0 and core.settings.engine is not None:
        # One answer, however long that takes.
        job.once = True
    elif timeout is not None:
        kernel.ensure()
        clock = kernel.clock
        job.alarm = clock.at(clock.now() + timeout, partial(kernel.pool.submit, _Expire(job, timeout)))
    # Here and now, so that a refusal is raised here; on top of a step of this very thread, as soon as that is
    # over.
    join = partial(_join, core, job)
    if core.decide(join) is None:
        core.step(join)
    if job.error is not None:
        raise job.error
    if not job._fate and job.hold is None:
        # Its time was over before it had joined the line.
        core.withdraw(job)
    return job.future


def _at_once(core: LockCore, job: Job) -> bool:
    """Give a job to an idle worker, if there is one and a slot is free this instant: no line, no claim."""
    idle_workers = core.idle_workers
    if job.is_coroutine or not idle_workers:
        return False
    hold = None
    try:
        handle = job._pop_idle()
        if handle is None:
            return False
        worker = handle.pid
        if worker is None or not handle.take(job):
            # Dead; or at work, and among the idle workers twice.
            job.handle = None
            return False
        hold = core.take(worker, 1, False)
        if hold is None:
            handle.idle(idle_workers, job)
            job.handle = None
            return False
        job.claim()
        job.sent = True
        job.hold = hold
        hold.job = job
        # In this order: see drain._begin.
        if core.draining and not core.decide(partial(_is_listed, core, job)):
            raise _drained(core)
        handle.give(job)
    except BaseException:
        # If the worker has the job already, and runs it, the slot is its own.
        if pop_right(job._run):
            if hold is not None:
                hold.job = None
                core.give_back(hold)
            if job.handle is not None:
                job.handle.idle(idle_workers, job)
        raise
    return True


def _join(core: LockCore, job: Job) -> bool:
    if core.draining and not job.ticket:
        job.refuse(_drained(core))
    else:
        core.ledger.join(job, monotonic())
    return True


def _is_listed(core: LockCore, job: Job) -> bool:
    """Tell whether every drain under way waits for a job. Inside the combiner: none is about to list it."""
    return all(any(each is job for each in jobs) for jobs in core.draining)


def _drained(core: LockCore) -> LockNotFound:
    name = core.settings.name
    return LockNotFound(name, f"lock {name!r} takes no jobs at the moment: it is being drained")


@overload
async def aexecute(
    name: str,
    fn: Callable[..., Coro[T]],
    /,
    *args: Any,
    timeout: float | None,
    priority: int = 0,
    **kwargs: Any,
) -> T: ...
@overload
async def aexecute(
    name: str, fn: Callable[..., Coro[T]], /, *args: Any, priority: int, **kwargs: Any
) -> T: ...
@overload
async def aexecute(
    name: str, fn: Callable[..., T], /, *args: Any, timeout: float | None, priority: int = 0, **kwargs: Any
) -> T: ...
@overload
async def aexecute(name: str, fn: Callable[..., T], /, *args: Any, priority: int, **kwargs: Any) -> T: ...
@overload
async def aexecute(name: str, fn: Callable[P, Coro[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
@overload
async def aexecute(name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
async def aexecute(  # type: ignore[misc]  # timeout and priority are ours
    name: str,
    fn: Callable[..., Any],
    /,
    *args: Any,
    timeout: float | None = None,
    priority: int = 0,
    **kwargs: Any,
) -> Any:
    """Await what ``execute`` returns. Cancelling the await cancels a job that does not run yet."""
    if dead_but_running:
        check_alive()
    need_loop("throttle.aexecute()")
    return await execute(name, fn, *args, timeout=timeout, priority=priority, **kwargs)


class _Expire:
    """A task of the pool: a job has waited too long."""

    __slots__ = ("_job", "_timeout")

    def __init__(self, job: Job, timeout: float) -> None:
        self._job = job
        self._timeout = timeout

    def run(self, worker: Worker) -> None:
        job = self._job
        if job.claim():
            job.leave()
            job.core.timed_out(job)
            name = job.core.settings.name
            job.future.try_set_exception(
                CallTimeout(f"lock {name!r} gave the job of {job.pid} no slot within {self._timeout:g} s")
            )
