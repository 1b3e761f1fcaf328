"""The side door for what watches stages: how each of them is doing, read without asking it."""

from __future__ import annotations

import attrs

from ..actors import Pid, process
from ..actors.engine import check_alive, dead_but_running
from .outside import StageKind
from .running import DISCARDED, Running

__all__ = ["DISCARDED", "StageStatistics", "stages"]


@attrs.frozen
class StageStatistics:
    """One stage, as it was at some moment of the look.

    Attributes:
        pid, kind: Who.
        buffered: Events that it keeps for consumers that have not asked for them yet.
        demand: Events that it was asked for, by its consumers or by itself of its own callback, and that have
            not come.
    """

    pid: Pid
    kind: StageKind
    buffered: int
    demand: int


def stages() -> list[StageStatistics]:
    """Every stage that runs, oldest first."""
    if dead_but_running:
        check_alive()
    found = []
    for pid in process.processes():
        actor = pid.actor
        core = getattr(actor, "_core", None) if isinstance(actor, Running) else None
        if core is not None:
            found.append(StageStatistics(pid, core.kind, core.buffer.size, core.requested))
    return found
