"""Every room is typed, by whichever name it is reached, and so is what a wheel has of it."""

from __future__ import annotations

from typing import Any

from typing_extensions import assert_type

import resprout
from resprout import actors, registry, supervision, testing, throttle
from resprout.actors import Pid
from resprout.observer import Job, Progress
from resprout.registry import Registry, Via
from resprout.supervision import ChildSpec, Limits
from resprout.testing import ManualClock
from resprout.throttle import LockState


class Story:
    """A job; see docs/command_line.md."""

    def progress(self) -> Progress:
        return Progress(1, 2, "pages")

    def report(self) -> dict[str, Any]:
        return {}

    def summary(self) -> str:
        return "done"


def rooms(clock: ManualClock, job: Job) -> None:
    assert_type(actors.process.current(), Pid[Any, Any])
    assert_type(registry.Registry.whereis("syncs", 42), Pid[Any, Any] | None)
    assert_type(Registry.count("syncs"), int)
    assert_type(throttle.lock_state("reports"), LockState)
    assert_type(resprout.throttle.locks(), list[str])
    assert_type(supervision.Limits(values=1), Limits)
    assert_type(job.progress(), Progress)
    told: Job = Story()
    str(told.total)  # mistake: attr-defined, reportAttributeAccessIssue
    clock.advance("1 s")  # mistake: arg-type, reportArgumentType
    testing.quiesce(timeout="soon")  # mistake: arg-type, reportArgumentType
    supervision.Limits(value=1)  # mistake: call-arg, reportCallIssue
    ChildSpec(7)  # mistake: call-arg, reportCallIssue
    Via("syncs")  # mistake: call-arg, reportCallIssue
    actors.process.alive("a", "b")  # mistake: call-arg, reportCallIssue
    registry.Registry.lookup("syncs")  # mistake: call-arg, reportCallIssue
    throttle.lock_state(3)  # mistake: arg-type, reportArgumentType
    Progress("all")  # mistake: call-arg, reportCallIssue
