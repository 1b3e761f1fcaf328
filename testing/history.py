"""What has happened to processes that are dead now: whose places they had, and who came after them.

A dead process does not know any more which child it was. So whoever crashes one notes it before, and while a
region is open, everything is noted as it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..actors import CrashReport, NoProcess, Pid, telemetry
from ..actors.engine import check_alive
from ..supervision import tree

CRASHED = ("resprout", "process", "crashed")
EXITED = ("resprout", "process", "exited")
SUPERVISOR = ("resprout", "supervisor")
CHILD_EXITED = (*SUPERVISOR, "child_exited")
CHILD_STARTED = (*SUPERVISOR, "child_started")
KEPT = 1000
"""So many of the dead are remembered outside of regions."""


@attrs.frozen
class Place:
    """Where a child is in its supervisor's table."""

    supervisor: Pid
    id: Any
    number: Any = None

    def holder(self) -> Pid | None:
        """Who has it now, if that one runs."""
        if not self.supervisor.alive:
            return None
        try:
            rows = tree(self.supervisor).children
        except NoProcess:
            return None
        for row in rows:
            if row.id == self.id and row.number == self.number:
                return row.pid if row.state == "running" and row.pid is not None and row.pid.alive else None
        return None


class History:
    """Notes of the dead. One for each region, and one for what is outside of all."""

    def __init__(self) -> None:
        self.places: dict[int, Place] = {}
        self.dead: dict[str, Pid] = {}
        """The last process that died with a name."""
        self.crashes: list[CrashReport] = []

    def note(self, pid: Pid) -> None:
        """Note what a process is that is about to die."""
        place = place_of(pid)
        if place is not None:
            self.places[pid.id] = place
            while len(self.places) > KEPT:
                self.places.pop(next(iter(self.places)))
        if isinstance(pid.name, str):
            self.dead[pid.name] = pid

    def listen(self) -> None:
        """Note everything from now on."""
        for prefix in (CRASHED, EXITED, SUPERVISOR):
            telemetry.attach((self, prefix), prefix, self._hear)

    def close(self) -> None:
        """Note nothing more."""
        for prefix in (CRASHED, EXITED, SUPERVISOR):
            telemetry.detach((self, prefix))

    def _hear(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], about: Mapping[str, Any]
    ) -> None:
        if event == CRASHED:
            self.crashes.append(about["report"])
        elif event == EXITED:
            if isinstance(about["name"], str):
                self.dead[about["name"]] = about["pid"]
        elif event == CHILD_STARTED:
            child = about["event"]
            place = place_of(child.pid, child.supervisor)
            self.places[child.pid.id] = place or Place(child.supervisor, child.id)


def place_of(pid: Pid, supervisor: Pid | None = None) -> Place | None:
    """The place of a child that runs; None for a process that is nobody's child."""
    above = supervisor or pid.parent
    if above is None or not above.alive:
        return None
    try:
        rows = tree(above).children
    except NoProcess:
        return None
    for row in rows:
        if row.pid is pid:
            return Place(above, row.id, row.number)
    return None


def is_child(pid: Pid) -> bool:
    """Whether a process was started by a supervisor."""
    return pid.parent is not None and hasattr(pid.parent.actor, "siblings")


histories: list[History] = [History()]
"""The innermost open region's last; the first is of no region."""


def place(pid: Pid) -> Place | None:
    """The place that a process has, or had."""
    check_alive()
    found = place_of(pid)
    if found is not None:
        return found
    return next((each.places[pid.id] for each in reversed(histories) if pid.id in each.places), None)


def last_dead(name: str) -> Pid | None:
    """The last process that is known to have died with a name."""
    dead = [each.dead[name] for each in histories if name in each.dead]
    return max(dead, default=None)
