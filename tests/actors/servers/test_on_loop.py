"""Servers whose callbacks are coroutine functions: one message at a time, on the runtime's own loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

from resprout.actors import (
    CallTimeout,
    Crash,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Reply,
    ServerExit,
    Stop,
    process,
)

WATCHDOG = 20.0


class Server(GenServer):
    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if callable(message):
            message = await message(self)
        return Reply(message, state)

    async def handle_cast(self, message: Any, state: Any) -> Any:
        await message(self)
        return NoReply(state)


@pytest.fixture
def bell():
    """An event of the runtime's loop, made there: (wait, ring)."""

    class Bell:
        def __init__(self) -> None:
            self.rung = threading.Event()
            self.reached = threading.Event()

        async def wait(self, server: Any = None) -> str:
            self.reached.set()
            while not self.rung.is_set():
                await asyncio.sleep(
                    0.001
                )  # the bell is rung by a thread of any kind, and must not need the loop
            return "rung"

        def ring(self) -> None:
            self.rung.set()

    each = Bell()
    yield each
    each.ring()


def test_one_message_at_a_time_though_callbacks_await(bell):
    pid = Server.start()
    first = GenServer.send_request(pid, bell.wait)
    assert bell.reached.wait(WATCHDOG)
    second = GenServer.send_request(pid, "second")
    other = Server.start()
    assert other.call("others go on") == "others go on"
    assert not second.done()
    bell.ring()
    assert first.result(WATCHDOG) == "rung"
    assert second.result(WATCHDOG) == "second"
    pid.stop()
    other.stop()


def test_some_callbacks_may_be_ordinary_functions():
    class Mixed(GenServer):
        async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            await asyncio.sleep(0)
            return Reply(state, state)

        def handle_cast(self, message: Any, state: Any) -> Any:
            return NoReply(message)

    pid = Mixed.start()
    pid.cast("ordinary")
    assert pid.call("state") == "ordinary"
    pid.stop()


def test_it_is_the_current_process_in_its_coroutines():
    pid = Server.start()

    async def who(server: Any) -> object:
        first = process.current()
        await asyncio.sleep(0)
        return first, process.current()

    assert pid.call(who) == (pid, pid)
    pid.stop()


def test_a_coroutine_that_it_runs_beside_itself_is_another_process():
    pid = Server.start()

    async def beside(server: Any) -> object:
        async def who() -> object:
            return process.current()

        return await asyncio.ensure_future(who())

    assert pid.call(beside) is not pid
    pid.stop()


def test_async_servers_ask_each_other():
    first, second = Server.start(), Server.start()

    async def ask(server: Any) -> object:
        return await GenServer.acall(second, "asked", timeout=WATCHDOG)

    assert first.call(ask) == "asked"
    first.stop()
    second.stop()


def test_an_async_server_that_asks_itself_hears_so_at_once():
    from resprout.actors import SelfCall

    pid = Server.start()

    async def ask(server: Any) -> object:
        with pytest.raises(SelfCall):
            await GenServer.acall(server.pid, "me", timeout=WATCHDOG)
        return "refused"

    assert pid.call(ask, timeout=WATCHDOG) == "refused"
    pid.stop()


def test_a_killed_handler_is_cancelled(bell, kill):
    ended: queue.Queue[object] = queue.Queue()

    async def wait(server: Any) -> None:
        try:
            await bell.wait()
        except BaseException as error:
            ended.put(error)
            raise

    pid = Server.start()
    pid.cast(wait)
    assert bell.reached.wait(WATCHDOG)
    waiting = GenServer.send_request(pid, "never")
    assert kill(pid) == "killed"
    assert isinstance(ended.get(timeout=WATCHDOG), asyncio.CancelledError)
    with pytest.raises(ServerExit) as caught:
        waiting.result(WATCHDOG)
    assert caught.value.reason == "killed"


