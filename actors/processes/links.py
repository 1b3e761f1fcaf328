"""Links: two processes of which the exit of one is an exit signal for the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pid import put_entry

if TYPE_CHECKING:
    from .pid import Pid


def tie(pid: Pid, other: Pid) -> bool:
    """Link two processes; False when the other was dead already, and nothing came of it."""
    if other is pid:
        return True
    put_entry(pid, "_links", other.id, other)
    put_entry(other, "_links", pid.id, pid)
    # Dead, but not yet at telling its links: its burial will find the entry, in its order.
    if other._told and pid._links.pop(other.id, None) is not None:
        other._links.pop(pid.id, None)
        return False
    if pid._told:
        # This one died meanwhile and its burial may have missed the new entry.
        if other._links.pop(pid.id, None) is not None:
            other.signal(pid, pid.exit_reason)
        pid._links.pop(other.id, None)
    return True
