"""The names of a tree that has this OS process as one of its children, and runs in another.

A child under ``placement: process`` has an interpreter, and so names, of its own. Whoever misses a name
there, or would make a second lock or registry of a name that the tree has, is told where that one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..vocabulary.errors import NameInParent


@attrs.frozen
class Owner:
    """Who has a name in the parent.

    Attributes:
        what: what it is, in words.
        single: there must be no other of that name, in whatever process of the tree.
    """

    what: str
    single: bool


ask: list[Callable[[str], Owner | None]] = []
"""Of a placed child: what asks its parent about a name."""
finders: list[Callable[[str, str], Any]] = []
"""Of the same: finds what stands here for something of the parent's, by a service and its own name."""
likely: set[str] = set()
"""The services that children of this process will use, as far as is known: they are loaded in the fork
servers.
"""


def find_in_parent(service: str, name: str) -> Any:
    """What stands for something of the parent's of a placed child; None where there is no such thing."""
    return finders[0](service, name) if finders else None


def in_parent(name: object) -> Owner | None:
    """Who has that name in the parent of a placed child; None anywhere else."""
    return ask[0](name) if ask and isinstance(name, str) else None


def why_not_here(name: object) -> str | None:
    """Why somebody who exists in the parent is not found here; None when there is nobody."""
    owner = in_parent(name)
    return None if owner is None else str(NameInParent(name, owner.what))


def refuse_second(name: object, single: bool) -> None:
    """Refuse to make a lock or a registry of a name that the parent's tree has.

    Raises:
        NameInParent: it has one.
    """
    owner = in_parent(name) if single else None
    if owner is not None and owner.single:
        raise NameInParent(name, owner.what)
