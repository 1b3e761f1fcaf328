"""Carries the difference between two readings of a tree file out, in the tree that runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs

from ...actors import Crash, Killed, NotFound, Pid, sys, telemetry
from ...actors.engine import in_words
from ..supervisors.children import Child, new_child
from ..supervisors.snapshot import siblings_of
from ..supervisors.supervisor import Supervisor
from .difference import Difference, Step

logger: Final = logging.getLogger("resprout.application")
RELOADING: Final = ("resprout", "application", "reloading")
RELOADED: Final = ("resprout", "application", "reloaded")
_ANSWER: Final = 60.0
"""Seconds that a supervisor, which may be starting a child, has to take a new spec."""


@attrs.frozen
class Reloaded:
    """What a reload has done, or would do: children by their paths (`services/api`).

    Attributes:
        stopped: Those that are gone from the file.
        restarted: Those that have changed.
        started: Those that are new.
        failed: Those with which that went wrong, each with the reason.
    """

    stopped: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


_DONE: Final = {"stop": "stopped", "restart": "restarted", "start": "started"}


class _Tally:
    """Puts together what was done."""

    def __init__(self) -> None:
        self.done: dict[str, list[str]] = {name: [] for name in _DONE.values()}
        self.failed: list[tuple[str, str]] = []

    def note(self, step: Step) -> None:
        """A step was taken."""
        if step.action in _DONE:
            self.done[_DONE[step.action]].append(_label(step))

    def sum(self) -> Reloaded:
        """All of it."""
        stopped, restarted, started = (tuple(self.done[name]) for name in _DONE.values())
        return Reloaded(stopped, restarted, started, tuple(self.failed))


@contextmanager
def told_of(application: object) -> Iterator[None]:
    """Tells of a reload before and after it, however that ends."""
    telemetry.emit(RELOADING, {}, {"application": application})
    try:
        yield
    finally:
        telemetry.emit(RELOADED, {}, {"application": application})


def planned(change: Difference) -> Reloaded:
    """What carrying a difference out would do."""
    tally = _Tally()
    for step in change.steps:
        tally.note(step)
    return tally.sum()


def carry_out(root: Pid, change: Difference) -> Reloaded:
    """Takes the steps, one after the other; one that fails does not keep the others from being taken."""
    tally = _Tally()
    for step in change.steps:
        try:
            supervisor = _supervisor(root, step)
            if supervisor is None:
                # Somebody has terminated it: nothing below it runs, and it starts what the file says now.
                _close(step)
                continue
            _take(step, supervisor)
        except Killed:
            raise
        except Exception as error:
            why = in_words(Crash(error))
            logger.error("reload: %s of %s failed: %s", step.action, _label(step), why)
            tally.failed.append((_label(step), why))
        else:
            tally.note(step)
    return tally.sum()


def _label(step: Step) -> str:
    return "/".join(map(str, step.path))


def _supervisor(root: Pid, step: Step) -> Pid | None:
    """The supervisor of the child of a step; None while that, or one above it, does not run."""
    found = root
    for id in step.above:
        siblings = siblings_of(found)
        row = None if siblings is None else siblings.table.get(id)
        if row is None or row.pid is None:
            return None
        found = row.pid
    return found


def _row(supervisor: Pid, id: Any) -> Child | None:
    siblings = siblings_of(supervisor)
    return None if siblings is None else siblings.table.get(id)


def _take(step: Step, supervisor: Pid) -> None:
    spec = step.spec
    match step.action:
        case "start":
            # Listed first, so that one that does not start is down, as any other, and can be started later.
            _list(supervisor, spec)
            Supervisor.restart_child(supervisor, spec.id)
        case "rewrite":
            _rewrite(supervisor, spec)
        case "stop":
            _stop(supervisor, spec.id)
            if _row(supervisor, spec.id) is not None:
                Supervisor.delete_child(supervisor, spec.id)
            _close(step)
        case "restart":
            _stop(supervisor, spec.id)
            _close(step)
            if _row(supervisor, spec.id) is None:
                _list(supervisor, spec)
            else:
                # In its place, so that the order of starts stays.
                _rewrite(supervisor, spec)
            Supervisor.restart_child(supervisor, spec.id)


def _stop(supervisor: Pid, id: Any) -> None:
    if _row(supervisor, id) is not None:
        Supervisor.terminate_child(supervisor, id)


def _close(step: Step) -> None:
    """Gives back what outlives the process of a child, such as its listening socket."""
    for close in step.close:
        close()


def _list(supervisor: Pid, spec: Any) -> None:
    """Has a supervisor have a child, which does not run yet."""

    def add(siblings: Any) -> Any:
        if siblings.table.get(spec.id) is None:
            siblings.add(spec.id, spec)
        return siblings

    sys.replace_state(supervisor, add, timeout=_ANSWER)


def _rewrite(supervisor: Pid, spec: Any) -> None:
    """Has a supervisor start a child by another spec from now on."""

    def rewrite(siblings: Any) -> Any:
        row = siblings.table.get(spec.id)
        if row is None:
            raise NotFound(f"supervisor {supervisor} has no child {spec.id!r}")
        row.spec = spec
        row.window = new_child(row.key, spec).window
        return siblings

    # In the supervisor's own process, the only one that may change its children.
    sys.replace_state(supervisor, rewrite, timeout=_ANSWER)
