"""The children of a supervisor, in start order.

A pure core in the sense that nothing in it runs a thread, reads a clock or sends a message. It is changed in
place: a copy for each change would cost O(children) a restart, and supervisors with a hundred thousand
children exist.

Only the supervisor's own process changes it. Others may read it at any time (`supervision.tree` does),
because every single field of a child is replaced in one step and copying a dict's values is one step, too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from .restart_intensity import RestartWindow

if TYPE_CHECKING:
    from ...actors import ChildSpec, Pid

ChildState: TypeAlias = Literal["running", "restarting", "backing_off", "down"]


@attrs.define(eq=False)
class Child:
    """One row: a spec and the process that runs for it now.

    Attributes:
        key: What the table finds it by: the id of its spec, or for dynamic children a number.
        spec: How to start and stop it.
        state: `"running"`; `"restarting"`: its restart failed and is tried again, or goes on this moment;
            `"backing_off"`: it waits before its restart; `"down"`: it is not running and nothing is going to
            start it by itself.
        pid: The process that runs, or ran last if it is restarting; None if it is down.
        restarts: How often it was started again.
        started_at: When it was started last, in the supervisor's clock.
        window: The budget of its own, if it has one.
        attempt: How many waits in a row it has had.
        token: Tells the wait that goes on from those before it.
        last: The process that runs or ran last, also if it is down.
    """

    key: Hashable
    spec: ChildSpec
    state: ChildState = "down"
    pid: Pid | None = None
    restarts: int = 0
    started_at: float = 0.0
    window: RestartWindow | None = None
    attempt: int = 0
    token: int = 0
    last: Pid | None = None


def new_child(key: Hashable, spec: ChildSpec) -> Child:
    """A row for a child that does not run yet."""
    if spec.max_restarts is None:
        return Child(key, spec)
    return Child(key, spec, window=RestartWindow(spec.max_restarts, spec.max_seconds or 5.0))


class ChildTable:
    """Finds children by key and by Pid in O(1), and keeps the start order.

    Invariant: `by_pid` holds exactly the children whose `pid` is not None, under it.
    """

    __slots__ = ("_by_key", "_by_pid")

    def __init__(self) -> None:
        # A dict keeps the order of insertion, a restart leaves a child its place.
        self._by_key: dict[Hashable, Child] = {}
        self._by_pid: dict[Pid, Child] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Child]:
        return iter(self._by_key.values())

    def __reversed__(self) -> Iterator[Child]:
        return reversed(self._by_key.values())

    def snapshot(self) -> list[Child]:
        """All children in start order; safe in any thread, as listing a dict's values is one step."""
        return list(self._by_key.values())

    def get(self, key: Hashable) -> Child | None:
        """The child with that key."""
        return self._by_key.get(key)

    def by_pid(self, pid: Pid) -> Child | None:
        """The child whose process that is, or was when its restart failed."""
        return self._by_pid.get(pid)

    def add(self, child: Child) -> None:
        """Puts a new child last in start order."""
        self._by_key[child.key] = child

    def forget(self, child: Child) -> None:
        """Removes a child."""
        self.set_down(child)
        self._by_key.pop(child.key, None)

    def set_running(self, child: Child, pid: Pid, now: float) -> None:
        """Notes that the child runs as `pid`."""
        self._drop_pid(child)
        child.pid = pid
        child.started_at = now
        child.state = "running"
        self._by_pid[pid] = child

    def set_down(self, child: Child) -> None:
        """Notes that the child does not run."""
        self._drop_pid(child)
        child.pid = None
        child.state = "down"

    def _drop_pid(self, child: Child) -> None:
        if child.pid is not None:
            self._by_pid.pop(child.pid, None)

    def from_child(self, child: Child) -> list[Child]:
        """The child and all those after it, in start order; O(those)."""
        found: list[Child] = []
        for other in reversed(self):
            found.append(other)
            if other is child:
                break
        found.reverse()
        return found
