"""Local names: one table, read without a lock."""

from __future__ import annotations

import _thread
from collections import deque
from typing import TYPE_CHECKING

from .errors import AlreadyRegistered
from .messages import Named

if TYPE_CHECKING:
    from .pid import Pid

names: dict[str, Pid] = {}
"""Local names."""
_names_lock = _thread.allocate_lock()
_dropped: deque[tuple[str, Pid]] = deque()


def remove_name(name: str, pid: Pid) -> bool:
    """Remove a name if pid has it.

    Compare and remove are two operations, so removals go through one gate: append, then try; who fails
    leaves it to the holder, who looks again. Only a removal can make room, so between the compare and the
    pop nobody else can take the name.
    """
    removed = names.get(name) is pid
    _dropped.append((name, pid))
    while _dropped and _names_lock.acquire(False):
        try:
            while _dropped:
                try:
                    key, who = _dropped.popleft()
                except IndexError:
                    break
                if names.get(key) is who:
                    names.pop(key, None)
        finally:
            _names_lock.release()
    return removed


def reset_names() -> None:
    """After a fork: no name, and a gate that nobody holds."""
    global _names_lock
    names.clear()
    _dropped.clear()
    _names_lock = _thread.allocate_lock()


def take_name(pid: Pid, name: object) -> None:
    """Register a process under a local name or a Named.

    Raises:
        AlreadyRegistered: somebody alive has it.
    """
    if isinstance(name, str):
        while (holder := names.setdefault(name, pid)) is not pid:
            if not holder.dead:
                raise AlreadyRegistered(holder, name)
            # Dead, and its burial has not come here yet: the name is free. Only the dead holder's entry is
            # removed.
            remove_name(name, holder)
        pid.name = name
        if pid.dead:
            remove_name(name, pid)
    elif isinstance(name, Named):
        name.register_name(pid)
        pid.name = name
    else:
        raise TypeError(f"expected name to be a str or a Via, got: {name!r}")


def give_up_name(pid: Pid) -> None:
    """Free the name of a process that has died."""
    name = pid.name
    if name is None:
        return
    if isinstance(name, str):
        remove_name(name, pid)
    elif isinstance(name, Named):
        name.unregister_name(pid)
