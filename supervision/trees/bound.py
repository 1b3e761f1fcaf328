"""A function with its arguments that is equal to another one like it, as child specs are."""

from __future__ import annotations

import functools
from typing import Any


class Bound(functools.partial[Any]):
    """A partial that compares: two readings of a tree file make two of them, for the same child."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        mine, theirs = ((each.func, each.args, each.keywords) for each in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash(self.func)
