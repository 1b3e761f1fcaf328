"""Compare-and-set on a dict, in one step that nothing can come between.

The table of names and those of registries are changed from everywhere: from callers' threads, dying threads,
finalizers and signal handlers, the last two in the middle of whatever their thread was doing. A lock would
make a finalizer wait for the very thread that it interrupts. So there is no lock: every change is one step
of the interpreter.

``dict.setdefault`` and ``dict.pop`` are such steps. What they lack is the condition "if it still holds what
I saw". These functions add it: ``map`` and ``compress`` look, compare and change inside one C call, in
which CPython switches no thread, runs no signal handler, allocates nothing that the garbage collector
counts, and calls nobody's code as long as the keys hash and compare in C (which ``resprout.registry.keys``
sees to). Replaced and removed values are held by the caller, so no finalizer runs either.

It relies on the GIL, as the rest of the runtime does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from operator import is_, not_, setitem
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def replace(table: dict[K, V], key: K, old: V, new: V) -> bool:
    """Put new in the place of old; False, and nothing happens, when the key holds something else."""
    hit = compress((key,), map(is_, map(table.get, (key,)), (old,)))
    for _ in map(setitem, (table,), hit, (new,)):
        return True
    return False


def remove(table: dict[K, V], key: K, old: V) -> bool:
    """Remove the key; False, and nothing happens, when it holds something else than old."""
    keys = (key,)
    for _ in map(table.pop, compress(keys, map(is_, map(table.get, keys), (old,)))):
        return True
    return False


def remove_all(table: dict[K, V], keys: Sequence[K], olds: Sequence[V]) -> list[V]:
    """Remove each key that holds the value beside it, and return those values, in order.

    Each removal is a step of its own, yet all are one C call, in which other threads wait; give it a slice
    of a long list.
    """
    return list(map(table.pop, compress(keys, map(is_, map(table.get, keys), olds))))


def remove_empty(table: dict[K, V], key: K) -> bool:
    """Remove the key if what it holds is empty (a falsy container)."""
    for _ in map(table.pop, compress((key,), map(not_, map(table.get, (key,), (True,))))):
        return True
    return False
