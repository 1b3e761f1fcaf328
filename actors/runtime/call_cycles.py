"""Processes that would wait for each other for ever: seen before the last of them begins to wait.

Always: the *starters*. Whoever starts a server waits until its init is through, so a call from that init to
the starter, or to who has started that one and waits, too, would never be answered. A server knows its
starter as long as its init runs.

In development mode (``python -X dev``) also any circle of calls, starts and awaited tasks: every wait is then
noted in `waits` before it begins, and whoever notes one looks where it leads to. Two that begin to wait at
once both note first and look afterwards, so that one of them sees it. Nobody crosses a wait out when it is
over: it counts for nothing then, as the answer is in its future.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..primitives.atomic import remove
from ..vocabulary.errors import CallCycle
from .thread_state import current_if_any

if TYPE_CHECKING:
    from ..vocabulary.identity import Identity

suspects: dict[int, Identity | None] = {}
"""Not empty while there is more to look at than the caller's own starter: async servers whose init runs,
which may have a thread work for it; or, in development mode, everybody.
"""
DEVELOPMENT = sys.flags.dev_mode
if DEVELOPMENT:
    suspects[0] = None


ROOM = 256
"""So many waits are noted before those that are over are looked for."""


class Wait:
    """One that was noted. It keeps nothing that it refers to."""

    __slots__ = ("_target", "_until")

    def __init__(self, target: Identity, until: Any) -> None:
        self._target = weakref.ref(target)
        self._until = weakref.ref(until)

    def target(self) -> Identity | None:
        """Who is waited for; None when the wait is over."""
        until = self._until()
        return None if until is None or until._box else self._target()


waits: dict[int, Wait] = {}
"""In development mode: for whom a process waits, by its id."""
_room = [ROOM]
owner_of: list[Callable[[Any], Any]] = []
"""Tells for which task a thread of a pool works; put in by ``processes.offloaded``, which stands above."""


def check(caller: Identity | None, target: Identity) -> None:
    """Refuse a wait for a process that waits for the caller. Called only if the caller has a starter or there
    are suspects.

    Raises:
        CallCycle: it does.
    """
    if caller is None:
        return
    chain = _starters(caller, target)
    if chain is None and caller.pooled and (DEVELOPMENT or _is_starter(target)):
        # A thread that works for an async server.
        caller = owner_of[0](caller)
        chain = _starters(caller, target)
    if chain is not None:
        raise CallCycle(chain, starting=True)
    if DEVELOPMENT:
        chain = _circle(caller, target)
        if chain is not None:
            raise CallCycle(chain)


def begin(caller: Identity | None, target: Identity, until: Any) -> None:
    """Note that a process is about to wait for another, until a future is completed, and check that.

    Raises:
        CallCycle: the other waits for it.
    """
    if DEVELOPMENT and caller is not None:
        note(caller, target, until)
        try:
            check(caller, target)
        except CallCycle:
            waits.pop(caller.id, None)
            raise
    else:
        check(caller, target)


def begin_wait(target: Identity, until: Any) -> None:
    """Do what begin does, for the current process and a request that was sent before."""
    me = current_if_any()
    if me is not None and (me.starter is not None or suspects) and me is not target:
        begin(me, target, until)


def note(waiter: Identity, target: Identity, until: Any) -> None:
    """Note a wait, in development mode."""
    if len(waits) > _room[0]:
        for key, old in list(waits.items()):
            if old.target() is None:
                remove(waits, key, old)
        _room[0] = ROOM + 2 * len(waits)
    wait = waits[waiter.id] = Wait(target, until)
    if waiter.pooled:
        waits[owner_of[0](waiter).id] = wait


def _starters(caller: Identity, target: Identity) -> tuple[Identity, ...] | None:
    """The circle that a wait for a starter closes: the caller, the target, and who is being started in
    between.
    """
    below = [caller]
    starter = caller.starter
    while starter is not None and starter not in below:
        if starter is target:
            return (caller, target, *reversed(below[1:]))
        below.append(starter)
        starter = starter.starter
    return None


def _is_starter(target: Identity) -> bool:
    """Whether it waits for the init of an async server."""
    return any(each is not None and _starters(each, target) for each in list(suspects.values()))


def _circle(caller: Identity, target: Identity) -> tuple[Identity, ...] | None:
    """The circle that a wait closes, as far as it was noted."""
    chain = [caller]
    at: Identity | None = target
    while at is not caller:
        if at is None or at._fate or at in chain:
            return None
        chain.append(at)
        wait = waits.get(at.id)
        at = None if wait is None else wait.target()
    return tuple(chain) if len(chain) > 1 else None
