"""Bringing the jobs of a lock to an end: on demand, when a tree stops for good, when the program exits."""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic

import attrs

from ..actors import CallTimeout, LockNotFound, Pid, forbid_loop, process
from ..actors.engine import check_alive, check_timeout, kernel
from ..supervision.restarts import reviver
from .acquire import known
from .jobs import Job
from .lock.lock_core import LockCore
from .lock.server import start_lock
from .lock.table import cores

logger = logging.getLogger("resprout.throttle")


@attrs.frozen
class DrainReport:
    """What became of the jobs of ``execute`` that a lock had.

    Attributes:
        done: ended in time, with a result or an exception of their own.
        dropped: never begun, their futures have LockNotFound; or cut off, their futures have ServerExit.
    """

    done: int
    dropped: int


def drain(name: str, timeout: float | None = None) -> DrainReport:
    """Bring the jobs of a lock to an end: no new ones are taken, those at work and in line are waited for.

    The warm shutdown of a work queue: before a deployment, say. It is done by itself when the tree that
    declares the lock stops for good, and for locks made by ``new`` when the interpreter exits, for as long as
    the shutdown time of the lock's child spec (5 s). Callers who work here (``slot``, ``run``) are not its
    concern. Afterwards the lock takes jobs again. Not for code in an event loop, which it would block
    (``asyncio.to_thread``).

    Args:
        name: the lock.
        timeout: seconds to wait at most, None for as long as it takes. What has not begun then is dropped,
            and the workers of what has not ended are killed.

    Returns:
        How many were done, and how many dropped; these are logged, too, in one line.

    Raises:
        LockNotFound: no lock has that name.
        BlockingInLoop: an event loop runs in this thread.
    """
    check_alive()
    forbid_loop("throttle.drain()", "asyncio.to_thread(throttle.drain, name, timeout)")
    check_timeout(timeout)
    return drain_book(known(name), timeout)


def drain_book(core: LockCore, timeout: float | None) -> DrainReport:
    """Do that, for whoever has the core."""
    deadline = None if timeout is None else monotonic() + timeout
    jobs: list[Job] = []
    core.decide(partial(_begin, core, jobs))
    try:
        late = [job for job in jobs if not _ends(job, deadline)]
        dropped = sum([_drop(job) for job in late])
    finally:
        core.decide(partial(_end, core, jobs))
    if dropped:
        logger.warning(
            "lock %r: %d of %d jobs were dropped, as there was no time left for them",
            core.settings.name,
            dropped,
            len(jobs),
        )
    return DrainReport(len(jobs) - dropped, dropped)


def _begin(core: LockCore, jobs: list[Job]) -> bool:
    """List the jobs that there are, and have new ones refused. Inside the combiner; may be repeated.

    Order: the list is there before it is filled. A job that is given to a worker at once is noted in its hold
    first, and looks for drains then. So either it is listed, or it sees the drain and asks whether it is.
    """
    if not any(each is jobs for each in core.draining):
        core.draining.append(jobs)
    jobs[:] = [hold.job for hold in core.ledger.holders.values() if isinstance(hold.job, Job)]
    jobs += [claim for claim in core.ledger.waiting() if isinstance(claim, Job)]
    return True


def _end(core: LockCore, jobs: list[Job]) -> bool:
    core.draining[:] = [each for each in core.draining if each is not jobs]
    return True


def _ends(job: Job, deadline: float | None) -> bool:
    try:
        job.future.wait(None if deadline is None else max(0.0, deadline - monotonic()))
    except CallTimeout:
        return False
    return True


def _drop(job: Job) -> bool:
    """End a job whose time is over; False when it has just ended by itself."""
    core = job.core
    if job.claim():
        job.leave()
        name = core.settings.name
        job.future.try_set_exception(
            LockNotFound(name, f"lock {name!r} was drained, and there was no time left for this job")
        )
        return True
    if job.future.done():
        return False
    hold = job.hold
    if hold is not None and hold.job is job:
        process.exit(hold.pid, "kill")
    return True


def drain_child(pid: Pid, seconds: float | None) -> None:
    """Before its supervisor stops a lock process: if that is the end of the lock, its jobs end first."""
    for core in list(cores.values()):
        if core.process is pid and not core.ended and not core.ledger.closed:
            if reviver(pid, core.above) is None and (kernel.exiting or not core.settings.home):
                drain_book(core, seconds)
            return


# Supervisors look for it there.
start_lock.drain = drain_child  # type: ignore[attr-defined]
