"""What a run looks like at one moment: the value that the display and the chaos decide on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import attrs

from .job import Progress

__all__ = [
    "Child",
    "ChildKind",
    "ChildState",
    "Lock",
    "Snapshot",
    "Starting",
    "Stopping",
    "stem",
    "waited_for",
    "walk",
]

ChildKind = Literal["supervisor", "lock", "registry", "engine", "api", "worker"]
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
        address: Where it listens, if it is a web application that serves: `host:port`.
        by_mistake: Whether it has no process, as a plain function was its start and returned none.
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
    address: str | None = None
    by_mistake: bool = False
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
class Stopping:
    """A tree that was told to stop, or stops by itself, and has not ended yet.

    Args:
        seconds: For how long.
        waits_for: The children that have to end next, or whatever else it is.
        signal: The first signal that told it to, None if it stops by itself.
    """

    seconds: float
    waits_for: tuple[str, ...]
    signal: str | None = None


@attrs.frozen
class Starting:
    """A child whose start the tree waits for.

    Args:
        label: Its path as people write it.
        seconds: How long it was seen to start.
        function: Whether its start is a plain function, which may be one that does the work itself.
    """

    label: str
    seconds: float
    function: bool = False


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
        stopping: What it waits for, if it stops.
        starting: What it waits for before it has started, the longest first.
    """

    name: str
    seconds: float = 0.0
    children: tuple[Child, ...] = ()
    locks: tuple[Lock, ...] = ()
    progress: Progress | None = None
    restarts: int = 0
    stopping: Stopping | None = None
    starting: tuple[Starting, ...] = ()


def waited_for(children: tuple[Child, ...]) -> tuple[Child, ...]:
    """Those that a tree which stops waits for now: of the children the last one that has not ended, as they
    are stopped in the reverse order of their start, or of that one's children; dynamic ones end together.
    """
    alive = [child for child in children if child.process is not None]
    if not alive:
        return ()
    inside = waited_for(alive[-1].children)
    if inside:
        return inside
    return tuple(child for child in alive if child.dynamic) or (alive[-1],)


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
