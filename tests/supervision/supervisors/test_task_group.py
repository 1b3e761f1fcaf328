"""`task_group`: tasks and supervised children that end with a block."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from resprout.actors import (
    Agent,
    BlockingInLoop,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Pid,
    ProcessExit,
    Reply,
    ServerExit,
    StartError,
    Stop,
    process,
)
from resprout.supervision import ChildSpec, SpecError, Supervisor, TaskGroup, task_group

WATCHDOG = 20.0

LOOPS = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:  # no wheels for this Python yet
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop

Main = Callable[[], Awaitable[Any]]


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    """Run a coroutine function on a loop of its own."""

    def run_on(main: Main) -> Any:
        loop = request.param()
        try:
            return loop.run_until_complete(asyncio.wait_for(main(), WATCHDOG))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    return run_on


class Child(GenServer):
    """Does what it is told; tells what becomes of it."""

    trap_exit = True
    told: list[Any]

    async def init(self, number: Any) -> Any:
        self.told.append(("starts", number, asyncio.get_running_loop()))
        return Ok(number)

    async def handle_call(self, message: Any, from_: Any, number: Any) -> Any:
        if not callable(message):
            return Reply(message, number)
        result = message(self)
        return Reply(await result if isinstance(result, Awaitable) else result, number)

    async def handle_info(self, message: Any, number: Any) -> Any:
        if isinstance(message, Exited):
            return Stop(message.reason, number)
        return NoReply(number)

    async def terminate(self, reason: object, number: Any) -> None:
        await asyncio.sleep(0)
        self.told.append(("ends", number, reason))


@pytest.fixture
def child() -> type[Child]:
    return type("Child", (Child,), {"told": []})


def ends(child: type[Child]) -> list[Any]:
    return [what[1:] for what in child.told if what[0] == "ends"]


@contextmanager
def raises_of_group(kind: type[BaseException], match: str | None = None) -> Iterator[list[BaseException]]:
    """The block raises one such error: in a group where there are such, else by itself."""
    found: list[BaseException] = []
    with pytest.raises(BaseException) as caught:  # looked at below
        yield found
    error = caught.value
    if sys.version_info >= (3, 11):
        assert isinstance(error, BaseExceptionGroup)  # noqa: F821  # 3.11
        (error,) = error.exceptions
    assert isinstance(error, kind)
    if match is not None:
        assert match in str(error)
    found.append(error)


def cancelling() -> int:
    """How often the current task is being cancelled, as far as its Python counts that."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling() if sys.version_info >= (3, 11) else 0


async def for_ever() -> None:
    await asyncio.Event().wait()


# In order


def test_the_end_of_the_block_waits_for_tasks_and_then_stops_children_in_reverse_order(run, child):
    async def main() -> None:
        done: list[int] = []
        at_its_end = asyncio.Event()

        async def work(number: int) -> None:
            await at_its_end.wait()
            await asyncio.sleep(0)
            done.append(await GenServer.acall(pids[number], number))
            assert ends(child) == []

        async with task_group() as group:
            pids = [await group.start_child((child, number)) for number in range(3)]
            for number in range(3):
                group.start_soon(work, number)
            task = group.create_task(work(0), name="mine")
            assert task.get_name() == "mine"
            at_its_end.set()
        assert sorted(done) == [0, 0, 1, 2]
        assert ends(child) == [(2, "shutdown"), (1, "shutdown"), (0, "shutdown")]
        assert not any(pid.alive for pid in (*pids, group.supervisor))

    run(main)


def test_any_form_of_a_spec_starts_a_child_also_the_same_id_again(run, child):
    async def main() -> None:
        async with task_group() as group:
            started = [
                await group.start_child(spec)
                for spec in (
                    child,
                    (child, 1),
                    {"id": "dict", "start": (child.start_link, (2,))},
                    ChildSpec("spec", child.start_link, restart="temporary"),
                    child,
                )
            ]
            assert all(isinstance(pid, Pid) for pid in started)
            ids = [info.id for info in await Supervisor.awhich_children(group.supervisor)]
            assert ids == ["Child", ("Child", 2), "dict", "spec", ("Child", 3)]

    run(main)


