"""Threads of pools act as the task, or the server, that waits for their call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio.to_thread
import pytest

from resprout import Registry, throttle
from resprout.actors import Agent, CallTimeout, Down, Exited, GenServer, Pid, Reply, ServerExit, Task, process
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.actors.processes import offloaded

from ...waiting import until

WATCHDOG = 20.0

LOOPS = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:  # no wheels for this Python yet
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


async def to_thread(fn: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.to_thread(fn, *args)


async def executor(fn: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, fn, *args)


async def of_anyio(fn: Callable[..., Any], *args: Any) -> Any:
    return await anyio.to_thread.run_sync(fn, *args)


@pytest.fixture(params=[to_thread, executor, of_anyio])
def offload(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Have a function called on another thread."""
    return request.param


class Server(GenServer):
    """Does what it is told."""

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(await message(), state)


async def as_a_task(body: Callable[[], Awaitable[Any]]) -> None:
    """The body in a task of its own."""
    await asyncio.ensure_future(body())


async def as_a_server(body: Callable[[], Awaitable[Any]]) -> None:
    """The body in a callback of a server."""
    pid = await Server.astart()
    await GenServer.acall(pid, body, None)
    await GenServer.astop(pid)


@pytest.fixture(params=[as_a_task, as_a_server])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Awaitable[Any]]], None]:
    """Run a coroutine function in one of the two ways."""

    def run_in(body: Callable[[], Awaitable[Any]]) -> None:
        asyncio.run(asyncio.wait_for(request.param(body), WATCHDOG))

    return run_in


def links() -> set[Pid]:
    info = process.info(process.current())
    assert info is not None
    return set(info.links)


def test_who_runs_there_is_who_waits(run, offload):
    async def body() -> None:
        me = process.current()
        assert await offload(process.current) is me
        # Not those that run on the same threads meanwhile: each is a task.
        others = await asyncio.gather(*(offload(process.current) for _ in range(10)))
        assert len({*others, me}) == 11
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(None, process.current) for _ in range(10)]
        assert set(await asyncio.gather(*calls)) == {me}
        assert await offload(threading.get_ident) != threading.get_ident()

    run(body)


def a_thread(fn: Callable[..., Any]) -> Awaitable[Any]:
    return asyncio.to_thread(fn)


def a_pool(fn: Callable[..., Any]) -> Awaitable[Any]:
    return asyncio.get_running_loop().run_in_executor(None, fn)


def anyios(fn: Callable[..., Any]) -> Awaitable[Any]:
    return anyio.to_thread.run_sync(fn)


async def gathered(call: Awaitable[Any]) -> Any:
    return (await asyncio.gather(call))[0]


