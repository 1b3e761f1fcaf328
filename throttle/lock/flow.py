"""The flow of control that a block belongs to, whichever threads it runs on.

A block (``slot``, ``run``, ``limited``) is nested in another of the same lock if it is opened while that is
open in the same flow. Frameworks run one request's code on several threads, and several requests' code on
one. An asyncio task is one flow; what it holds is found under its id. Of other code, what stays with a flow
is its context (``contextvars``), which knows what is open: ``opened`` is the innermost block, ``Hold.outer``
leads outwards.

A context is copied where a flow forks: into the tasks that it creates, into calls that it has made on other
threads. So a copy proves nothing by itself. Whoever finds a hold of theirs there, nests. A call on another
thread (``asyncio.to_thread``) that finds a hold of the task or thread that waits for it becomes its *guest*:
it works in the same slots, one guest at a time, and has them for itself should its host end first. Everybody
else (a task that finds its parent's hold, an actor that finds its starter's) takes slots of their own: safe,
though with one slot that may be for ever. ``slot(name, within=grant)`` says what can't be seen.
"""

from __future__ import annotations

import sys
import threading
import weakref
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from ...actors import NotHeld
from ...actors.engine import FREE_THREADED, call, current, former_of, increase, local, owner, stay
from ..ledger.holds import Hold
from ..ledger.values import heavier_than_held

if TYPE_CHECKING:
    from ...actors import Pid
    from .lock_core import LockCore

opened: ContextVar[Hold | None] = ContextVar("resprout.throttle.opened", default=None)
"""The innermost block of this flow. Those that are closed may still be in the chain: the outermost one stays
when it ends (the next takes its place), and so do those that ended in another context.
"""
INHERITED = bool(getattr(sys.flags, "thread_inherit_context", 0))
"""Whether threads begin in a copy of their starter's context: an option from CPython 3.14 on, the default of
builds without a GIL.
"""
_mark: ContextVar[object] = ContextVar("resprout.throttle.mark")


def open_ones(hold: Hold | None) -> Hold | None:
    """Leave out what was closed: return the innermost hold of a chain that is still open."""
    while hold is not None and hold.depth <= 0:
        hold = hold.outer
    return hold


def found(core: LockCore, me: Pid, whose: Pid) -> Hold | None:
    """Return what this flow has of a lock.

    Args:
        whose: the task that a pool's thread works for; else the current process itself.
    """
    hold = opened.get()
    while hold is not None:
        if hold.depth > 0 and hold.core is core and (not me.pooled or is_of_call(hold, me, whose)):
            return hold
        hold = hold.outer
    if whose is me:
        return None
    hold = core.ledger.holders.get(whose.id)
    if hold is None:
        # The task may be a guest itself.
        hold = next((each for each in list(core.apart.values()) if each.opener is whose), None)
    return hold if hold is not None and hold.depth > 0 else None


def is_of_call(hold: Hold, me: Pid, whose: Pid) -> bool:
    """Tell whether a hold in the context of a pool's thread belongs to the flow of the call that this is.

    Executors that don't know contexts have one for all the calls that a thread of theirs does.
    """
    if whose is not me:
        return hold.pid is whose
    if hold.opener is me:
        return hold.origin is not None and hold.origin() is call()
    return not in_the_threads_context()


def in_the_threads_context() -> bool:
    """Tell whether a thread that began in a copy of its starter's context runs in that, and not in one that
    was brought along for the call: what is open there says who has started the thread, not whose call it is.
    """
    if not INHERITED:
        return False
    its_own = getattr(threading.current_thread(), "_context", None)
    if its_own is None:
        return False
    mark = object()
    token = _mark.set(mark)
    try:
        return its_own.get(_mark) is mark
    finally:
        _mark.reset(token)


def nest(core: LockCore, me: Pid, weight: int, guests: bool = True) -> Hold | None:
    """Nest in what this flow, or this process by ``acquire``, has of a lock; None when that is nothing.

    In that case nothing is kept under the id of the process any more, so that it can take slots.

    Args:
        guests: whether this may become a guest of what another thread has taken.

    Raises:
        ValueError: the weight is above what is held.
    """
    hold = nest_in_flow(core, me, owner(me), weight, guests)
    if hold is not None:
        return hold
    held = core.ledger.holders.get(me.id)
    if held is None or held.depth <= 0:
        return None
    if held.of_a_block:
        # Another flow that ran on this thread has it.
        core.set_aside(held)
        return None
    return again(held, weight)


def nest_in_flow(core: LockCore, me: Pid, whose: Pid, weight: int, guests: bool = True) -> Hold | None:
    """Nest in what this flow has of a lock, whatever this process has; otherwise as ``nest``."""
    hold = found(core, me, whose)
    if hold is not None:
        opener = hold.opener or hold.pid
        if opener is me or opener in former_of(me):
            return again(hold, weight)
        if guests and may_be_guest(me, whose, hold, opener):
            check_weight(hold, weight)
            guest = core.admit(hold, whose, me, alone=True)
            if guest is not None:
                if me.pooled:
                    keep_for_flow(guest, me, whose)
                return guest
    return None


