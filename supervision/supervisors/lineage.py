"""Where a process stands in its tree, and who in a tree is not at work; asks nobody, and waits for nobody.

For what watches a program from outside: metrics, log records and readiness speak of a child by the ids that
lead to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import attrs

from ...actors import Pid, is_orderly, process
from .children import Child
from .server import SupervisorServer

Trouble: TypeAlias = Literal["waiting", "starting", "restarting", "backing_off", "down", "stopping"]


@attrs.frozen
class Step:
    """One step down a tree.

    Attributes:
        id: The id of the child.
        listed: Whether its supervisor keeps it by that id. Under a dynamic supervisor ids may be the same,
            and there may be any number of children.
    """

    id: Any
    listed: bool


@attrs.frozen
class Lineage:
    """The way down to a process.

    Attributes:
        top: The supervisor at the top of its tree; None if no supervisor is above it.
        steps: From there to the process, or to the child that it works for.
    """

    top: Pid | None
    steps: tuple[Step, ...] = ()


@attrs.frozen
class Unready:
    """A child that is not at work although it should be.

    Attributes:
        steps: The way down to it from the top of its tree; empty for the top itself.
        state: `"waiting"`: those in front of it have not started yet; `"starting"`; `"restarting"`;
            `"backing_off"`: it waits before its restart; `"down"`: nothing is going to start it by itself;
            `"stopping"`.
    """

    steps: tuple[Step, ...]
    state: Trouble


def supervisor_of(pid: Pid) -> SupervisorServer | None:
    """The server of a supervisor that has begun to be one; None for any other process, and for the dead."""
    actor = pid.actor
    return actor if isinstance(actor, SupervisorServer) and hasattr(actor, "siblings") else None


def lineage(pid: Pid) -> Lineage:
    """Where a process stands: as a child, or as somebody whom a child has started."""
    top = pid if supervisor_of(pid) is not None else None
    steps: list[Step] = []
    while (parent := pid.parent) is not None:
        server = supervisor_of(parent)
        if server is not None:
            child = server.siblings.table.by_pid(pid) or server.begins
            if child is not None:
                steps.append(Step(child.spec.id, server.siblings.keeps))
            top = parent
        pid = parent
    return Lineage(top, tuple(reversed(steps)))


def tops() -> list[Pid]:
    """The supervisors above which there is none, oldest first."""
    return [
        pid for pid in process.processes() if supervisor_of(pid) is not None and not _is_below_another(pid)
    ]


def _is_below_another(pid: Pid) -> bool:
    above = pid.parent
    while above is not None:
        if supervisor_of(above) is not None:
            return True
        above = above.parent
    return False


def rows_under(top: Pid) -> Iterator[tuple[tuple[Step, ...], Child, SupervisorServer]]:
    """Every child below a supervisor: how one comes down to its supervisor, itself, and that one; parents
    first.
    """
    todo: list[tuple[tuple[Step, ...], Pid]] = [((), top)]
    while todo:
        above, pid = todo.pop()
        server = supervisor_of(pid)
        if server is None:
            continue
        below: list[tuple[tuple[Step, ...], Pid]] = []
        for child in server.siblings.table.snapshot():
            yield above, child, server
            inner = child.pid
            if child.spec.type == "supervisor" and inner is not None:
                below.append(((*above, step_to(child, server)), inner))
        todo += reversed(below)


def step_to(child: Child, server: SupervisorServer) -> Step:
    """The step from a supervisor down to its child."""
    return Step(child.spec.id, server.siblings.keeps)


def unready_under(top: Pid) -> list[Unready]:
    """Who of a tree is not at work although it should be; of a supervisor that starts, those that wait, too.

    A child that has ended in order and is not to be started again is through with its work, and one whose
    start has said that there is to be no process is wanted no more.
    """
    server = supervisor_of(top)
    if server is not None and server.ending:
        return [Unready((), "stopping")]
    found = [Unready((), "starting")] if _comes_up(top) else []
    begun: SupervisorServer | None = None
    """A supervisor in its init, once the child that it waits for has been seen."""
    for above, child, of in rows_under(top):
        state = _trouble(child)
        if child is of.begins:
            state = "starting" if child.last is None else "restarting"
            begun = of if _comes_up(of.pid) else None
        elif of is begun and child.last is None:
            state = "waiting"
        if state is not None:
            found.append(Unready((*above, step_to(child, of)), state))
    return found


def _comes_up(pid: Pid) -> bool:
    """Whether its init has not returned yet, in which a supervisor starts its children."""
    return getattr(pid, "starter", None) is not None


def _trouble(child: Child) -> Trouble | None:
    pid, state, last = child.pid, child.state, child.last
    if state == "running" and pid is not None:
        if pid.alive:
            server = supervisor_of(pid)
            return "stopping" if server is not None and server.ending else None
        # Its supervisor has not heard of it yet.
        return None if _is_done(child, pid) else "restarting"
    if state == "restarting" or state == "backing_off":
        return state
    if last is None:
        return None
    return None if _is_done(child, last) else "down"


def _is_done(child: Child, last: Pid) -> bool:
    restart = child.spec.restart
    return restart == "temporary" or (restart == "transient" and is_orderly(last.exit_reason))
