"""What children are called in metrics: the ids that lead to them, with no more names than a tree file has.

A dynamic supervisor may have any number of children, and each name is a series that is kept for long, so all
of one supervisor are one: `orders/*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..actors import Pid
from ..supervision.engine import Step, lineage, supervisor_of
from .catalogue import Labels


def path_of(top: Pid | None, steps: Iterable[Step]) -> str:
    """The ids from the top of a tree down to a child, each as it is, the name of the top in front if it has
    one.
    """
    return _joined(top, [str(step.id) for step in steps])


def path_label(top: Pid | None, steps: Iterable[Step]) -> str:
    """The same, where all children of a dynamic supervisor are one."""
    return _joined(top, [str(step.id) if step.listed else "*" for step in steps])


def _joined(top: Pid | None, ids: list[str]) -> str:
    name = None if top is None else top.name
    return "/".join(ids if name is None else [str(name), *ids])


def child_of(supervisor: Pid, id: Any) -> Labels:
    """The labels of a child of a supervisor, whether it is listed there now or not."""
    found = lineage(supervisor)
    server = supervisor_of(supervisor)
    listed = server is None or server.siblings.keeps
    return (path_label(found.top, (*found.steps, Step(id, listed))),)


def label_of(pid: Pid) -> str:
    """What a process is called that may be no child: its name, or the child it works for, or its kind."""
    if isinstance(pid.name, str):
        return pid.name
    found = lineage(pid)
    return path_label(found.top, found.steps) or type(pid.actor).__name__