def look_again(core: LockCore, me: Pid, weight: int) -> Hold | None:
    """While a pool's thread waits for slots: whoever it works for may be known by now, and have some.

    What the thread itself has by now is what it waits for.
    """
    whose = owner(me)
    return None if whose is me else nest_in_flow(core, me, whose, weight)


def nest_within(grant: Hold, me: Pid, weight: int) -> Hold:
    """Nest in a grant that the user names.

    Raises:
        NotHeld: it is over.
        ValueError: the weight is above what is held.
    """
    core = grant.core
    whose = owner(me)
    if found(core, me, whose) is grant and (grant.opener or grant.pid) is me:
        return again(grant, weight)
    check_weight(grant, weight)
    guest: Hold | None = core.admit(grant, whose, me, alone=False)
    if guest is None:
        raise NotHeld(grant.name)
    if me.pooled:
        keep_for_flow(guest, me, whose)
    return guest


def check_within(name: str, within: object) -> Hold:
    """Return the grant to nest in, or raise the error that says what is wrong.

    Raises:
        TypeError, ValueError: it is no grant, or that of another lock.
    """
    if not isinstance(within, Hold):
        raise TypeError(f"expected within to be a grant that slot() or acquire() gave, got: {within!r}")
    if within.name != name:
        raise ValueError(f"expected within to be a grant of lock {name!r}, got one of {within.name!r}")
    return within.heir or within


def again(hold: Hold, weight: int) -> Hold:
    """Count one more acquire."""
    check_weight(hold, weight)
    if FREE_THREADED:
        # Another thread may be giving back.
        increase(hold, "depth")
    else:
        hold.depth += 1
    return hold


def check_weight(hold: Hold, weight: int) -> None:
    """Refuse what a nested block can't have."""
    if weight > hold.slots:
        raise heavier_than_held(hold.name, weight, hold.slots)


def may_be_guest(me: Pid, whose: Pid, host: Hold, opener: Pid) -> bool:
    """Tell whether this process carries on the flow of another one, which waits for it.

    That nobody else does at the same time is seen to where it is admitted.
    """
    if me.kind == "task":
        # The thread runs this very loop meanwhile, as in `with slot(...): asyncio.run(...)`.
        return opener is local.state.process
    if me.kind != "thread":
        return False
    if whose is not me:
        return host.pid is whose
    return not begins_in_a_copy(me)


def begins_in_a_copy(me: Pid) -> bool:
    """Tell whether this is a thread that began in a copy of its starter's context, as may be from Python 3.14
    on, and is so by default where there is no GIL: that is another flow.
    """
    return INHERITED and me.kind == "thread" and not me.pooled


def keep_for_flow(hold: Hold, me: Pid, whose: Pid | None = None) -> None:
    """Note who has opened a block where that is not its holder alone.

    What was taken on a pool's thread for a task belongs to the task, and does not end with the thread.
    """
    hold.opener = me
    if not me.pooled:
        return
    here = call()
    if here is not None:
        hold.origin = weakref.ref(here)
    if whose is None:
        whose = owner(me)
    if whose is me:
        return
    # Before it is the task's: that may have ended, and then this is what the hold lasts for.
    hold.leaving = stay(whose, me, partial(_call_over, weakref.ref(hold)))
    if hold.host is None:
        hold.core.set_aside(hold, whose)


def _call_over(taken: weakref.ref[Hold], _leaving: Any) -> None:
    hold = taken()
    if hold is not None:
        hold.core.call_over(hold.key)


def held_by(core: LockCore, me: Pid) -> Hold | None:
    """Return what ``release`` by name gives back: what this process has acquired, or this flow has open."""
    held = core.ledger.holders.get(me.id)
    if held is not None and held.depth > 0 and not held.of_a_block:
        return held
    hold = found(core, me, me)
    return hold if hold is not None and (hold.opener or hold.pid) is me else None


def in_use_elsewhere(hold: Hold) -> bool:
    """Tell whether an open block belongs to another flow than this one."""
    me = current()
    opener = hold.opener or hold.pid
    if opener is me and hold.key == me.id:
        return False
    if found(hold.core, me, owner(me)) is not hold:
        return True
    return begins_in_a_copy(me) and opener is not me and opener not in former_of(me)


def leave(hold: Hold) -> None:
    """A block has ended that was inside another one, or that is not kept under the id of its process."""
    if hold.key < 0:
        hold.core.apart.pop(hold.key, None)
        hold.leaving = None
    if opened.get() is hold:
        opened.set(open_ones(hold.outer))
