"""Supervision: child specs, supervisors, and the application that a YAML tree describes."""

from __future__ import annotations

from .application import STOP_SIGNALS, Application
from .child_spec import (
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
from .dynamic_supervisor import DynamicSupervisor
from .events import (
    ChildExited,
    ChildRestarting,
    ChildStarted,
    GaveUp,
    ShuttingDown,
    SupervisorEvent,
    WouldNotStop,
)
from .kinds import Common
from .limits import Limits
from .mistakes import InvalidTree
from .options import DynamicSpec, SupervisorSpec
from .partition_supervisor import PartitionSupervisor
from .quiesce import NotQuiet, quiesce
from .readiness import NotReady, ready
from .supervisor import Supervisor
from .task_supervisor import TaskSupervisor
from .tree import TreeNode, tree
from .values import ChildInfo, Counts, FailedToStartChild, Restarting

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
    "Supervisor",
    "SupervisorEvent",
    "SupervisorSpec",
    "TaskSupervisor",
    "TreeNode",
    "WouldNotStop",
    "child_spec",
    "quiesce",
    "ready",
    "tree",
]
