"""What is wrong with a request to a registry, beyond the errors that every room shares."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..actors import NotFound, ResproutError
from ..actors.engine import FORK_ADVICE, why_not_here


class UnknownRegistry(NotFound, ValueError):
    """No registry has that name: it was not started, or it was stopped. (In Elixir an ArgumentError.)

    Attributes:
        name: the name that was asked for.
    """

    def __init__(self, name: object, known: Iterable[str] = (), forked: bool = False) -> None:
        self.name = name
        if elsewhere := why_not_here(name):
            super().__init__(elsewhere)
            return
        if forked:
            super().__init__(
                f"registry {name!r} was started before this process was forked: it runs in the parent only; "
                f"{FORK_ADVICE}"
            )
            return
        names = sorted(known)
        near = difflib.get_close_matches(name, names, 1) if isinstance(name, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        running = ", ".join(map(repr, names[:10])) or "none"
        super().__init__(f"unknown registry: {name!r}; running: {running}{hint}")


class KeyLost(ResproutError):
    """A key of a registry with an engine is its owner's no more, though nobody has given it up: the engine
    was not heard of for too long, or has given the key to somebody else since then.

    It is the exit reason that the owner is sent (the message, with ``on_lost="tell"``).

    Attributes:
        registry: its name.
        key: the key.
    """

    def __init__(self, registry: object, key: object) -> None:
        self.registry = registry
        self.key = key
        super().__init__(
            f"the key {key!r} of registry {registry!r} is lost: its engine was not reached in time, or has "
            f"given it to somebody else; register it anew"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeyLost) and (self.registry, self.key) == (other.registry, other.key)

    def __hash__(self) -> int:
        return hash((self.registry, self.key))
