"""Looks at a running tree without asking anybody anything, and makes a snapshot of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic

import attrs

from .. import registry, supervision, throttle
from ..actors import LockNotFound, NoProcess, Pid
from .job import Job, Progress
from .snapshot import Child, ChildKind, Lock, Snapshot, Stopping, stem, waited_for
from .tally import Tally

__all__ = ["Lookout", "children_of"]

logger = logging.getLogger("resprout.observer")

# The module of its class tells what the library supplies; everything else is somebody's worker.
_KINDS: dict[str, ChildKind] = {
    throttle.__name__: "lock",
    registry.__name__: "registry",
    f"{supervision.__name__}.trees.asgi": "api",
}


class Lookout:
    """Gives snapshots of one run.

    Args:
        name: The tree's.
        root: Gives the root's Pid, None as long as there is none.
        job: What tells the progress, if anything does.
        tally: What is counted in it.
        signals: Gives the names of those that told it to stop, the first one first.
    """

    def __init__(
        self,
        name: str,
        root: Callable[[], Pid | None],
        job: Job | None,
        tally: Tally,
        signals: Callable[[], list[str]] = list,
    ) -> None:
        self._name = name
        self._root = root
        self._job = job
        self._tally = tally
        self._signals = signals
        self._signalled: float | None = None
        self._began = monotonic()

    def glance(self) -> Snapshot:
        """The tree and the progress; cheap, for whoever looks hundreds of times a second."""
        return Snapshot(
            self._name,
            monotonic() - self._began,
            self._children(),
            progress=self.progress(),
            restarts=self._tally.restarts,
        )

    def look(self) -> Snapshot:
        """Everything that is shown."""
        snapshot = self.glance()
        return attrs.evolve(snapshot, locks=_locks(), stopping=self._stopping(snapshot.children))

    def progress(self) -> Progress | None:
        """What the job says; None if there is none."""
        if self._job is None:
            return None
        try:
            return self._job.progress()
        except Exception:
            logger.exception("the job does not tell its progress; the tree goes on without a bar")
            self._job = None
            return None

    def _stopping(self, children: tuple[Child, ...]) -> Stopping | None:
        signals = self._signals()
        if signals and self._signalled is None:
            self._signalled = monotonic()
        since = self._tally.ending_since or self._signalled
        if since is None:
            return None
        if self._tally.ending:
            whom = tuple(child.label for child in waited_for(children)) or ("its root",)
        else:
            whom = ("its start",)
        return Stopping(monotonic() - since, whom, signals[0] if signals else None)

    def _children(self) -> tuple[Child, ...]:
        root = self._root()
        if root is None:
            return ()
        now = monotonic()
        try:
            top = supervision.tree(root)
        except NoProcess:
            return ()
        return children_of(top, (), now)


def children_of(
    node: supervision.TreeNode, path: tuple[str, ...], now: float, place: tuple[object, ...] = ()
) -> tuple[Child, ...]:
    """What is under a node of a tree, as the observer sees it.

    Args:
        node: As `supervision.tree` gives it.
        path: Of that node.
        now: When it was given, in seconds of the monotonic clock.
        place: Of that node.
    """
    ids = _told_apart(node.children)
    stems = [stem(id) for id in ids]
    sizes = Counter(stems)
    children = []
    for child, id, shared in zip(node.children, ids, stems, strict=True):
        here = (*path, id)
        dynamic = child.number is not None
        there = (*place, child.number if dynamic else id)
        # A supervisor that has not yet heard of a death still lists the process.
        gone = child.state == "running" and child.pid is not None and not child.pid.alive
        replicas = sizes[shared]
        children.append(
            Child(
                here,
                _kind(child),
                "restarting" if gone else child.state,
                None if gone else child.pid,
                None if child.uptime is None else now - child.uptime,
                child.restarts,
                children_of(child, here, now, there),
                (*path, shared) if replicas > 1 else here,
                replicas,
                dynamic=dynamic,
                temporary=child.restart == "temporary",
                place=there,
            )
        )
    return tuple(children)


def _told_apart(children: Sequence[supervision.TreeNode]) -> list[str]:
    """The ids with a number where several are the same, as those of dynamic children often are."""
    often = Counter(str(child.id) for child in children)
    seen: Counter[str] = Counter()
    told = []
    for child in children:
        id = str(child.id)
        number = seen[id] if child.number is None else child.number
        told.append(f"{id} #{number}" if often[id] > 1 else id)
        seen[id] += 1
    return told


def _kind(node: supervision.TreeNode) -> ChildKind:
    if node.type == "supervisor":
        return "supervisor"
    module = type(getattr(node.pid, "actor", None)).__module__
    for package, kind in _KINDS.items():
        if module == package or module.startswith(f"{package}."):
            return kind
    return "worker"


def _locks() -> tuple[Lock, ...]:
    found = []
    for name in sorted(throttle.locks()):
        try:
            state, info = throttle.lock_state(name), throttle.lock_info(name)
        except LockNotFound:
            continue  # it was stopped while we looked
        found.append(Lock(name, state.running, state.waiting, info.num_slots))
    return tuple(found)
