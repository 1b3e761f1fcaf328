"""Local names: one table, read without a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..primitives.atomic import remove, replace
from ..vocabulary.errors import AlreadyRegistered
from ..vocabulary.messages import Named
from .elsewhere import ask, refuse_second

if TYPE_CHECKING:
    from ..vocabulary.identity import Identity

names: dict[str, Any] = {}
"""Local names. A dead holder's entry counts for nothing, and is replaced or removed in one step by whoever
comes first.
"""


def remove_name(name: str, pid: Identity) -> bool:
    """Remove a name if pid has it."""
    return remove(names, name, pid)


def reset_names() -> None:
    """After a fork: no name."""
    names.clear()


def check_name(name: object) -> None:
    """Refuse what is no name.

    Raises:
        TypeError: it is neither a str nor a Named.
    """
    if not isinstance(name, (str, Named)):
        raise TypeError(f"expected name to be a str or a Via, got: {name!r}")


def take_name(pid: Identity, name: object) -> None:
    """Register a process under a local name or a Named.

    Raises:
        AlreadyRegistered: somebody alive has it.
    """
    if isinstance(name, str):
        if ask:
            refuse_second(name, getattr(pid.actor, "_one_per_tree", False))
        while (holder := names.setdefault(name, pid)) is not pid:
            if not holder.dead:
                raise AlreadyRegistered(holder, name)
            # Dead, and its burial has not come here yet: the name is free for whoever takes its place.
            if replace(names, name, holder, pid):
                break
        pid.name = name
        if pid.dead:
            remove_name(name, pid)
    elif isinstance(name, Named):
        name.register_name(pid)
        pid.name = name
    else:
        check_name(name)


def give_up_name(pid: Identity) -> None:
    """Free the name of a process that has died."""
    name = pid.name
    if name is None:
        return
    if isinstance(name, str):
        remove_name(name, pid)
    elif isinstance(name, Named):
        name.unregister_name(pid)
