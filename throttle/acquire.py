"""Acquire and release in the caller: it is the holder. The fast path of the room."""

from __future__ import annotations

from asyncio import _get_running_loop
from sys import _getframe
from typing import TYPE_CHECKING, Final

from ..actors import CallTimeout, NotHeld, forbid_loop, need_loop
from ..actors.engine import (
    TaskPid,
    check_alive,
    check_timeout,
    current,
    current_if_any,
    dead_but_running,
    former_of,
    local,
)
from .ledger.holds import Hold
from .ledger.values import Grant, check_name, check_positive, check_priority, too_heavy
from .lock.callers import TaskCaller
from .lock.flow import held_by, nest
from .lock.lock_steps import watched
from .lock.table import cores, table
from .lock.waiting import queue_up, queue_up_async

if TYPE_CHECKING:
    from types import CodeType

    from ..actors import Pid
    from .lock.lock_core import LockCore

ONE: Final = 1
ZERO: Final = 0
"""The defaults of weight and priority. What is the same object needs no check (True is not, nor is 1.0)."""


def acquire(name: str, timeout: float | None = None, priority: int = 0, weight: int = 1) -> Grant:
    """Take a slot of a lock, waiting for one if need be; give it back with ``release``.

    The holder is the current process, and has one slot however often it acquires: a nested acquire succeeds
    at once, is counted, and returns the same grant. Prefer ``slot`` or ``run``: they cannot forget the
    release, and their holder is the flow of control. Under a framework that runs one request on several
    threads, what one of them acquires another one cannot release by name (``grant.release()`` can). Not for
    code in an event loop (``aacquire``), nor to hand work to somebody else (``execute``).

    Args:
        name: the lock.
        timeout: seconds to wait at most, None for ever, 0 not at all.
        priority: higher goes first; first come, first served among equals.
        weight: how many slots to take.

    Returns:
        The grant.

    Raises:
        LockNotFound: no lock has that name, or it was stopped while this waited.
        CallTimeout: no slot came in time.
        QueueFull: the lock has ``max_waiting`` waiters already.
        EngineDown: the lock's engine is away, and the lock was made with ``on_unreachable="raise"``.
        BlockingInLoop: an event loop runs in this thread.
        ValueError: the weight is above num_slots or, nested, above what is held.

    Semantics: ExSleeplock.acquire/1, with priorities, weights and timeouts. Runs in the caller's thread. When
        the holder ends in any way, its slot is freed; that of a killed actor when its handler has left.

    Differs from ExSleeplock: nesting is counted, so an inner release does not free the outer slot.
    """
    if dead_but_running:
        check_alive()
    core: LockCore | None
    try:
        core = cores[name]
    except (KeyError, TypeError):
        core = None
    if core is None:
        core = table.find(name)
    if _get_running_loop() is not None:
        forbid_loop("throttle.acquire()", "throttle.aacquire()")
    # What current() does where no loop runs, written out here and in release.
    here = local.state
    me = here.process
    if me is None or me._fate:
        me = current()
    if timeout is not None or weight is not ONE or priority is not ZERO:
        check_request(core, timeout, priority, weight)
    # Where, in case that nobody releases it; the line number is computed when it is wanted.
    frame = _getframe(1)
    ledger = core.ledger
    if (me.id in ledger.holders or core.apart) and (hold := nest(core, me, weight, guests=False)) is not None:
        return hold
    if not ledger.queue.size or not ledger.simple or me.id not in core.attached or watched:
        # Otherwise it would return None.
        hold = core.take(me, weight, False)
        if hold is not None:
            if hold.depth == 1:
                hold.code = frame.f_code
                hold.lasti = frame.f_lasti
            return hold
    return queue_up(core, me, here, timeout, priority, weight, False, frame.f_code, frame.f_lasti)


async def aacquire(name: str, timeout: float | None = None, priority: int = 0, weight: int = 1) -> Grant:
    """Take a slot without blocking the event loop; otherwise the same as ``acquire``.

    The holder is the task that awaits this. ``asyncio.wait_for(aacquire(...), t)`` makes a task of its own on
    Python 3.10 and 3.11, whose end frees the slot at once: use ``timeout=`` instead.

    Args, Returns, Raises: as ``acquire``. Cancelling the await leaves the line, or hands the slot on.
    """
    if dead_but_running:
        check_alive()
    core = cores.get(name)
    if core is None:
        core = table.find(name)
    me = current()
    if me.__class__ is not TaskPid:
        need_loop("throttle.aacquire()")
    check_request(core, timeout, priority, weight)
    # The frame that awaits this.
    frame = _getframe(1)
    hold = core.take(me, weight, False)
    if hold is not None:
        if hold.depth == 1:
            hold.code = frame.f_code
            hold.lasti = frame.f_lasti
        return hold
    claim = TaskCaller(name, me, priority, weight, False)
    claim.core = core
    claim.code = frame.f_code
    claim.lasti = frame.f_lasti
    # It would keep alive what awaits this, for as long as this waits.
    del frame
    return await queue_up_async(core, me, claim, timeout)


