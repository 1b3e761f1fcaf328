"""Servers of a loop beside its tasks: links, order, those who watch, eager tasks and cancel scopes."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from resprout.actors import Crash, Exited, GenServer, NoReply, Ok, Reply, ServerExit, process
from resprout.actors import sys as actors_sys

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


class Server(GenServer):
    """Does what it is told, with itself as the argument; its state counts that."""

    async def init(self, arg: Any) -> Ok:
        return Ok(0)

    async def handle_call(self, message: Any, from_: Any, state: int) -> Reply:
        result = message(self)
        return Reply(await result if isinstance(result, Awaitable) else result, state + 1)

    async def handle_cast(self, message: Any, state: int) -> NoReply:
        result = message(self)
        if isinstance(result, Awaitable):
            await result
        return NoReply(state + 1)

    async def handle_info(self, message: Any, state: int) -> NoReply:
        return await self.handle_cast(message, state)


def fails(_: Any) -> None:
    raise ValueError("in the caller's step")


# Links


def test_a_linked_server_that_crashes_in_its_callers_step_ends_the_caller_once(run):
    async def main() -> None:
        seen: list[str] = []

        async def caller() -> None:
            server = await Server.astart_link()
            try:
                await GenServer.acall(server, fails)
            except ServerExit as exit:
                seen.append(str(exit.reason.exception))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                # No second one is on its way.
                for _ in range(5):
                    await asyncio.sleep(0)
                seen.append("ended")
                raise

        calling = asyncio.ensure_future(caller())
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert seen == ["in the caller's step", "cancelled", "ended"]

    run(main)


def test_a_caller_that_traps_exits_gets_the_exit_once(run):
    async def main() -> None:
        process.trap_exit(True)
        server = await Server.astart_link()
        with pytest.raises(ServerExit):
            await GenServer.acall(server, fails)
        crash = Crash(ValueError("in the caller's step"))
        assert await process.areceive(timeout=WATCHDOG) == Exited(server, crash)
        for _ in range(5):
            await asyncio.sleep(0)
        assert process.info(process.current()).message_queue_len == 0

    run(main)


# Order


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_all_ways_to_send_keep_one_order(run, busy):
    async def main() -> None:
        server, done = await Server.astart(), []
        gate = asyncio.Event()
        expected: list[Any] = []

        def note(what: str, number: int) -> Callable[[Any], None]:
            expected.append((what, number))
            return lambda _: done.append((what, number))

        if busy:
            GenServer.acast(server, lambda _: gate.wait())
        for number in range(6):
            GenServer.acast(server, note("acast", number))
            GenServer.cast(server, note("cast", number))
            process.asend(server, note("asend", number))
            request = GenServer.send_request(server, note("request", number))
            process.send(server, note("send", number))
            if number % 2:
                calling = asyncio.ensure_future(GenServer.acall(server, note("acall", number)))
                # So far that it has sent it.
                await asyncio.sleep(0)
                if not busy:
                    await calling
        if busy:
            assert done == []
            gate.set()
        await request
        await GenServer.acall(server, lambda _: None)
        assert done == expected

    run(main)


# Those who watch


def test_those_who_watch_a_server_see_what_is_done_at_once(run):
    async def main() -> None:
        server, seen = await Server.astart(), []

        def do(function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
            return asyncio.to_thread(function, server, *args)

        before = await do(actors_sys.statistics)
        await do(actors_sys.log, 10)
        await do(actors_sys.install, lambda state, event, of_server: seen.append(event))
        asked = (await do(actors_sys.statistics)).messages_in

        def first(_: Any) -> str:
            return "answer"

        def second(_: Any) -> None:
            return None

        assert await GenServer.acall(server, first) == "answer"
        GenServer.acast(server, second)
        process.asend(server, second)
        # At once: the thread that looks comes afterwards.
        me = process.current()
        expected = [
            actors_sys.In(first, "call", me),
            actors_sys.Out("answer", me, 1),
            actors_sys.In(second, "cast"),
            actors_sys.NewState(2),
            actors_sys.In(second),
            actors_sys.NewState(3),
        ]
        assert seen == expected
        assert await do(actors_sys.log, "get") == expected
        after = await do(actors_sys.statistics)
        # And the two looks themselves.
        assert after.messages_in - asked == 3 + 2
        assert after.messages_in > before.messages_in
        assert await do(actors_sys.get_state) == 3
        assert await do(actors_sys.replace_state, lambda state: state + 97) == 100
        await GenServer.acall(server, first)
        assert await do(actors_sys.get_state) == 101

    run(main)


# Served


def test_a_served_server_that_is_cancelled_in_its_init_is_gone(run):
    ended: list[str] = []

    class Slow(Server):
        async def init(self, arg: Any) -> Ok:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("init")
                raise
            return Ok(0)

        async def terminate(self, reason: object, state: Any) -> None:
            ended.append("terminate")

    begun = asyncio.Event()

    async def main() -> None:
        serving = asyncio.ensure_future(Slow.aserve(name="slow one"))
        await begun.wait()
        pid = process.whereis("slow one")
        assert pid is not None
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert process.whereis("slow one") is None
        while not pid.left:
            await asyncio.sleep(0)
        assert ended == ["init"]

    run(main)


# Callers that are eager tasks


@pytest.mark.asyncio_loop  # uvloop 0.23 and Python 3.13.0 disagree about what such a factory is called with
@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_callers_may_be_eager_tasks():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        server = await Server.astart()

        async def waits(_: Any) -> tuple[Any, Any]:
            me = asyncio.current_task()
            await asyncio.sleep(0)
            assert asyncio.current_task() is me
            return me, process.current()

        def at_once(_: Any) -> tuple[Any, Any]:
            return asyncio.current_task(), process.current()

        async def ask(message: Any) -> Any:
            me = asyncio.current_task()
            task, pid = await GenServer.acall(server, message)
            assert (asyncio.current_task(), pid) == (me, server)
            assert process.current() not in (server, main_process)
            return task

        main_process = process.current()
        for message in (waits, at_once):
            asking = [asyncio.create_task(ask(message)) for _ in range(5)]
            if message is at_once:
                assert all(each.done() for each in asking)
            [task] = {await each for each in asking}
            assert task is server.task()

        async def makes_a_task(_: Any) -> Any:
            async def who() -> Any:
                return process.current()

            return await asyncio.create_task(who())

        assert await GenServer.acall(server, makes_a_task) is not server

    asyncio.run(main())


# Cancel scopes


def test_a_scope_that_begins_in_the_first_step_belongs_to_the_server(run):
    async def waits(_: Any) -> bool:
        with anyio.move_on_after(0.001) as scope:
            await anyio.sleep(WATCHDOG)
        return scope.cancel_called

    async def main() -> None:
        server = await Server.astart()
        with anyio.move_on_after(WATCHDOG) as mine:
            assert await GenServer.acall(server, waits) is True
            assert await GenServer.acall(server, waits) is True
        assert not mine.cancel_called

    run(main)


def test_the_callers_deadline_is_not_the_callbacks(run):
    async def main() -> None:
        server = await Server.astart()
        with anyio.move_on_after(WATCHDOG):
            assert anyio.current_effective_deadline() < math.inf
            assert await GenServer.acall(server, lambda _: anyio.current_effective_deadline()) == math.inf
        me = anyio.get_current_task().id
        assert await GenServer.acall(server, lambda _: anyio.get_current_task().id) != me

    run(main)


def test_a_caller_whose_scope_ends_leaves_the_servers_wait_alone(run):
    async def main() -> None:
        server, gate, done = await Server.astart(), asyncio.Event(), []

        async def waits(_: Any) -> None:
            await gate.wait()
            done.append("done")

        with anyio.CancelScope() as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await GenServer.acall(server, waits, None)
        assert scope.cancel_called
        assert done == []
        gate.set()
        assert await GenServer.acall(server, lambda _: "goes on") == "goes on"
        assert done == ["done"]

    run(main)


def test_a_task_group_of_anyio_works_in_a_callback(run):
    async def several(_: Any) -> list[int]:
        done: list[int] = []

        async def one(number: int) -> None:
            await anyio.sleep(0)
            done.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(one, number)
        return sorted(done)

    async def main() -> None:
        server = await Server.astart()
        for _ in range(2):
            assert await GenServer.acall(server, several) == [0, 1, 2]

    run(main)
