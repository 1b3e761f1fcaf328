"""Waiting for a slot: how a caller joins the line, sleeps, and goes on, in threads and in coroutines."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from ...actors import CallTimeout
from ...actors.engine import FREE_THREADED, increase, kernel, park
from ..ledger.holds import Hold
from .callers import GRANTED, NUDGED, Caller, TaskCaller, ThreadCaller, thread_caller

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from ...actors import Pid
    from ...actors.engine import ThreadState
    from .lock_core import LockCore


FIRST_LOOK = 0.001
LAST_LOOK = 0.064
"""Seconds between two looks of a pool's thread for the task that it works for; the first, and the longest."""


def queue_up(
    core: LockCore,
    me: Pid,
    here: ThreadState,
    timeout: float | None,
    priority: int,
    weight: int,
    release_on_kill: bool,
    code: CodeType | None = None,
    lasti: int = 0,
    look: Callable[[], Hold | None] | None = None,
) -> Hold:
    """Get a hold for this thread's process, however long it takes.

    Args:
        code: where it was acquired, with lasti, for a hold that has to be released by hand.
        look: asked now and then during the first tenth of a second, whether there is no need to wait.

    Raises:
        CallTimeout: the time is over, and the claim is out of the line.
        LockNotFound, QueueFull, ValueError: the claim was refused.
        Killed, ServerExit: the process has died meanwhile.
    """
    claim = thread_caller(core.settings.name, me, priority, weight, release_on_kill)
    claim.core = core
    claim.code = code
    claim.lasti = lasti
    # The thread's own is used again and again, so who rings late for a wait before rings this one.
    claim.sleeper = sleeper = me.sleeper
    if timeout == 0:
        claim.once = True
    try:
        core.join(claim)
        if (
            timeout is None
            and look is None
            and sleeper is not None
            and me.parked is None
            and not here.deferred
            and not kernel.exiting
        ):
            # Most threads that fight for a lock: plain ones that wait for ever. A signal handler that waits
            # on top of this wait finds the thread parked, and sleeps on something else.
            me.parked = claim
            while True:
                if claim.answer is not None:
                    break
                if me._fate:
                    me.meet_death()
                sleeper.acquire()
            me.parked = None
            if me._fate:
                me.meet_death()
        hold: Hold = claim if claim.answer is GRANTED else _wait(core, claim, timeout, look)
        if release_on_kill and me.dead:
            # It died before there was anything to release.
            core.owner_died(me, None)
    except BaseException:
        if me.parked is claim:
            me.parked = None
        give_up(core, claim)
        raise
    return hold


def _wait(
    core: LockCore, claim: ThreadCaller, timeout: float | None, look: Callable[[], Hold | None] | None
) -> Hold:
    deadline = None if timeout is None else core.deadline(timeout)
    nap = FIRST_LOOK
    while True:
        if claim.answer is None:
            seconds = None if deadline is None else max(0.0, deadline - monotonic())
            if look is not None:
                seconds = nap if seconds is None else min(seconds, nap)
            park(claim.register, claim.unregister, seconds)
        if look is not None and claim.answer is None:
            other = look()
            if other is not None:
                hand_on(core, claim)
                return other
            nap *= 2
            if nap > LAST_LOOK:
                look = None
        hold = _decided(core, claim, deadline, timeout)
        if hold is not None:
            return hold


async def queue_up_async(core: LockCore, me: Pid, claim: TaskCaller, timeout: float | None) -> Hold:
    """Get a hold for this task, however long it takes; otherwise the same. The claim may be in the line
    already.

    Cancelling it leaves the line, or hands the slot on.
    """
    try:
        if not claim.ticket and claim.answer is None:
            if timeout == 0:
                claim.once = True
            core.join(claim)
        deadline = None if timeout is None else core.deadline(timeout)
        while True:
            if claim.answer is None:
                await claim.rung(None if deadline is None else max(0.0, deadline - monotonic()))
            hold = _decided(core, claim, deadline, timeout)
            if hold is not None:
                break
        if claim.release_on_kill and me.dead:
            core.owner_died(me, None)
    except BaseException:
        give_up(core, claim)
        raise
    return hold


def _decided(core: LockCore, claim: Caller, deadline: float | None, timeout: float | None) -> Hold | None:
    """Tell what came of a wait; None when it is to be gone on with."""
    answer = claim.answer
    if answer is None:
        if deadline is None or monotonic() < deadline:
            return None
        if not claim.ticket:
            # Somebody else was at the ledger, and it has not joined the line yet; it may find a free slot.
            _decide(core, partial(_join, core, claim))
            if claim.answer is not None:
                return None
        # A slot that is granted in this very moment goes to the next.
        hand_on(core, claim)
        core.timed_out(claim)
        raise CallTimeout(f"lock {core.settings.name!r} gave {claim.pid} no slot within {timeout:g} s")
    if answer is GRANTED:
        return claim
    if isinstance(answer, Hold):
        if answer.depth > 0:
            if FREE_THREADED:
                increase(answer, "depth")
            else:
                answer.depth += 1
            claim.counted = answer
            # Should it still be in the line, since whoever told it was cut off: it is never granted itself.
            claim.depth = 0
            return answer
        # Its process has given that back before this claim came to it.
        _decide(core, partial(_start_over, core, claim))
        return None
    if answer is NUDGED:
        _decide(core, partial(_retry, core, claim))
        return None
    assert isinstance(answer, BaseException)
    raise answer


def _decide(core: LockCore, step: partial[bool]) -> None:
    """Have a step done before going on; on top of a step of this very thread, as soon as that is over."""
    if core.decide(step) is None:
        core.step(step)


def _join(core: LockCore, claim: Caller) -> bool:
    """Join the line, or do nothing when it is there. Inside the combiner."""
    core.ledger.join(claim, claim.since)
    return True


def _start_over(core: LockCore, claim: Caller) -> bool:
    """Join the line anew. Inside the combiner, where whoever offered the shared hold has finished with it."""
    if claim.shared:
        core.ledger.queue.remove(claim)
        claim.renew()
        claim.ticket = 0
        claim.sibling = None
        claim.out = claim.nudged = claim.shared = False
    core.ledger.join(claim, monotonic())
    return True


def _retry(core: LockCore, claim: Caller) -> bool:
    """After a nudge: take a free slot, or wait anew in the old place. Inside the combiner."""
    if claim.answer is NUDGED:
        claim.renew()
        core.ledger.retry(claim, monotonic())
    return True


def give_up(core: LockCore, claim: Caller) -> None:
    """After an exception: leave the line, and give a slot that was granted already to the next.

    Where the stack has no room for that, the kernel thread does it, or whoever comes before it.
    """
    # From now on no grant is taken.
    claim.depth = 0
    combiner = core.combiner
    requests = combiner.requests
    requests += (claim.leave,)
    combiner.repair()
    hand_on(core, claim)


def hand_on(core: LockCore, claim: Caller) -> None:
    """Leave the line, and give a slot that was granted already to the next. May be repeated.

    Returns when it is done: a step under way may have entered a hold for this claim, and takes it out again
    when its offer fails. Until then the process would seem to hold the lock, and its next acquire would be
    taken for a nested one.
    """
    claim.depth = 0
    if core.decide(claim.leave) is None:
        # On top of a step of this very thread.
        core.step(claim.leave)
