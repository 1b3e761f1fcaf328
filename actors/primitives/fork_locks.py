"""Locks that are free in a forked child, whoever held them in the parent at that moment.

In the child there is only the thread that forked, so nobody would ever free a lock that another one held.
Every lock of ours that outlives a call is made here, which a test holds against the code; a lock made for one
wait, or with its owner again after a fork (the kernel's), need not be.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _thread import LockType

L = TypeVar("L")

_locks: dict[int, weakref.ref[Any]] = {}
"""All that exist."""


def lock() -> LockType:
    """Make a lock that is free in a forked child."""
    return _known(threading.Lock())


def rlock() -> threading.RLock:
    """Make a lock that its thread may take again, and that is free in a forked child."""
    return _known(threading.RLock())


def _known(made: L) -> L:
    key = id(made)
    _locks[key] = weakref.ref(made, lambda _gone: _locks.pop(key, None))
    return made


def _free_all() -> None:
    for each in list(_locks.values()):
        there = each()
        if there is not None:
            # What threading's and logging's own locks do. In place, since anybody may have the lock.
            there._at_fork_reinit()


# Before all other hooks of ours, since every room's modules import this one first.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)
