"""A snapshot of a whole tree, taken without asking anybody.

Supervisors that are busy starting a slow child answer no calls, so a snapshot reads the child tables that
they publish. Each row is as it was at one moment; the rows of different supervisors may be some microseconds
apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import attrs

from ...actors import ChildType, Pid, RestartType, process
from ...actors.engine import check_alive, kernel, nobody
from .children import Child
from .server import SupervisorServer
from .strategy import Siblings

NodeState: TypeAlias = Literal["running", "restarting", "backing_off", "down"]


@attrs.frozen
class TreeNode:
    """One child (or the root) with everything under it.

    Attributes:
        id: The id of its spec; for the root its name, if it has one.
        type: `"worker"` or `"supervisor"`.
        state: `"running"`, `"restarting"`, `"backing_off"` or `"down"`.
        pid: Its process, if it runs.
        name: The name of that process, if it has one.
        module: The class that it runs, as far as that is known.
        restarts: How often its supervisor has started it again.
        uptime: Seconds since its supervisor started this incarnation; None if it does not run, and for the
            root.
        mailbox_length: How many messages wait for it.
        strategy: The strategy, if it is a supervisor that runs.
        children: In start order.
        restart: The restart type of its spec; None for the root.
        number: Under a dynamic supervisor what tells it from its siblings, whose ids may be the same; a
            restart leaves it. None under any other.
        start: The start function of its spec; None for the root.
        ignored: Whether its start has said that there is to be no process, and there never was one.
    """

    id: Any
    type: ChildType
    state: NodeState
    pid: Pid | None
    name: Any = None
    module: str = ""
    restarts: int = 0
    uptime: float | None = None
    mailbox_length: int = 0
    strategy: str | None = None
    children: tuple[TreeNode, ...] = ()
    restart: RestartType | None = None
    number: Any = None
    start: Callable[..., Any] | None = attrs.field(default=None, repr=False)
    ignored: bool = False

    def walk(self) -> Iterator[TreeNode]:
        """This node and all under it, parents first, in start order."""
        yield self
        for child in self.children:
            yield from child.walk()


@attrs.frozen
class StartingChild:
    """A child whose supervisor waits this moment for its start to come to an end.

    Attributes:
        path: The ids from the top of the tree down to it.
        start: The start function of its spec.
    """

    path: tuple[Any, ...]
    start: Callable[..., Any]


def starting_under(top: Pid) -> list[StartingChild]:
    """The children below a process that are being started now, without the supervisors above them.

    It looks at every process there is, so it is for trees that have not come up yet. It asks nobody.
    """
    found: dict[tuple[Any, ...], StartingChild] = {}
    for pid in process.processes():
        child = getattr(_server(pid), "begins", None)
        path = None if child is None else _path_below(top, pid)
        if child is not None and path is not None:
            path = (*path, child.spec.id)
            found[path] = StartingChild(path, child.spec.start[0])
    above = {path[:length] for path in found for length in range(len(path))}
    return [child for path, child in found.items() if path not in above]


def _path_below(top: Pid, pid: Pid) -> tuple[Any, ...] | None:
    """The ids down to a supervisor; None if it is not below that process."""
    path: tuple[Any, ...] = ()
    while pid is not top:
        parent = pid.parent
        if parent is None:
            return None
        server = _server(parent)
        siblings = getattr(server, "siblings", None)
        if server is not None and siblings is not None:
            child = siblings.table.by_pid(pid) or server.begins
            path = (*(() if child is None else (child.spec.id,)), *path)
        pid = parent
    return path


def siblings_of(pid: Pid) -> Siblings | None:
    """What a supervisor knows of its children, to be read; None for any other process. Asks nobody."""
    return getattr(_server(pid), "siblings", None)


def row_under(supervisor: Pid, pid: Pid) -> Child | None:
    """The row of a supervisor's child, be it that it has not started yet; None if it is none. Asks nobody."""
    server = _server(supervisor)
    siblings = siblings_of(supervisor)
    if server is None or siblings is None:
        return None
    return siblings.table.by_pid(pid) or server.begins


def children_of(pid: Pid) -> list[Child]:
    """The rows of a supervisor's table, in start order; nothing for any other process. Asks nobody."""
    siblings = siblings_of(pid)
    return [] if siblings is None else siblings.table.snapshot()


def tree(supervisor: Any) -> TreeNode:
    """A snapshot of a tree.

    Args:
        supervisor: The Pid or name of the supervisor at its top.

    Returns:
        The node of that supervisor. It never waits for a supervisor, however busy that is.

    Raises:
        NoProcess: There is no such process.
    """
    check_alive()
    pid = supervisor if isinstance(supervisor, Pid) else process.whereis(supervisor)
    if pid is None or not pid.alive:
        raise nobody(supervisor)
    kind: ChildType = "supervisor" if _server(pid) is not None else "worker"
    return _node(pid.name, kind, pid, 0, None, kernel.clock.now())


def _server(pid: Pid) -> SupervisorServer | None:
    # The Pid of a dead process has no actor any more; whoever reads it may come just before or after that.
    actor = pid.actor
    return actor if isinstance(actor, SupervisorServer) else None


def _node(id: Any, kind: ChildType, pid: Pid, restarts: int, uptime: float | None, now: float) -> TreeNode:
    """The node of a process that runs."""
    server = _server(pid)
    module, strategy = type(pid.actor).__name__, None
    children: tuple[TreeNode, ...] = ()
    siblings = getattr(server, "siblings", None)
    if siblings is not None:
        strategy = siblings.strategy
        begins = None if server is None else server.begins
        children = tuple(_row(child, now, siblings.keeps, begins) for child in siblings.table.snapshot())
    return TreeNode(
        id,
        kind,
        "running",
        pid,
        pid.name,
        module,
        restarts,
        uptime,
        pid.mailbox_length(),
        strategy,
        children,
    )


def _row(child: Child, now: float, keeps: bool, begins: Child | None) -> TreeNode:
    """The node of a row. The supervisor may change it meanwhile, so each field is read once."""
    spec, pid, state = child.spec, child.pid, child.state
    if state != "running" or pid is None:
        node = TreeNode(
            spec.id, spec.type, "down" if state == "running" else state, None, restarts=child.restarts
        )
    else:
        node = _node(spec.id, spec.type, pid, child.restarts, max(0.0, now - child.started_at), now)
    return attrs.evolve(
        node,
        restart=spec.restart,
        number=None if keeps else child.key,
        start=spec.start[0],
        ignored=node.state == "down" and child.last is None and child is not begins,
    )
