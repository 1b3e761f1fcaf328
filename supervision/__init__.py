"""Supervision: child specs, supervisors, and the application that a YAML tree describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import (
    BRUTAL_KILL,
    INFINITY,
    UNDEFINED,
    Backoff,
    BadCombination,
    ChildSpec,
    DuplicateChild,
    SpecError,
    child_spec,
)
from .readying import ready
from .supervisors.dynamic_supervisor import DynamicSupervisor
from .supervisors.events import (
    ChildExited,
    ChildRestarting,
    ChildStarted,
    GaveUp,
    ShuttingDown,
    SupervisorEvent,
    WouldNotStop,
)
from .supervisors.options import DynamicSpec, SupervisorSpec
from .supervisors.partition_supervisor import PartitionSupervisor
from .supervisors.quiescence import NotQuiet, quiesce
from .supervisors.readiness import NotReady
from .supervisors.snapshot import StartingChild, TreeNode, tree
from .supervisors.supervisor import Supervisor
from .supervisors.task_group import TaskGroup, task_group
from .supervisors.task_supervisor import TaskSupervisor
from .supervisors.values import ChildInfo, Counts, FailedToStartChild, Restarting
from .trees.limits import Limits
from .trees.mistakes import InvalidTree

if TYPE_CHECKING:
    from .trees.application import STOP_SIGNALS, Application
    from .trees.kinds import Common
    from .trees.lifespan import lifespan, server
    from .trees.schema import tree_schema

__all__ = [
    "BRUTAL_KILL",
    "INFINITY",
    "STOP_SIGNALS",
    "UNDEFINED",
    "Application",
    "Backoff",
    "BadCombination",
    "ChildExited",
    "ChildInfo",
    "ChildRestarting",
    "ChildSpec",
    "ChildStarted",
    "Common",
    "Counts",
    "DuplicateChild",
    "DynamicSpec",
    "DynamicSupervisor",
    "FailedToStartChild",
    "GaveUp",
    "InvalidTree",
    "Limits",
    "NotQuiet",
    "NotReady",
    "PartitionSupervisor",
    "Restarting",
    "ShuttingDown",
    "SpecError",
    "StartingChild",
    "Supervisor",
    "SupervisorEvent",
    "SupervisorSpec",
    "TaskGroup",
    "TaskSupervisor",
    "TreeNode",
    "WouldNotStop",
    "child_spec",
    "lifespan",
    "quiesce",
    "ready",
    "server",
    "task_group",
    "tree",
    "tree_schema",
]

# What reads tree files stands on PyYAML, cattrs and importlib.metadata, and is loaded when it is first used.
_LATER = {
    "Application": "trees.application",
    "STOP_SIGNALS": "trees.application",
    "Common": "trees.kinds",
    "lifespan": "trees.lifespan",
    "server": "trees.lifespan",
    "tree_schema": "trees.schema",
}

if not TYPE_CHECKING:  # a type checker would take any name at all for one of ours

    def __getattr__(name: str) -> object:
        """Load the module that a name comes from; the next use of the name finds it here."""
        home = _LATER.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