def test_children_live_on_the_loop_of_the_block_and_so_do_those_started_anew(run, child):
    async def main() -> None:
        here = asyncio.get_running_loop()
        async with task_group() as group:
            pid = await group.start_child(
                {**fields(child, 1), "start": (child.start_link, (1,), {"name": "x"})}
            )
            with pytest.raises(ServerExit):
                await GenServer.acall(pid, lambda _: [][0])
            await (again := process.amonitor(pid))
            assert again.done()
            while (second := process.whereis("x")) is None or second is pid:
                await asyncio.sleep(0)
            assert await GenServer.acall("x", lambda _: asyncio.get_running_loop()) is here
        assert {what[2] for what in child.told if what[0] == "starts"} == {here}

    run(main)


def fields(child: type[Child], number: int) -> dict[str, Any]:
    return {"id": number, "start": (child.start_link, (number,))}


def test_the_strategy_is_the_groups(run, child):
    async def main() -> None:
        async with task_group(strategy="one_for_all") as group:
            first, second = [await group.start_child((child, number)) for number in range(2)]
            with pytest.raises(ServerExit):
                await GenServer.acall(first, lambda _: [][0])
            await process.amonitor(second)
            while (await Supervisor.acount_children(group.supervisor)).active != 2:
                await asyncio.sleep(0)

    run(main)


def test_a_child_that_does_not_start_is_an_error_of_who_starts_it(run, child):
    class Broken(GenServer):
        async def init(self, arg: object) -> Any:
            return Stop("broken")

    async def main() -> None:
        async with task_group() as group:
            await group.start_child((child, 1))
            with pytest.raises(StartError, match="broken"):
                await group.start_child(Broken)
        assert ends(child) == [(1, "shutdown")]

    run(main)


def test_plain_servers_are_children_as_well(run):
    async def main() -> None:
        async with task_group() as group:
            agent = await group.start_child((Agent, lambda: 41))
            await Agent.aupdate(agent, lambda number: number + 1)
            assert await Agent.aget(agent, lambda number: number) == 42
            with pytest.raises(BlockingInLoop):
                Agent.get(agent, lambda number: number)
        assert not agent.alive

    run(main)


# Errors


def test_a_task_that_raises_cancels_the_block_and_the_rest_and_is_raised(run, child):
    async def main() -> None:
        cancelled: list[str] = []

        async def wait(who: str) -> None:
            try:
                await for_ever()
            except asyncio.CancelledError:
                assert ends(child) == []
                cancelled.append(who)
                raise

        async def fail() -> None:
            await asyncio.sleep(0)
            raise ValueError("no")

        with raises_of_group(ValueError, "no"):
            async with task_group() as group:
                for number in range(2):
                    await group.start_child((child, number))
                group.start_soon(wait, "task")
                group.start_soon(fail)
                await wait("block")
        assert sorted(cancelled) == ["block", "task"]
        assert ends(child) == [(1, "shutdown"), (0, "shutdown")]
        assert cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_a_task_that_raises_while_the_block_waits_at_its_end_is_raised(run, child):
    async def main() -> None:
        gate = asyncio.Event()

        async def fail() -> None:
            await gate.wait()
            raise ValueError("no")

        with raises_of_group(ValueError):
            async with task_group() as group:
                await group.start_child((child, 1))
                other = group.create_task(for_ever())
                group.start_soon(fail)
                asyncio.get_running_loop().call_soon(gate.set)
        assert other.cancelled()
        assert ends(child) == [(1, "shutdown")]
        assert cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_an_error_of_the_block_ends_the_group_in_order(run, child):
    async def main() -> None:
        with raises_of_group(KeyError):
            async with task_group() as group:
                await group.start_child((child, 1))
                task = group.create_task(for_ever())
                raise KeyError
        assert task.cancelled()
        assert ends(child) == [(1, "shutdown")]

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_all_errors_are_in_the_group(run):
    async def main() -> None:
        async def fail_at_its_end() -> None:
            try:
                await for_ever()
            finally:
                raise ValueError

        with pytest.raises(BaseException) as caught:  # looked at below
            async with task_group() as group:
                group.start_soon(fail_at_its_end)
                await asyncio.sleep(0)
                raise KeyError
        assert {type(each) for each in caught.value.exceptions} == {KeyError, ValueError}

    run(main)


def test_children_that_crash_too_often_end_the_block_with_the_last_error(run, child):
    async def main() -> None:
        task: Any = None
        with raises_of_group(ServerExit, "crashed too often: more than 1 restarts in 5 s") as found:
            async with task_group(max_restarts=1) as group:
                await group.start_child((child, "other"))
                spec = {"id": 1, "start": (child.start_link, (1,), {"name": "crashing"})}
                await group.start_child(spec)
                task = group.create_task(for_ever())
                while True:
                    try:
                        await GenServer.acall("crashing", lambda _: [][0])
                    except ProcessExit:
                        await asyncio.sleep(0)
        assert isinstance(found[0].__cause__, IndexError)
        assert task.cancelled()
        assert ("other", "shutdown") in ends(child)
        assert cancelling() == 0

    run(main)