def attempt(name: str, weight: int = 1) -> Grant | None:
    """Take a slot if one is free and nobody waits for it; never waits, so it may be used in event loops too.

    A lock with an engine is asked once, and waited for as long as that takes: there ``aattempt`` is the form
    for event loops.

    Returns:
        The grant, or None.

    Raises:
        LockNotFound, ValueError: as ``acquire``.
        BlockingInLoop: the lock has an engine, and an event loop runs in this thread.

    Semantics: ExSleeplock.attempt/1. While the lock process is being restarted, nothing is granted, nor while
        an engine can't be reached.
    """
    if dead_but_running:
        check_alive()
    core = table.find(name)
    me = current()
    check_request(core, None, 0, weight)
    frame = _getframe(1)
    if _get_running_loop() is None and (hold := nest(core, me, weight, guests=False)) is not None:
        return hold
    hold = core.now_or_never(me, weight)
    if hold is None and core.settings.engine is not None:
        return _attempt_far(core, me, weight, frame.f_code, frame.f_lasti)
    if hold is not None:
        hold.code = frame.f_code
        hold.lasti = frame.f_lasti
    return hold


def _attempt_far(core: LockCore, me: Pid, weight: int, code: CodeType, lasti: int) -> Grant | None:
    """Ask an engine, once."""
    if _get_running_loop() is not None:
        forbid_loop("throttle.attempt() of a lock with an engine", "throttle.aattempt()")
    try:
        return queue_up(core, me, local.state, 0, 0, weight, False, code, lasti)
    except CallTimeout:
        return None


async def aattempt(name: str, weight: int = 1) -> Grant | None:
    """The same as ``attempt`` for coroutines: a lock with an engine is asked without blocking the event loop.

    Returns:
        The grant, or None.

    Raises:
        LockNotFound, ValueError: as ``acquire``.
    """
    if dead_but_running:
        check_alive()
    core = table.find(name)
    me = current()
    if me.__class__ is not TaskPid:
        need_loop("throttle.aattempt()")
    check_request(core, None, 0, weight)
    frame = _getframe(1)
    hold = core.now_or_never(me, weight)
    if hold is None and core.settings.engine is not None:
        claim = TaskCaller(name, me, 0, weight, False)
        claim.core = core
        claim.code = frame.f_code
        claim.lasti = frame.f_lasti
        del frame
        try:
            return await queue_up_async(core, me, claim, 0)
        except CallTimeout:
            return None
    if hold is not None:
        hold.code = frame.f_code
        hold.lasti = frame.f_lasti
    return hold


def release(name: str) -> None:
    """Give back what one ``acquire`` took; the outermost frees the slot. Never blocks.

    Raises:
        NotHeld: this process does not hold the lock.
        LockNotFound: no lock has that name.

    Semantics: ExSleeplock.release/1, which answers ``:ok`` when nothing is held; so does
        ``resprout.throttle.ex_sleeplock``.
    """
    core: LockCore | None
    try:
        core = cores[name]
    except (KeyError, TypeError):
        core = None
    if core is None:
        check_alive()
        core = table.find(name)
    # Also the dead give back what they hold, and meet their death where that is nothing.
    me = local.state.process
    if me is None or _get_running_loop() is not None:
        me = current_if_any() or current()
    hold = core.ledger.holders.get(me.id)
    if hold is None or hold.depth <= 0 or hold.code is None:
        # Not what one acquire of this process has taken.
        hold = held_by(core, me) or _held_before_exit_signal(core, me)
        if hold is None:
            if me._fate:
                current()
            if core.ledger.closed:
                table.find(name)
            raise NotHeld(name)
    core.give_back(hold)


def _held_before_exit_signal(core: LockCore, me: Pid) -> Hold | None:
    """Find what this thread or task holds from before an exit signal, after which it went on as a new
    process.
    """
    for pid in former_of(me):
        hold = core.ledger.holders.get(pid.id)
        if hold is not None and hold.depth > 0:
            return hold
    return None


def check_request(core: LockCore, timeout: object, priority: object, weight: object) -> None:
    """Refuse what can't be granted, before anything is asked for.

    Raises:
        ValueError, TypeError: which says what was expected.
    """
    if timeout is not None:
        check_timeout(timeout)
    if priority.__class__ is not int:
        check_priority(priority)
    if weight.__class__ is not int or weight != 1:
        number = check_positive("weight", weight)
        most = core.most()
        if number > most and core.ledger.remote:
            raise ValueError(f"expected weight to be at most {most} with an engine, got: {number}")
        if number > most:
            raise too_heavy(core.settings.name, number, most)


def known(name: str) -> LockCore:
    """Return the core of a lock, for whoever looks at it."""
    return table.find(check_name(name))
