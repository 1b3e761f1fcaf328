"""The side door for resprout's own rooms: what a supervisor of another kind is built from."""

from .placement.crossing import pack
from .placement.logs import look_away, look_on
from .placement.parent import LOCKS, REGISTRIES, Link, ask_parent, parents
from .placement.serial import Serial
from .supervisors.child_options import STARTING, read_options, spec_of_module
from .supervisors.children import Child
from .supervisors.client import SupervisorClient, aask, ask, blocks
from .supervisors.dynamic_server import DynamicSupervisorServer
from .supervisors.lineage import (
    Lineage,
    Step,
    Unready,
    lineage,
    rows_under,
    step_to,
    supervisor_of,
    tops,
    unready_under,
)
from .supervisors.self_containment import above
from .supervisors.server import Origin
from .supervisors.snapshot import children_of, row_under, siblings_of
from .supervisors.starting import Failed, Started
from .supervisors.strategy import Siblings
from .supervisors.values import (
    Refused,
    TerminateChild,
    failed_start,
)

__all__ = [
    "LOCKS",
    "REGISTRIES",
    "STARTING",
    "Child",
    "DynamicSupervisorServer",
    "Failed",
    "Lineage",
    "Link",
    "Origin",
    "Refused",
    "Serial",
    "Siblings",
    "Started",
    "Step",
    "SupervisorClient",
    "TerminateChild",
    "Unready",
    "aask",
    "above",
    "ask",
    "ask_parent",
    "blocks",
    "children_of",
    "failed_start",
    "lineage",
    "look_away",
    "look_on",
    "pack",
    "parents",
    "read_options",
    "row_under",
    "rows_under",
    "siblings_of",
    "spec_of_module",
    "step_to",
    "supervisor_of",
    "tops",
    "unready_under",
]
