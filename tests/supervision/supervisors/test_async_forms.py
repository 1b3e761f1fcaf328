"""The forms for coroutines of supervisors' functions, when they are cancelled: nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from resprout.actors import Agent, CallCycle, GenServer, Ok, Pid, StartError, Task, process
from resprout.supervision import DynamicSupervisor, Supervisor, TaskSupervisor

WATCHDOG = 20.0


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), WATCHDOG))


class Slow(GenServer):
    """Starts when it is let."""

    entered = threading.Event()
    gate = threading.Event()
    pids: list[Pid]

    def init(self, arg: object) -> Any:
        self.pids.append(self.pid)
        self.entered.set()
        assert self.gate.wait(WATCHDOG)
        return Ok(arg)


@pytest.fixture
def slow() -> type[Slow]:
    return type("Slow", (Slow,), {"entered": threading.Event(), "gate": threading.Event(), "pids": []})


async def cancelled(form: Awaitable[Any], slow: type[Slow]) -> None:
    """Cancel it while the init runs."""
    starting = asyncio.ensure_future(form)
    await asyncio.to_thread(slow.entered.wait, WATCHDOG)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


async def down(pid: Pid) -> None:
    await process.amonitor(pid)


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
def test_a_child_whose_start_is_cancelled_is_stopped_again(kind: Any, slow: type[Slow]) -> None:
    async def main() -> None:
        supervisor = await kind.astart_link()
        await cancelled(kind.astart_child(supervisor, slow), slow)
        slow.gate.set()
        (pid,) = slow.pids
        await down(pid)
        while await kind.awhich_children(supervisor):
            await asyncio.sleep(0)
        # There is room for the same again.
        second = await kind.astart_child(supervisor, slow)
        assert second is not None
        assert second.alive
        await kind.astop(supervisor)

    run(main)


@pytest.mark.parametrize("way", ["astart", "astart_link"])
def test_a_server_whose_start_is_cancelled_is_gone(way: str, slow: type[Slow]) -> None:
    async def main() -> None:
        await cancelled(getattr(slow, way)(), slow)
        (pid,) = slow.pids
        assert pid.exit_reason == "killed"
        slow.gate.set()
        assert process.current().alive

    run(main)


def test_a_supervisor_whose_start_is_cancelled_takes_its_children_along(slow: type[Slow]) -> None:
    async def main() -> None:
        first: list[Pid] = []

        def start() -> Pid:
            first.append(Agent.start_link(dict))
            return first[0]

        children = [{"id": 1, "start": (start, ())}, slow]
        await cancelled(Supervisor.astart_link(children), slow)
        slow.gate.set()
        for pid in (first[0], slow.pids[0]):
            await down(pid)

    run(main)


@pytest.mark.parametrize("link", [True, False])
def test_a_task_whose_start_is_cancelled_is_killed(link: bool) -> None:
    async def main() -> None:
        supervisor = await TaskSupervisor.astart_link()
        busy, gate = threading.Event(), threading.Event()

        def hold_up(*_: object) -> Any:
            busy.set()
            gate.wait(WATCHDOG)

        began: list[None] = []

        async def work() -> None:
            began.append(None)
            await asyncio.sleep(WATCHDOG)

        # The supervisor is busy with a start of somebody else's.
        holding = asyncio.ensure_future(
            DynamicSupervisor.astart_child(supervisor, {"id": 1, "start": (hold_up, ())})
        )
        await asyncio.to_thread(busy.wait, WATCHDOG)
        form = TaskSupervisor.aasync_ if link else TaskSupervisor.aasync_nolink
        starting = asyncio.ensure_future(form(supervisor, work))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        gate.set()
        await holding
        assert await TaskSupervisor.achildren(supervisor) == []
        assert began == []
        await TaskSupervisor.astop(supervisor)

    run(main)


def test_a_stream_of_a_supervisor_leaves_no_task_behind() -> None:
    async def main() -> None:
        supervisor = await TaskSupervisor.astart_link()

        async def work(number: int) -> int:
            await asyncio.sleep(0 if number == 0 else WATCHDOG)
            return number

        async for _ in TaskSupervisor.astream(supervisor, range(100), work, max_concurrency=5):
            assert await TaskSupervisor.achildren(supervisor)
            break
        while await TaskSupervisor.achildren(supervisor):
            await asyncio.sleep(0)
        await TaskSupervisor.astop(supervisor)

    run(main)


def test_a_task_of_a_supervisor_runs_on_the_loop_in_which_that_was_started() -> None:
    async def main() -> None:
        supervisor = await TaskSupervisor.astart_link()

        async def where() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        task: Task = await TaskSupervisor.aasync_nolink(supervisor, where)
        assert await task is asyncio.get_running_loop()
        await TaskSupervisor.astop(supervisor)

    run(main)


def test_a_child_that_asks_its_supervisor_for_another_one_in_its_start_is_told_so() -> None:
    class Greedy(GenServer):
        async def init(self, supervisor: Any) -> Any:
            await Supervisor.astart_child(supervisor, (Agent, dict))

    async def main() -> None:
        supervisor = await Supervisor.astart_link(name="greedy")
        with pytest.raises(StartError) as caught:
            await Supervisor.astart_child(supervisor, (Greedy, supervisor))
        assert isinstance(caught.value.reason.exception, CallCycle)  # type: ignore[attr-defined]
        await Supervisor.astop(supervisor)

    run(main)