async def limited(call: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(call, WATCHDOG)


async def shielded(call: Awaitable[Any]) -> Any:
    return await asyncio.shield(call)


@pytest.fixture(params=[a_thread, a_pool, anyios])
def call(request: pytest.FixtureRequest) -> Callable[[Callable[..., Any]], Awaitable[Any]]:
    """Begin a call on another thread, to be awaited."""
    return request.param


@pytest.mark.parametrize("through", [gathered, limited, shielded])
@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_who_runs_there_is_who_waits_through_what_asyncio_makes_of_it(new_loop, call, through):
    async def body() -> None:
        me = process.current()
        # The first call starts the thread, which may be faster than its caller.
        for _ in range(3):
            assert await through(call(process.current)) is me

    async def main() -> None:
        await as_a_task(body)
        await as_a_server(body)

    loop = new_loop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_a_task_that_is_awaited_is_another_one(run):
    async def body() -> None:
        made = asyncio.ensure_future(asyncio.to_thread(process.current))
        assert await made is not process.current()

    run(body)


def test_who_waits_beside_a_task_is_not_who_runs_there(run):
    async def body() -> None:
        me = process.current()
        made = asyncio.ensure_future(asyncio.to_thread(process.current))
        await asyncio.wait({made})
        assert made.result() is not me
        [done] = asyncio.as_completed([asyncio.ensure_future(asyncio.to_thread(process.current))])
        assert await done is not me

    run(body)


def test_whoever_no_longer_waits_for_a_shielded_call_is_whom_it_works_for_all_the_same(run):
    async def body() -> None:
        me = process.current()
        entered, gate = threading.Event(), threading.Event()
        seen: list[Pid] = []

        def work() -> None:
            with throttle.slot("shielded") as grant:
                seen.append(grant.pid)
                entered.set()
                assert gate.wait(WATCHDOG)
            with throttle.slot("shielded") as grant:
                seen.append(grant.pid)

        throttle.new("shielded", 1)
        try:
            inner = asyncio.ensure_future(asyncio.to_thread(work))
            waiting = asyncio.shield(inner)
            asyncio.get_running_loop().call_soon(wait_and_cancel, entered, waiting)
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.set()
            await inner
        finally:
            throttle.stop_lock("shielded")
        assert seen == [me, me]

    def wait_and_cancel(entered: threading.Event, waiting: asyncio.Future[Any]) -> None:
        if entered.is_set():
            waiting.cancel()
        else:
            asyncio.get_running_loop().call_later(0.001, wait_and_cancel, entered, waiting)

    run(body)


def test_who_waits_in_a_loop_of_the_thread_is_a_task_of_that(run):
    async def inner() -> None:
        assert await asyncio.to_thread(process.current) is process.current()

    async def body() -> None:
        me = process.current()

        def on_thread() -> Pid:
            assert process.current() is me
            asyncio.run(inner())
            return process.current()

        assert await asyncio.to_thread(on_thread) is me

    run(body)


def test_links_and_linked_starts_are_for_who_waits(run, offload):
    async def body() -> None:
        before = links()
        agent = await offload(Agent.start, dict)
        await offload(process.link, agent)
        linked = await offload(Agent.start_link, dict)
        spawned = await offload(process.spawn_link, process.receive)
        assert links() - before == {agent, linked, spawned}
        assert linked.parent is process.current()
        await offload(process.trap_exit)
        for pid in (agent, linked, spawned):
            process.exit(pid, "enough")
            exited = await process.areceive(lambda message: isinstance(message, Exited))
            assert exited == Exited(pid, "enough")
        await offload(process.trap_exit, False)
        assert links() == before

    run(body)


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_a_thread_that_is_faster_than_its_caller_waits_to_see_who_that_is(new_loop):
    async def main() -> None:
        loop, me = asyncio.get_running_loop(), process.current()
        for _ in range(100):
            # Its first thread is started by the call, and may begin before there is a future.
            with ThreadPoolExecutor(1) as pool:
                assert await loop.run_in_executor(pool, process.current) is me

    loop = new_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.parametrize("new_loop", LOOPS.values(), ids=LOOPS)
def test_a_thread_waits_for_the_end_of_the_step_in_which_it_was_called(new_loop, monkeypatch):
    monkeypatch.setattr(offloaded, "TURN", WATCHDOG)

    async def main() -> None:
        asked = threading.Event()

        def work() -> Pid:
            asked.set()
            return process.current()

        call = asyncio.get_running_loop().run_in_executor(None, work)
        assert asked.wait(WATCHDOG)
        # Longer than the thread takes itself to find out, as where many threads want to run.
        time.sleep(0.1)
        assert await call is process.current()

    loop = new_loop()
    try:
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_an_exit_signal_hits_who_waits_and_nobody_after_it_on_that_thread(offload):
    async def doomed() -> None:
        await offload(Agent.start_link, dict)
        (agent,) = links()
        process.exit(agent, "boom")
        await asyncio.Event().wait()

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(doomed())
        assert await offload(process.current) is process.current()

    asyncio.run(asyncio.wait_for(main(), WATCHDOG))


def test_monitors_and_messages_are_for_who_waits(run, offload):
    async def body() -> None:
        agent = await Agent.astart(dict)
        ref = await offload(process.monitor, agent)
        process.exit(agent, "kill")
        assert await process.areceive() == Down(ref, agent, "killed")
        process.send(process.current(), "message")
        assert await offload(process.receive) == "message"
        waiting = asyncio.ensure_future(offload(receives_of, process.current()))
        process.send(process.current(), "another")
        assert await process.areceive() == "another"
        assert await waiting == "its own"

    run(body)


def receives_of(pid: Pid) -> str:
    """The caller is a task of its own, which has a mailbox of its own."""
    assert process.current() is not pid
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)
    return "its own"


def test_a_message_that_comes_later_wakes_the_thread(run, offload):
    async def body() -> None:
        me = process.current()
        receiving = threading.Event()

        def receive() -> Any:
            receiving.set()
            return process.receive(timeout=WATCHDOG)

        async def send() -> None:
            while not receiving.is_set() or me.receiver is None:
                await asyncio.sleep(0)
            process.send(me, "late")

        sending = asyncio.ensure_future(send())
        assert await offload(receive) == "late"
        await sending

    run(body)


