"""Named locks as plain data: who holds them, who waits, and since when."""

from __future__ import annotations

from typing import Any

from .. import throttle
from ..actors import LockNotFound, Pid
from .errors import Refusal, near
from .places import place_of

__all__ = ["lock_named", "locks"]

_MOST = 1_000
"""Holders, and waiters, that are listed of one lock; the counts tell of all."""


def lock_named(name: str) -> str:
    """The name of a lock that there is.

    Raises:
        Refusal: There is none of that name; the refusal names the nearest.
    """
    names = throttle.locks()
    if name not in names:
        raise Refusal("unknown_lock", f"there is no lock {name!r}", near(name, names))
    return name


def locks(name: str | None = None) -> list[dict[str, Any]]:
    """Every lock, by name; or one.

    Args:
        name: Only this one, with who holds it and who waits for it.

    Raises:
        Refusal: There is no lock of that name.
    """
    if name is not None:
        return [_lock(lock_named(name), _MOST)]
    found = []
    for each in throttle.locks():
        try:
            found.append(_lock(each, 10))
        except LockNotFound:
            continue  # it was stopped while we looked
    return found


def _lock(name: str, most: int) -> dict[str, Any]:
    state, info = throttle.lock_state(name), throttle.lock_info(name)
    holders, waiters = throttle.holders(name), throttle.waiters(name)
    return {
        "name": name,
        "num_slots": info.num_slots,
        "used": state.used,
        "running": state.running,
        "waiting": state.waiting,
        "paused": info.paused,
        "fairness": info.fairness,
        "max_waiting": info.max_waiting,
        "engine": info.engine,
        "holders": [
            {
                **_who(each.pid),
                "token": each.token,
                "weight": each.weight,
                "seconds": round(each.held_seconds, 3),
                "straggler": each.straggler,
            }
            for each in holders[:most]
        ],
        "waiters": [
            {
                **_who(each.pid),
                "priority": each.priority,
                "weight": each.weight,
                "seconds": round(each.waited_seconds, 3),
            }
            for each in waiters[:most]
        ],
    }


def _who(pid: Any) -> dict[str, Any]:
    """A holder or a waiter: its Pid, and where it stands in the tree, if it does."""
    path = place_of(pid).path if isinstance(pid, Pid) and pid.alive else None
    return {"pid": str(pid), "path": None if path is None else "/".join(path)}
