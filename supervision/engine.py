"""The side door for resprout's own rooms: what a supervisor of another kind is built from."""

from .placement.services import LOCKS, Link, ask_parent, likely, parents, service
from .supervisors.child_options import STARTING, read_options, spec_of_module
from .supervisors.client import SupervisorClient, aask, ask, blocks
from .supervisors.dynamic_server import DynamicSupervisorServer
from .supervisors.self_containment import above
from .supervisors.server import Origin
from .supervisors.starting import Failed, Started
from .supervisors.strategy import Siblings
from .supervisors.values import (
    Refused,
    TerminateChild,
    failed_start,
)

__all__ = [
    "LOCKS",
    "STARTING",
    "DynamicSupervisorServer",
    "Failed",
    "Link",
    "Origin",
    "Refused",
    "Siblings",
    "Started",
    "SupervisorClient",
    "TerminateChild",
    "aask",
    "above",
    "ask",
    "ask_parent",
    "blocks",
    "failed_start",
    "likely",
    "parents",
    "read_options",
    "service",
    "spec_of_module",
]