def test_a_supervisor_that_is_killed_ends_the_block(run, child):
    async def main() -> None:
        with raises_of_group(ServerExit, "killed"):
            async with task_group() as group:
                pid = await group.start_child((child, 1))
                process.exit(group.supervisor, "kill")
                await for_ever()
        assert not pid.alive

    run(main)


# Cancellation


def test_a_block_that_is_cancelled_ends_in_order_and_goes_on_being_cancelled(run, child):
    async def main() -> None:
        tasks: list[str] = []

        async def work() -> None:
            try:
                await for_ever()
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)
                tasks.append("task")
                assert ends(child) == []

        async def block() -> None:
            async with task_group() as group:
                for number in range(2):
                    await group.start_child((child, number))
                group.start_soon(work)
                await asyncio.sleep(0)
                ready.set()
                await for_ever()

        ready = asyncio.Event()
        blocking = asyncio.ensure_future(block())
        await ready.wait()
        blocking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocking
        assert tasks == ["task"]
        assert ends(child) == [(1, "shutdown"), (0, "shutdown")]

    run(main)


def test_a_block_that_is_cancelled_at_its_end_ends_its_tasks(run, child):
    async def main() -> None:
        async def block() -> None:
            async with task_group() as group:
                await group.start_child((child, 1))
                group.start_soon(for_ever)
                ready.set()

        ready = asyncio.Event()
        blocking = asyncio.ensure_future(block())
        await ready.wait()
        await asyncio.sleep(0)
        blocking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocking
        assert ends(child) == [(1, "shutdown")]

    run(main)


def test_a_block_that_is_cancelled_twice_has_its_children_killed(run, child):
    async def main() -> None:
        pids: list[Pid] = []
        stopping = asyncio.Event()

        class Stubborn(child):  # type: ignore[misc,valid-type]
            async def terminate(self, reason: object, number: Any) -> None:
                stopping.set()
                await for_ever()

        async def block() -> None:
            async with task_group() as group:
                specs = [ChildSpec(kind, kind.start_link, shutdown=WATCHDOG) for kind in (child, Stubborn)]
                pids.extend([await group.start_child(spec) for spec in specs])
                ready.set()
                await for_ever()

        ready = asyncio.Event()
        blocking = asyncio.ensure_future(block())
        await ready.wait()
        blocking.cancel()
        await stopping.wait()
        assert pids[0].alive
        blocking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocking
        assert [pid.alive for pid in pids] == [False, False]
        assert [pid.left for pid in pids] == [True, True]
        assert pids[1].exit_reason == "killed"

    run(main)


def test_an_exit_signal_to_the_task_of_the_block_ends_it_in_order(run, child):
    async def main() -> None:
        async def block() -> None:
            async with task_group() as group:
                await group.start_child((child, 1))
                ready.set_result(process.current())
                await for_ever()

        ready: asyncio.Future[Pid] = asyncio.get_running_loop().create_future()
        blocking = asyncio.ensure_future(block())
        process.exit(await ready, "enough")
        with pytest.raises(asyncio.CancelledError):
            await blocking
        assert ends(child) == [(1, "shutdown")]

    run(main)


def test_groups_are_nested_and_the_inner_ends_first(run, child):
    async def main() -> None:
        ready = asyncio.Event()
        block = asyncio.ensure_future(nested(ready))
        await ready.wait()
        block.cancel()
        with pytest.raises(asyncio.CancelledError):
            await block
        assert ends(child) == [("inner", "shutdown"), ("outer", "shutdown")]

    async def nested(ready: asyncio.Event) -> None:
        async with task_group() as outer:
            await outer.start_child((child, "outer"))
            async with task_group() as inner:
                await inner.start_child((child, "inner"))
                ready.set()
                await for_ever()

    run(main)


def test_an_error_of_an_inner_group_is_one_of_the_outer_block(run, child):
    async def main() -> None:
        with pytest.raises(BaseException) as caught:  # looked at below
            async with task_group() as outer:
                await outer.start_child((child, "outer"))
                async with task_group() as inner:
                    await inner.start_child((child, "inner"))
                    raise KeyError
        error = caught.value
        while not isinstance(error, KeyError):
            (error,) = error.exceptions  # type: ignore[attr-defined]
        assert ends(child) == [("inner", "shutdown"), ("outer", "shutdown")]
        assert cancelling() == 0

    run(main)