def test_a_thread_that_waits_for_a_message_ends_with_its_task():
    ended: list[BaseException] = []
    receiving = threading.Event()

    def receive() -> None:
        # From here on it is known whose thread this is, whether or not that has ended before the next line.
        process.current()
        receiving.set()
        try:
            process.receive()
        except BaseException as error:
            ended.append(error)
            raise

    async def body() -> None:
        await asyncio.to_thread(receive)

    async def main() -> None:
        task = asyncio.ensure_future(body())
        assert await asyncio.to_thread(receiving.wait, WATCHDOG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    # The end of the loop waits for its threads.
    asyncio.run(asyncio.wait_for(main(), WATCHDOG))
    assert [type(error) for error in ended] == [ServerExit]


def test_tasks_are_owned_by_who_waits(run, offload):
    async def body() -> None:
        me = process.current()
        task = await offload(Task.async_, pow, 2, 5)
        assert task.owner is me
        assert await task == 32
        # Started here, awaited there.
        assert await offload(Task.await_, Task.async_(pow, 2, 4)) == 16
        assert await offload(both, 3) == 9
        assert await GenServer.acall(await Server.astart(), callers_there(offload)) == ()
        with pytest.raises(CallTimeout):
            await process.areceive(timeout=0)

    run(body)


def callers_there(offload: Callable[..., Any]) -> Callable[[], Awaitable[Any]]:
    async def callers() -> Any:
        return await offload(process.callers)

    return callers


def both(number: int) -> int:
    return Task.await_(Task.async_(lambda: number * number), WATCHDOG)


def test_names_are_given_to_who_waits(run, offload):
    async def body() -> None:
        await offload(lambda: process.register(process.current(), "acting"))
        assert process.whereis("acting") is process.current()
        await offload(process.unregister, "acting")
        assert process.whereis("acting") is None

    run(body)


def test_what_is_owned_there_is_closed_with_who_waits(offload):
    closed: list[str] = []
    ends = threading.Event()

    def close() -> None:
        closed.append("closed")
        ends.set()

    async def body() -> None:
        thing = object()
        await offload(process.own, thing, close)
        info = process.info(process.current())
        assert info is not None
        assert info.owned == (thing,)
        await offload(process.disown, thing)
        await offload(process.own, thing, close)
        assert closed == []

    async def main() -> None:
        await asyncio.ensure_future(body())
        assert await asyncio.to_thread(ends.wait, WATCHDOG)

    asyncio.run(asyncio.wait_for(main(), WATCHDOG))
    assert closed == ["closed"]


def test_keys_and_slots_are_those_of_who_waits(run, offload):
    async def body() -> None:
        me = process.current()
        Registry.start_link(keys="unique", name="keys")
        throttle.new("slots", 1)
        try:
            assert await offload(Registry.register, "keys", "key") is me
            async with throttle.slot("slots"):
                # With one slot: nested, or it would wait for ever.
                assert await offload(throttle.run, "slots", pow, 2, 2) == 4
                assert [holder.pid for holder in throttle.holders("slots")] == [me]
        finally:
            throttle.stop_lock("slots")
            await Registry.astop("keys")

    run(body)


def test_a_thread_whose_task_has_ended_acts_as_itself():
    seen: list[Any] = []
    gate = threading.Event()

    def late() -> None:
        assert gate.wait(WATCHDOG)
        seen.append(process.current())

    async def body() -> None:
        seen.append(process.current())
        await asyncio.to_thread(late)

    async def main() -> None:
        task = asyncio.ensure_future(body())
        while not seen:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()

    asyncio.run(asyncio.wait_for(main(), WATCHDOG))
    task, thread = seen
    assert thread is not task
    assert thread.kind == "thread"


def test_a_thread_of_a_pool_that_no_task_waits_for_is_a_process_of_its_own():
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(process.current).result(WATCHDOG)
        assert pool.submit(process.current).result(WATCHDOG) is first
    assert first is not process.current()
    assert first.kind == "thread"


@pytest.mark.alone
@pytest.mark.skipif(FREE_THREADED, reason="there nothing tells at once that no task waits")
def test_a_call_that_no_task_waits_for_waits_for_no_task_to_do_so(monkeypatch):
    """What a busy server is asked from a plain pool is in its mailbox at once."""
    patient: list[Any] = []
    monkeypatch.setattr(offloaded, "_waiting_for", patient.append)
    entered, gate = threading.Event(), threading.Event()

    async def busy() -> None:
        entered.set()
        while not gate.is_set():
            await asyncio.sleep(0)

    async def idle() -> str:
        return "idle"

    def call(go: threading.Event, function: Callable[[], Any]) -> Any:
        # Nobody is to be handing something to a pool just then.
        assert go.wait(WATCHDOG)
        return GenServer.call(pid, function, WATCHDOG)

    pid = Server.start()
    with ThreadPoolExecutor(2) as pool:
        goes = threading.Event(), threading.Event()
        first, second = pool.submit(call, goes[0], busy), pool.submit(call, goes[1], idle)
        goes[0].set()
        assert entered.wait(WATCHDOG)
        goes[1].set()
        until(lambda: process.info(pid).message_queue_len == 1)  # type: ignore[union-attr]  # it lives
        gate.set()
        assert first.result(WATCHDOG) is None
        assert second.result(WATCHDOG) == "idle"
    assert not patient
    GenServer.stop(pid)
