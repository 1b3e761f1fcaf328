"""Whether a process that has ended will be started again. The side door for what outlives its process.

A lock's slots and waiters, say, are kept while its supervisor, or one further up, may bring its process back,
and not a moment longer. Nothing here asks a supervisor: it is read off the supervisors above.
"""

from __future__ import annotations

from collections.abc import Callable

from ..actors import Pid
from .supervisors.server import SupervisorServer
from .supervisors.starting import lost_listeners

__all__ = ["on_lost", "reviver", "supervisors_above"]


def supervisors_above(pid: Pid) -> tuple[Pid, ...]:
    """Return the supervisors that a process stands under, the nearest first."""
    found = []
    above = pid.parent
    while above is not None and isinstance(above.actor, SupervisorServer):
        found.append(above)
        above = above.parent
    return tuple(found)


def reviver(pid: Pid, above: tuple[Pid, ...]) -> Pid | None:
    """Return the supervisor that may start an ended process again, itself or what it was a part of.

    Args:
        pid: the process.
        above: the supervisors above it, asked for while it lived.

    Returns:
        None when nobody will: all above are dead, or stopping, or stopping what it was a part of for good.
        What is not started again for another reason (see ``wants_restart``) is told of by ``on_lost``.
    """
    below = pid
    for each in above:
        server = each.actor
        if not each.dead and isinstance(server, SupervisorServer):
            if below is server.ends_for_good:
                return None
            if not server.ending:
                return each
        below = each
    return None


def on_lost(tell: Callable[[Pid], object]) -> None:
    """Have ``tell(pid)`` called when a supervisor, which goes on, will not start a child of it again.

    It is called in the supervisor's process, after the end of the child, and must be quick.
    """
    lost_listeners.append(tell)
