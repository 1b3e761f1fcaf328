"""Locks in a forked child: those of ``new`` are made anew on first use, of the others the error says why not.

Who holds and who waits is in the parent, so the child's lock has nobody: what it guards is counted in each
process by itself.
"""

from __future__ import annotations

import os

from ...actors import AlreadyStarted, LockNotFound, process
from ...actors.engine import FORK_ADVICE, why_not_here
from ..ledger.wait_queue import WaitQueue
from .lock_core import LockCore
from .settings import Settings
from .table import cores, table
from .tree import start_in_home


def renew(name: str) -> LockCore | None:
    """In a forked child: make a lock anew that was declared by ``new`` before the fork.

    Raises:
        LockNotFound: it is not to be made anew, and the error says why there is none.
    """
    settings = table.inherited.get(name)
    if settings is None:
        return None
    if elsewhere := why_not_here(name):
        raise LockNotFound(name, elsewhere)
    if not is_renewable(settings):
        raise LockNotFound(name, _why_not(settings))
    try:
        # With the settings as they are: they say so should another thread have made and ended it meanwhile.
        start_in_home(settings)
    except AlreadyStarted as taken:
        # Another thread was faster, unless it is something else that has the name.
        if name not in cores:
            raise LockNotFound(
                name,
                f"lock {name!r} was made before this process was forked, and cannot be made anew here, since "
                f"{process.whereis(name) or taken.pid} has its name",
            )
    return cores.get(name)


def is_renewable(settings: Settings) -> bool:
    """Tell whether a forked child makes a lock anew when it is first used there."""
    return settings.home and settings.fork == "renew"


def _why_not(settings: Settings) -> str:
    if not settings.home:
        return (
            f"lock {settings.name!r} was declared in a tree that was started before this process was forked, "
            f"and that runs in the parent only; {FORK_ADVICE}"
        )
    return (
        f"lock {settings.name!r} was made before this process was forked, with fork='error'; make it in the "
        f"child, after the fork, or with fork='renew'"
    )


def _leave_to_parent(core: LockCore) -> None:
    """Make the copy of a lock of the parent's one that is over, with nobody in it.

    The child's code may be in the middle of its blocks, whose ends must not grant anything to copies of those
    who wait in the parent, nor wait for a thread that was in the middle of a step there.
    """
    ledger = core.ledger
    for hold in (*ledger.holders.values(), *core.apart.values()):
        hold.depth = 0
    core.combiner.turn.clear()
    core.combiner.requests.clear()
    ledger.holders.clear()
    core.apart.clear()
    core.attached.clear()
    ledger.used = 0
    ledger.queue = WaitQueue()
    ledger.closed = True
    core._outbox = None


def _begin_anew() -> None:
    """After a fork, in the child: its runtime is empty, so no lock has a process there."""
    for name, core in cores.items():
        if not (core.ended or core.ledger.closed):
            table.inherited[name] = core.settings
    for core in cores.values():
        _leave_to_parent(core)
        # Its tokens go on from where the parent's were, as after any other end of a lock.
        table.note_token(core)
    cores.clear()


table.renew = renew

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