# Together with others


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new in 3.11")
def test_a_timeout_around_the_block_is_a_timeout(run, child):
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, task_group() as group:  # type: ignore[attr-defined]
                await group.start_child((child, 1))
                limit.reschedule(asyncio.get_running_loop().time())
                await for_ever()
        assert ends(child) == [(1, "shutdown")]
        assert cancelling() == 0

    run(main)


def test_so_it_is_with_wait_for(run, child):
    async def main() -> None:
        entered = asyncio.Event()

        async def block() -> None:
            async with task_group() as group:
                for number in range(2):
                    await group.start_child((child, number))
                entered.set()
                await for_ever()

        limited = asyncio.ensure_future(asyncio.wait_for(block(), WATCHDOG))
        await entered.wait()
        limited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await limited
        assert ends(child) == [(1, "shutdown"), (0, "shutdown")]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(block(), 0.01)
        assert ends(child)[2:] in ([], [(0, "shutdown")], [(1, "shutdown"), (0, "shutdown")])

    run(main)


def test_a_body_that_raises_system_exit_stops_the_children_and_raises_it():
    told: list[Any] = []
    kind = type("Child", (Child,), {"told": told})

    async def main() -> None:
        async with task_group() as group:
            await group.start_child((kind, 1))
            raise SystemExit(3)

    with pytest.raises(SystemExit) as caught:
        asyncio.run(main())
    assert caught.value.code == 3
    assert [what[:2] for what in told] == [("starts", 1), ("ends", 1)]


def test_a_child_that_the_thread_of_another_loop_starts_lives_on_the_loop_of_the_block(run, child):
    async def main() -> None:
        async with task_group() as group:

            def in_another_loop() -> Pid:
                return asyncio.run(group.start_child((child, "from afar")))

            pid = await asyncio.to_thread(in_another_loop)
            here = asyncio.get_running_loop()
            assert await GenServer.acall(pid, lambda _: asyncio.get_running_loop()) is here
        assert ends(child) == [("from afar", "shutdown")]

    run(main)


def test_a_group_in_a_callback_leaves_no_child_when_the_server_is_killed(run, child):
    async def main() -> None:
        started: list[Pid] = []
        entered = asyncio.Event()

        async def has_a_group(_: Any) -> None:
            async with task_group() as group:
                started.append(await group.start_child((child, "inner")))
                entered.set()
                await for_ever()

        outer = await child.astart("outer")
        calling = asyncio.ensure_future(GenServer.acall(outer, has_a_group))
        await entered.wait()
        process.exit(outer, "kill")
        with pytest.raises(ServerExit):
            await calling
        while not (outer.left and started[0].left):
            await asyncio.sleep(0)
        assert ends(child) == [("inner", "shutdown")]

    run(main)


def test_a_cancel_scope_of_anyio_ends_the_block_in_order(run, child):
    async def main() -> None:
        class Slow(child):  # type: ignore[misc,valid-type]
            async def terminate(self, reason: object, number: Any) -> None:
                # Many turns, in each of which the scope cancels again.
                for _ in range(50):
                    await asyncio.sleep(0)
                await super().terminate(reason, number)

        with anyio.CancelScope() as scope:
            async with task_group() as group:
                for number in range(2):
                    await group.start_child((Slow, number))
                asyncio.get_running_loop().call_soon(scope.cancel)
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert ends(child) == [(1, "shutdown"), (0, "shutdown")]
        # The scope is over: the task goes on.
        await anyio.sleep(0)

    run(main)


def test_a_group_of_anyio_around_the_block_takes_its_error(child):
    async def main() -> None:
        async def block() -> None:
            async with task_group() as group:
                await group.start_child((child, 1))
                raise KeyError

        with pytest.raises(BaseException) as caught:  # looked at below
            async with anyio.create_task_group() as outer:
                outer.start_soon(block)
                outer.start_soon(anyio.sleep_forever)
        error = caught.value
        while not isinstance(error, KeyError):
            (error,) = error.exceptions  # type: ignore[attr-defined]
        assert ends(child) == [(1, "shutdown")]

    anyio.run(main, backend="asyncio")


