"""Who owns what is registered here and now: the one place that decides it.

The current process; but what a thread of a pool registers for an asyncio task that waits for it (a
synchronous handler under FastAPI, a call of ``asyncio.to_thread``) belongs to the task. The thread goes on
with other people's calls and would keep the key, while the task ends with the request that wanted it.

A lock by key (``Registry.lock``) is the thread's own even so: it is held while a function runs there,
whatever becomes of the task meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.engine import current, owner

if TYPE_CHECKING:
    from ..actors import Pid


def owner_here() -> Pid:
    """Return the process that registers, unregisters and updates here.

    Raises:
        Killed: the code belongs to a process that is dead.
        ServerExit: this thread or task got an exit signal (once; then it goes on as a new process).
    """
    me = current()
    if not me.pooled:
        return me
    whose = owner(me)
    # What the dead register is gone at once.
    return me if whose.dead else whose