def test_a_handler_that_swallows_its_cancellation_is_a_straggler_and_meets_killed(bell, kill):
    from resprout.actors import Killed

    ended: queue.Queue[object] = queue.Queue()

    async def stubborn(server: Any) -> None:
        try:
            await bell.wait()
        except asyncio.CancelledError:
            pass
        try:
            process.current()
        except BaseException as error:
            ended.put(error)

    pid = Server.start()
    pid.cast(stubborn)
    assert bell.reached.wait(WATCHDOG)
    kill(pid)
    assert isinstance(ended.get(timeout=WATCHDOG), Killed)


def test_terminate_may_await(crashes):
    done: list[object] = []

    class Slow(Server):
        async def terminate(self, reason: Any, state: Any) -> None:
            await asyncio.sleep(0)
            done.append(reason)

    pid = Slow.start()
    GenServer.stop(pid, "shutdown")
    assert done == ["shutdown"]


def test_init_may_await_and_a_slow_one_times_out(bell):
    from resprout.actors import StartError

    class Slow(Server):
        async def init(self, arg: Any) -> Any:
            if arg is None:
                await asyncio.sleep(0)
            else:
                await arg.wait()
            return Ok("ready")

    pid = Slow.start()
    pid.stop()
    with pytest.raises(StartError) as caught:
        Slow.start(bell, timeout=0.02)
    assert caught.value.reason == "timeout"


def test_a_blocked_ordinary_server_does_not_hold_up_async_ones(gate):
    held = gate()

    class Blocks(GenServer):
        def handle_cast(self, message: Any, state: Any) -> Any:
            held()
            return NoReply(state)

    blocked, pid = Blocks.start(), Server.start()
    blocked.cast("block")
    held.await_arrival()
    assert pid.call("answer") == "answer"
    held.open()
    blocked.stop()
    pid.stop()


def test_links_and_monitors_work_as_for_any_process(crashes, await_down):
    class Traps(Server):
        trap_exit = True

        async def handle_info(self, message: Any, state: Any) -> Any:
            seen.put(message)
            return NoReply(state)

    async def fail(server: Any) -> None:
        raise ValueError("boom")

    async def link(server: Any) -> None:
        process.link(pid)

    seen: queue.Queue[object] = queue.Queue()
    pid, watcher = Server.start(), Traps.start()
    watcher.call(link)
    ref = process.monitor(pid)
    pid.cast(fail)
    assert await_down(ref).reason == Crash(ValueError("boom"))
    assert seen.get(timeout=WATCHDOG) == Exited(pid, Crash(ValueError("boom")))
    watcher.stop()


def test_timeouts_of_calls_are_those_of_the_caller(bell):
    pid = Server.start()
    with pytest.raises(CallTimeout):
        pid.call(bell.wait, timeout=0.02)
    bell.ring()
    assert pid.call("next", timeout=WATCHDOG) == "next"
    pid.stop()


def test_a_user_without_a_loop_and_users_with_one_each_use_the_same_server():
    pid = Server.start()
    answers: list[object] = [pid.call(0)]

    async def main(n: int) -> None:
        answers.append(await GenServer.acall(pid, n))

    asyncio.run(main(1))
    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(n))) for n in (2, 3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
    assert sorted(answers) == [0, 1, 2, 3]
    pid.stop()


def test_many_async_servers_do_their_waiting_together():
    pids = [Server.start() for _ in range(100)]
    arrived: list[object] = []
    everybody = asyncio.Event()

    async def meet(server: Any) -> str:
        # Nobody goes on before all are here: one after the other they would wait for ever.
        arrived.append(server)
        if len(arrived) == len(pids):
            everybody.set()
        await everybody.wait()
        return "met"

    asked = [GenServer.send_request(pid, meet) for pid in pids]
    assert {each.result(WATCHDOG) for each in asked} == {"met"}
    for pid in pids:
        pid.stop()


def test_a_stop_from_a_coroutine_callback_ends_it(await_down):
    class Stops(Server):
        async def handle_cast(self, message: Any, state: Any) -> Any:
            await asyncio.sleep(0)
            return Stop("normal", state)

    pid = Stops.start()
    ref = process.monitor(pid)
    pid.cast("stop")
    assert await_down(ref).reason == "normal"
