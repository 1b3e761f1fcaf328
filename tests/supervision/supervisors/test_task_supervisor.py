from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import MaxChildren, NotFound, Pid, ServerExit, Task, TaskExit, process
from resprout.actors.tasks.spawned import CoroutinePid, SpawnedPid
from resprout.supervision import DynamicSupervisor, Supervisor, TaskSupervisor, quiesce

from ...waiting import down_of, until


@pytest.fixture
def supervisor() -> Iterator[Pid]:
    pid = TaskSupervisor.start_link(name="tasks")
    yield pid
    TaskSupervisor.stop(pid)


def fail(*args: Any) -> None:
    raise RuntimeError("task")


def test_the_result_of_a_task_comes_to_its_owner(supervisor: Pid) -> None:
    task = TaskSupervisor.async_("tasks", lambda a, b: a + b, 1, 2)
    assert Task.await_(task) == 3
    quiesce()
    assert TaskSupervisor.children("tasks") == []


def test_tasks_are_children_while_they_run(supervisor: Pid) -> None:
    gate = threading.Event()
    task = TaskSupervisor.async_nolink(supervisor, gate.wait, 30)
    assert TaskSupervisor.children(supervisor) == [task.pid]
    gate.set()
    assert Task.await_(task) is True


def test_the_crash_of_a_task_without_link_is_seen_when_it_is_awaited(supervisor: Pid) -> None:
    task = TaskSupervisor.async_nolink(supervisor, fail)
    with pytest.raises(ServerExit, match="task"):
        Task.await_(task)
    assert supervisor.alive


def test_the_crash_of_a_linked_task_takes_its_owner_along(supervisor: Pid) -> None:
    gate = threading.Event()

    def owner() -> None:
        TaskSupervisor.async_(supervisor, fail)
        gate.wait(30)
        process.receive(timeout=10)

    pid, ref = process.spawn_monitor(owner)
    reason = down_of(ref).reason
    assert "task" in repr(reason)
    assert not pid.alive
    gate.set()


def test_tasks_end_with_their_supervisor() -> None:
    supervisor = TaskSupervisor.start_link()
    task = TaskSupervisor.async_nolink(supervisor, process.sleep, 30)
    TaskSupervisor.stop(supervisor)
    with pytest.raises(ServerExit, match="shutdown"):
        Task.await_(task)


def test_start_child_restarts_if_told_to(supervisor: Pid) -> None:
    outcomes: Iterator[Any] = iter([RuntimeError("once"), None])
    done = threading.Event()

    def flaky() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        done.set()

    TaskSupervisor.start_child(supervisor, flaky, restart="transient")
    assert done.wait(10)


def test_there_may_be_a_limit() -> None:
    supervisor = TaskSupervisor.start_link(max_children=1)
    pid = TaskSupervisor.start_child(supervisor, process.sleep, 30)
    with pytest.raises(MaxChildren):
        TaskSupervisor.async_(supervisor, fail)
    assert pid is not None
    TaskSupervisor.terminate_child(supervisor, pid)
    with pytest.raises(NotFound):
        TaskSupervisor.terminate_child(supervisor, pid)
    TaskSupervisor.stop(supervisor)


def test_a_stream_keeps_the_order(supervisor: Pid) -> None:
    stream = TaskSupervisor.async_stream(supervisor, range(20), lambda n: n * n, max_concurrency=4)
    assert list(stream) == [n * n for n in range(20)]


def test_a_stream_without_links_goes_on_after_a_crash(supervisor: Pid) -> None:
    def picky(n: int) -> int:
        if n == 1:
            raise RuntimeError("one")
        return n

    results = list(TaskSupervisor.async_stream_nolink(supervisor, range(3), picky))
    assert (results[0], results[2]) == (0, 2)
    assert isinstance(results[1], TaskExit)


def test_it_is_a_child_of_a_supervisor() -> None:
    top = Supervisor.start_link([(TaskSupervisor, "tasks")])
    assert Task.await_(TaskSupervisor.async_("tasks", lambda: 42)) == 42
    Supervisor.stop(top)


def test_a_task_is_killed_when_its_shutdown_time_is_over(supervisor: Pid) -> None:
    def stubborn() -> None:
        process.trap_exit()
        ready.set()
        process.receive(lambda message: False)

    ready = threading.Event()
    task = TaskSupervisor.async_nolink(supervisor, stubborn, shutdown=0.01)
    assert ready.wait(10)
    assert task.pid is not None
    TaskSupervisor.terminate_child(supervisor, task.pid)
    with pytest.raises(ServerExit, match="killed"):
        Task.await_(task)
    ready.clear()
    pid = TaskSupervisor.start_child(supervisor, stubborn, shutdown=0.01)
    assert pid is not None
    assert ready.wait(10)
    TaskSupervisor.terminate_child(supervisor, pid)
    assert not process.alive(pid)


@pytest.mark.parametrize("stream", [TaskSupervisor.async_stream, TaskSupervisor.async_stream_nolink])
def test_the_tasks_of_a_stream_have_the_shutdown_time_that_it_says(supervisor: Pid, stream: Any) -> None:
    found = stream(
        supervisor, [1], lambda n: DynamicSupervisor.get_child_spec(supervisor, process.current()), shutdown=7
    )
    assert next(found).shutdown == 7.0
    found.close()


def test_a_nolink_stream_tells_which_item_failed(supervisor: Pid) -> None:
    found = TaskSupervisor.async_stream_nolink(supervisor, [1, 2], process.exit, zip_input_on_exit=True)
    assert list(found) == [TaskExit((1, 1)), TaskExit((2, 2))]


def test_a_task_works_for_who_asked_for_it_not_for_the_supervisor(supervisor: Pid) -> None:
    task = TaskSupervisor.async_nolink(supervisor, process.callers)
    assert Task.await_(task) == (process.current(),)
    told: list[object] = []
    done = threading.Event()
    TaskSupervisor.start_child(supervisor, lambda: told.append(process.callers()) or done.set())
    assert done.wait(10)
    assert told == [(process.current(),)]


@pytest.mark.parametrize("nolink", [True, False])
@pytest.mark.parametrize("kind", ["coroutine", "function"])
def test_a_task_that_crashes_at_once_is_reported_by_that_and_not_as_a_process_that_never_was(
    nolink: bool, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its supervisor has come to link it: here that waits until the task is dead."""
    for way in (CoroutinePid, SpawnedPid):
        begin = way.begin

        def begin_and_end(self: Any, begin: Any = begin) -> None:
            begin(self)
            until(lambda: self.left)

        monkeypatch.setattr(way, "begin", begin_and_end)

    def crashes() -> None:
        raise ValueError("at once")

    async def crashes_in_a_loop() -> None:
        crashes()

    async def main() -> None:
        process.trap_exit(True)
        supervisor = await TaskSupervisor.astart_link()
        start = TaskSupervisor.aasync_nolink if nolink else TaskSupervisor.aasync_
        task = await start(supervisor, crashes_in_a_loop if kind == "coroutine" else crashes)
        with pytest.raises(ServerExit, match="at once"):
            await task
        assert await TaskSupervisor.achildren(supervisor) == []
        await TaskSupervisor.astop(supervisor)

    caplog.set_level(logging.INFO, "resprout.supervision")
    asyncio.run(main())
    told = [record for record in caplog.records if record.name == "resprout.supervision"]
    assert [record.levelno for record in told] == [logging.INFO]
    assert "exited: ValueError: at once" in told[0].getMessage()
