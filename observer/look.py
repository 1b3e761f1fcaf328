"""Looks at a running tree without asking anybody anything, and makes a snapshot of it."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic

import attrs

from .. import registry, supervision, throttle
from ..actors import LockNotFound, NoProcess, Pid
from .display import start_text
from .job import Job, Progress
from .snapshot import Child, ChildKind, Lock, Snapshot, Starting, Stopping, stem, waited_for
from .tally import Tally, address_of

__all__ = ["Lookout", "children_of"]

logger = logging.getLogger("resprout.observer")

# The module of its class tells what the library supplies; everything else is somebody's worker. Few
# trees have engines, so their package is not loaded for its name.
_KINDS: dict[str, ChildKind] = {
    throttle.__name__: "lock",
    registry.__name__: "registry",
    f"{__name__.partition('.')[0]}.cluster": "engine",
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
        starting: Gives the children whose start the tree waits for.
    """

    def __init__(
        self,
        name: str,
        root: Callable[[], Pid | None],
        job: Job | None,
        tally: Tally,
        signals: Callable[[], list[str]] = list,
        starting: Callable[[], list[supervision.StartingChild]] = list,
    ) -> None:
        self._name = name
        self._root = root
        self._job = job
        self._tally = tally
        self._signals = signals
        self._starting = starting
        self._seen_starting: dict[tuple[object, ...], float] = {}
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
        starting = self._starts()
        stopping = self._stopping(snapshot.children, starting)
        return attrs.evolve(snapshot, locks=_locks(), stopping=stopping, starting=starting)

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

    def _starts(self) -> tuple[Starting, ...]:
        """What is being started, and since when, as far as was seen."""
        now, seen = monotonic(), self._seen_starting
        found = self._starting()
        self._seen_starting = {child.path: seen.get(child.path, now) for child in found}
        starts = [
            Starting(
                "/".join(map(str, child.path)),
                now - self._seen_starting[child.path],
                _is_plain_function(child.start),
            )
            for child in found
        ]
        return tuple(sorted(starts, key=lambda start: -start.seconds))

    def _stopping(self, children: tuple[Child, ...], starting: tuple[Starting, ...]) -> Stopping | None:
        signals = self._signals()
        if signals and self._signalled is None:
            self._signalled = monotonic()
        since = self._tally.ending_since or self._signalled
        if since is None:
            return None
        if self._tally.ending:
            whom = tuple(child.label for child in waited_for(children)) or ("its root",)
        else:
            whom = tuple(start_text(start) for start in starting) or ("its start",)
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
                address=None if gone else address_of(child.pid),
                by_mistake=child.ignored and _is_plain_function(child.start),
                place=there,
            )
        )
    return tuple(children)


def _is_plain_function(start: object) -> bool:
    """Whether a start is a function of a program's module: no method of a class, and none of the library."""
    if not inspect.isfunction(start) or start.__module__.partition(".")[0] == "resprout":
        return False
    return "." not in start.__qualname__.rpartition("<locals>.")[2]


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
