"""The side door for resprout's own rooms: what a supervisor of another kind is built from."""

from .supervisors.child_options import STARTING, read_options, spec_of_module
from .supervisors.dynamic_server import DynamicSupervisorServer
from .supervisors.self_containment import above
from .supervisors.server import Origin
from .supervisors.starting import Failed, Started
from .supervisors.strategy import Siblings
from .supervisors.supervisor import ask
from .supervisors.values import (
    CountChildren,
    Refused,
    TerminateChild,
    WhichChildren,
)

__all__ = [
    "STARTING",
    "CountChildren",
    "DynamicSupervisorServer",
    "Failed",
    "Origin",
    "Refused",
    "Siblings",
    "Started",
    "TerminateChild",
    "WhichChildren",
    "above",
    "ask",
    "read_options",
    "spec_of_module",
]
