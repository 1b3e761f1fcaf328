"""Every room is typed, by whichever name it is reached, and so is what a wheel has of it."""

from __future__ import annotations

import asyncio
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


async def forms(server: Pid) -> None:
    """Forms for coroutines."""
    assert_type(await actors.process.amonitor(server), actors.Down)
    assert_type(await supervision.Supervisor.awhich_children(server), list[supervision.ChildInfo])
    assert_type(await supervision.TaskSupervisor.aasync_(server, len, "x"), actors.Task)
    async with resprout.task_group(strategy="rest_for_one") as group:
        assert_type(await group.start_child(actors.Agent), Pid[Any, Any] | None)
        assert_type(group.create_task(asyncio.sleep(0, "done")), asyncio.Task[str])
        group.create_task(print)  # mistake: arg-type, reportArgumentType
        group.start_soon(print)  # mistake: arg-type, reportArgumentType
    resprout.task_group(strategy="some")  # mistake: arg-type, reportArgumentType
    async for each in actors.Task.astream([1], asyncio.sleep):
        str(each)
    actors.Task.astream([1], asyncio.sleep, on_timeout="stop")  # mistake: arg-type, reportArgumentType
    supervision.Supervisor.awhich_children(server)  # mistake: unused-coroutine, reportUnusedCoroutine