def test_cancel_scopes_work_in_the_tasks_of_a_group(run):
    async def main() -> None:
        async def work() -> None:
            with anyio.move_on_after(0.001) as scope:
                await anyio.sleep_forever()
            done.append(scope.cancelled_caught)

        done: list[bool] = []
        async with task_group() as group:
            group.start_soon(work)
        assert done == [True]

    run(main)


# Mistakes


def test_a_group_is_entered_once_and_used_in_its_block(run):
    async def main() -> None:
        group = task_group()
        with pytest.raises(RuntimeError, match="expected the group to be open: write"):
            await group.start_child((Agent, dict))
        async with group:
            pass
        with pytest.raises(RuntimeError, match="it has ended"):
            group.create_task(for_ever())
        with pytest.raises(RuntimeError, match="a new task_group"):
            async with group:
                pass

    run(main)


def test_a_group_that_is_about_to_end_takes_nothing_more(run):
    async def main() -> None:
        refused: list[str] = []

        async def late(group: TaskGroup) -> None:
            try:
                await for_ever()
            finally:
                with pytest.raises(RuntimeError, match="about to end with an error"):
                    group.create_task(for_ever())
                refused.append("late")

        with raises_of_group(KeyError):
            async with task_group() as group:
                group.start_soon(late, group)
                await asyncio.sleep(0)
                raise KeyError
        assert refused == ["late"]

    run(main)


def test_options_are_looked_at_before_anything_starts():
    with pytest.raises(SpecError, match="strategy"):
        task_group(strategy="all_for_one")  # type: ignore[arg-type]


def test_a_block_whose_loop_is_closed_leaves_no_child(child):
    loop = asyncio.new_event_loop()
    pids: list[Any] = []

    async def block() -> None:
        async with task_group() as group:
            pids.extend([await group.start_child((child, 1)), group.supervisor])
            await for_ever()

    async def main() -> None:
        blocking.append(asyncio.ensure_future(block()))
        while len(pids) < 2:
            await asyncio.sleep(0)

    blocking: list[Any] = []
    loop.run_until_complete(main())
    blocking[0]._log_destroy_pending = False
    loop.close()
    blocking.clear()
    gc.collect()
    for pid in pids:
        process.monitor(pid)
        process.receive(timeout=WATCHDOG)
    assert not any(pid.alive for pid in pids)


# A server in somebody else's group


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in 3.11")
def test_a_server_is_a_child_of_a_group_of_asyncio(run, child):
    async def main() -> None:
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
            serving = group.create_task(child.aserve(1, name="served"))
            while process.whereis("served") is None:
                await asyncio.sleep(0)
            assert await GenServer.acall("served", "answer") == "answer"
            serving.cancel()
        assert ends(child) == [(1, "shutdown")]

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in 3.11")
def test_a_server_that_crashes_ends_the_group(run, child):
    async def main() -> None:
        with raises_of_group(ServerExit):
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
                group.create_task(child.aserve("other"))
                group.create_task(child.aserve(1, name="served"))
                while process.whereis("served") is None:
                    await asyncio.sleep(0)
                process.exit("served", "kill")
                await for_ever()
        assert ends(child) == [("other", "shutdown")]

    run(main)


def test_a_server_that_ends_in_order_ends_its_coroutine(run, child):
    async def main() -> None:
        serving = asyncio.ensure_future(child.aserve(1, name="served"))
        while process.whereis("served") is None:
            await asyncio.sleep(0)
        await GenServer.astop("served")
        await serving

    run(main)


def test_anyio_starts_a_server_and_gets_its_pid(run, child):
    async def main() -> None:
        async with anyio.create_task_group() as group:
            pid = await group.start(child.aserve)
            assert await GenServer.acall(pid, "answer") == "answer"
            group.cancel_scope.cancel()
        assert [number for number, _ in ends(child)] == [None]

    run(main)


def test_a_served_server_that_does_not_stop_in_time_is_killed(run, child):
    class Stubborn(GenServer):
        async def terminate(self, reason: object, state: Any) -> None:
            stopping.set()
            await for_ever()

    stopping = asyncio.Event()

    async def main() -> None:
        for shutdown, cancels in ((0.01, 1), (None, 2)):
            stopping.clear()
            serving = asyncio.ensure_future(Stubborn.aserve(name="served", shutdown=shutdown))
            while (pid := process.whereis("served")) is None:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            for _ in range(cancels):
                serving.cancel()
                await stopping.wait()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert pid.exit_reason == "killed"
            assert pid.left

    run(main)
