"""What a run looks like at one moment: the value that the display and the chaos decide on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import attrs

from .job import Progress

__all__ = ["Child", "ChildKind", "ChildState", "Lock", "Snapshot", "stem", "walk"]

ChildKind = Literal["supervisor", "lock", "registry", "api", "worker"]
ChildState = Literal["running", "restarting", "backing_off", "down"]


@attrs.frozen
class Child:
    """One child of a supervisor, with what is under it.

    Args:
        path: The ids from the top of the tree down to this child.
        kind: What it is; everything that the library does not supply itself is a "worker".
        state: As its supervisor's table says.
        process: Its process, which a restart changes; None when it has none.
        started: When that process was started, in seconds of the monotonic clock; None if that is not known.
        restarts: How often its supervisor has restarted it.
        children: In start order; empty for anything but a supervisor.
        group: What it shares with its replicas, or its own path.
        replicas: How many children of its supervisor are in that group, itself included.
        dynamic: Whether the program has started it, under a dynamic supervisor.
        temporary: Whether nobody starts it again.
        place: What stays the same when the path does not: those of dynamic children are numbered when several
            have the same id. By default the path.
    """

    path: tuple[str, ...]
    kind: ChildKind = "worker"
    state: ChildState = "running"
    process: object = None
    started: float | None = None
    restarts: int = 0
    children: tuple[Child, ...] = ()
    group: tuple[str, ...] = ()
    replicas: int = 1
    dynamic: bool = False
    temporary: bool = False
    place: tuple[object, ...] = attrs.field(default=attrs.Factory(lambda self: self.path, takes_self=True))

    @property
    def id(self) -> str:
        """Its id under its supervisor."""
        return self.path[-1]

    @property
    def label(self) -> str:
        """Its path as people write it."""
        return "/".join(self.path)


@attrs.frozen
class Lock:
    """The figures of one named lock."""

    name: str
    running: int
    waiting: int
    num_slots: int


@attrs.frozen
class Snapshot:
    """Everything that is shown of a run.

    Args:
        name: The tree's name.
        seconds: Since the run began.
        children: The children of the root, in start order.
        locks: In the order of their names.
        progress: The job's, if there is a job.
        restarts: How many there were since the run began, of children that are gone, too.
    """

    name: str
    seconds: float = 0.0
    children: tuple[Child, ...] = ()
    locks: tuple[Lock, ...] = ()
    progress: Progress | None = None
    restarts: int = 0


def walk(children: tuple[Child, ...]) -> Iterator[Child]:
    """Every child with all that is under it, parents first, in start order."""
    for child in children:
        yield child
        yield from walk(child.children)


_NUMBER = re.compile(r"[\s\-_.:#/(\[]*\d+[)\]]*$")


@lru_cache(maxsize=1024)
def stem(id: str) -> str:
    """The id without its number, which is what the replicas of a child share: `consumer` of `consumer-3`."""
    shared = _NUMBER.sub("", id)
    return shared if any(character.isalpha() for character in shared) else id
