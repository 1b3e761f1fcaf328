"""Servers that live on the event loop in which they were started: the user's own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Generator
from typing import Any, ClassVar

import pytest

from resprout.actors import (
    BlockingInLoop,
    Bounded,
    CallTimeout,
    Crash,
    Down,
    GenServer,
    MailboxFull,
    NoProcess,
    NoReply,
    Ok,
    Pid,
    Reply,
    SelfCall,
    ServerExit,
    Shutdown,
    StartError,
    Stop,
    process,
)
from resprout.actors import (
    sys as actors_sys,
)
from resprout.actors.runtime.thread_state import tasks
from resprout.actors.servers.loop_ends import GRACE
from resprout.actors.servers.on_loop import DEEPEST
from resprout.actors.servers.runnable import BUDGET

from ...interrupting import Interrupter, at_safe_points
from ...waiting import until

WATCHDOG = 20.0
CLOSED = Shutdown("loop closed")


class Server(GenServer):
    """Does what it is told, with itself as the argument."""

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if not callable(message):
            return Reply(message, state)
        result = message(self)
        if isinstance(result, Awaitable):
            result = await result
        return result if isinstance(result, Stop) else Reply(result, state)

    async def handle_cast(self, message: Any, state: Any) -> Any:
        result = message(self)
        if isinstance(result, Awaitable):
            await result
        return NoReply(state)

    async def handle_info(self, message: Any, state: Any) -> Any:
        return await self.handle_cast(message, state)


LOOPS = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:  # no wheels for this Python yet
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[], Any]], Any]:
    """Run a coroutine function on a loop of its own, as ``asyncio.run`` does."""

    def run_on(main: Callable[[], Any]) -> Any:
        loop = request.param()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    return run_on


class Watch:
    """A thread that awaits the deaths of processes."""

    def __init__(self, *pids: Pid) -> None:
        self.downs: list[Down] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(pids,))
        self._thread.start()
        assert self._ready.wait(WATCHDOG)

    def _look(self, pids: tuple[Pid, ...]) -> None:
        for pid in pids:
            process.monitor(pid)
        self._ready.set()
        for _ in pids:
            self.downs.append(process.receive(timeout=WATCHDOG))

    def reasons(self) -> list[object]:
        """The reasons, in the order of the deaths."""
        self._thread.join(WATCHDOG)
        return [down.reason for down in self.downs]

    def dead(self) -> list[Pid]:
        self._thread.join(WATCHDOG)
        return [down.pid for down in self.downs]


def in_thread(function: Callable[[], Any]) -> Any:
    """Call it in a plain thread, from outside of any loop."""
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(function()))
    thread.start()
    thread.join(WATCHDOG)
    return box[0]


# Where


def test_a_server_lives_on_the_loop_in_which_it_was_started(run):
    where: list[Any] = []

    class Here(Server):
        async def init(self, arg: Any) -> Any:
            where.append(asyncio.get_running_loop())
            return Ok(arg)

        async def terminate(self, reason: object, state: Any) -> None:
            where.append(asyncio.get_running_loop())

    async def main() -> None:
        pid = await Here.astart()
        where.append(await GenServer.acall(pid, lambda _: asyncio.get_running_loop()))
        await GenServer.astop(pid)
        assert where == [asyncio.get_running_loop()] * 3

    run(main)


def test_a_thread_calls_a_server_on_a_loop(run):
    async def main() -> None:
        pid = await Server.astart()
        here = await asyncio.to_thread(pid.call, lambda _: asyncio.get_running_loop())
        assert here is asyncio.get_running_loop()

    run(main)


def test_a_server_of_the_runtime_lives_on_its_loop_wherever_it_is_started(run):
    class Elsewhere(Server):
        loop = "runtime"

    async def main() -> None:
        pid = await Elsewhere.astart()
        assert await GenServer.acall(pid, lambda _: threading.current_thread().name) == "resprout-loop"
        await GenServer.astop(pid)

    run(main)


def test_a_server_that_must_be_here_needs_a_loop():
    class Here(Server):
        loop = "here"

    with pytest.raises(RuntimeError, match=r"needs an event loop: start it in a coroutine"):
        Here.start()


def test_another_value_of_the_option_is_refused():
    class Nowhere(Server):
        loop = "there"  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r'expected loop to be "here", "runtime" or None, got: \'there\''):
        Nowhere.start()


def test_loops_of_several_threads_have_servers_that_call_each_other(run):
    async def main() -> None:
        one = await Server.astart()

        async def other() -> Any:
            two = await Server.astart()

            async def ask(_: Any) -> Any:
                return await GenServer.acall(one, lambda _: threading.get_ident())

            answers = [await GenServer.acall(two, ask) for _ in range(50)]
            return threading.get_ident(), set(answers)

        there, answers = await asyncio.to_thread(run, other)
        assert there != threading.get_ident()
        assert answers == {threading.get_ident()}

    run(main)


# At once


def turns() -> list[None]:
    """Grows with the next turn of the loop."""
    seen: list[None] = []
    asyncio.get_running_loop().call_soon(seen.append, None)
    return seen


def test_an_idle_server_answers_within_the_step_of_its_caller(run):
    async def main() -> None:
        pid = await Server.astart()
        turn = turns()
        assert await GenServer.acall(pid, "at once") == "at once"
        assert turn == []

    run(main)


@pytest.mark.parametrize("tell", [GenServer.acast, process.asend], ids=["acast", "asend"])
def test_what_is_told_is_done_when_the_telling_returns(run, tell):
    async def main() -> None:
        pid = await Server.astart()
        done: list[str] = []
        turn = turns()
        told = tell(pid, lambda _: done.append("done"))
        assert done == ["done"]
        assert await told is None
        assert turn == []

    run(main)


def test_the_callback_is_in_a_task_and_context_of_its_own_from_its_first_step(run):
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="unset")
    seen: list[Any] = []

    async def look(_: Any) -> None:
        seen.append((asyncio.current_task(), mine.get(), process.current()))
        await asyncio.sleep(0)
        seen.append((asyncio.current_task(), mine.get(), process.current()))

    async def main() -> None:
        pid = await Server.astart()
        mine.set("caller's")
        me, myself = asyncio.current_task(), process.current()
        await GenServer.acall(pid, look)
        await GenServer.acall(pid, lambda _: mine.set("server's") and None)
        await GenServer.acall(pid, look)
        assert seen[0] == seen[1]
        assert seen[2] == seen[3] == (seen[0][0], "server's", pid)
        assert seen[0][1:] == ("unset", pid)
        assert seen[0][0] is not me
        assert (asyncio.current_task(), mine.get(), process.current()) == (me, "caller's", myself)

    run(main)


def test_a_timeout_inside_a_callback_ends_its_wait_and_not_the_callers(run):
    async def slow(_: Any) -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except asyncio.TimeoutError:
            return "the server's"
        return "nobody's"

    async def main() -> None:
        pid = await Server.astart()
        assert await GenServer.acall(pid, slow) == "the server's"
        assert await GenServer.acall(pid, "goes on") == "goes on"

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is new in 3.11")
def test_a_block_with_a_timeout_that_begins_in_the_first_step_belongs_to_the_server(run):
    async def slow(_: Any) -> str:
        try:
            async with asyncio.timeout(0.001):  # type: ignore[attr-defined]
                await asyncio.Event().wait()
        except TimeoutError:
            return "the server's"
        return "nobody's"

    async def main() -> None:
        pid = await Server.astart()
        assert await GenServer.acall(pid, slow) == "the server's"

    run(main)


def test_one_message_at_a_time_and_in_order_though_the_first_waits(run):
    done: list[int] = []

    async def main() -> None:
        pid = await Server.astart()
        gate = asyncio.Event()

        async def first(_: Any) -> None:
            await gate.wait()
            done.append(0)

        calls = [asyncio.ensure_future(GenServer.acall(pid, first))]
        await asyncio.sleep(0)
        for number in range(1, 20):
            GenServer.acast(pid, lambda _, number=number: done.append(number))
        calls.append(asyncio.ensure_future(GenServer.acall(pid, lambda _: done.append(20))))
        await asyncio.sleep(0)
        assert done == []
        gate.set()
        await asyncio.gather(*calls)
        assert done == list(range(21))

    run(main)


def test_a_caller_does_not_pay_for_what_others_have_sent(run):
    """What comes to the server while it is busy for the caller waits for a turn of the loop."""
    done: list[str] = []

    async def main() -> None:
        pid = await Server.astart()

        def more(_: Any) -> str:
            GenServer.cast(pid, lambda _: done.append("later"))
            return "first"

        assert await GenServer.acall(pid, more) == "first"
        assert done == []
        assert await GenServer.acall(pid, "behind it") == "behind it"
        assert done == ["later"]

    run(main)


def test_a_server_that_is_flooded_lets_its_loop_go_on(run):
    async def main() -> None:
        pid = await Server.astart()
        seen: list[int] = []
        for number in range(2000):
            GenServer.cast(pid, lambda _, number=number: seen.append(number))
        last = GenServer.send_request(pid, "last")
        turns_in_between = 0
        while not last.done():
            turns_in_between += 1
            await asyncio.sleep(0)
        assert seen == list(range(2000))
        assert turns_in_between > 5

    run(main)


def test_who_is_always_answered_at_once_lets_the_loop_go_on_all_the_same(run):
    async def main() -> None:
        servers = [await Server.astart() for _ in range(3)]
        for _ in range(2):
            calls, turn = 0, turns()
            while not turn:
                await GenServer.acall(servers[calls % 3], calls)
                calls += 1
            assert BUDGET <= calls <= BUDGET + 1

    run(main)


def test_a_flood_of_casts_is_handled_in_order_though_some_of_them_wait_for_the_loop(run):
    async def main() -> None:
        pid = await Server.astart()
        done: list[int] = []
        for number in range(2 * BUDGET):
            GenServer.acast(pid, lambda _, number=number: done.append(number))
        assert done == list(range(BUDGET))
        await GenServer.acall(pid, "behind them")
        assert done == list(range(2 * BUDGET))

    run(main)


def test_a_chain_of_servers_is_as_long_as_one_likes(run):
    """Steps within steps end somewhere: the rest of a chain goes on in the loop."""

    async def main() -> None:
        length = 10 * DEEPEST
        servers = [await Server.astart() for _ in range(length)]

        async def ask(server: Any) -> int:
            here = servers.index(server.pid)
            if here + 1 == length:
                return 1
            return 1 + await GenServer.acall(servers[here + 1], ask)

        assert await GenServer.acall(servers[0], ask) == length

    run(main)


def test_a_server_calls_no_self_and_blocks_no_loop(run):
    async def main() -> None:
        pid = await Server.astart()
        other = await Server.astart()

        async def itself(server: Any) -> None:
            with pytest.raises(SelfCall):
                await GenServer.acall(server.pid, "never")

        def blocking(_: Any) -> None:
            with pytest.raises(BlockingInLoop, match=r"GenServer\.acall"):
                other.call("never")

        await GenServer.acall(pid, itself)
        await GenServer.acall(pid, blocking)
        with pytest.raises(BlockingInLoop, match=r"GenServer\.acall"):
            other.call("never")

    run(main)


@pytest.mark.parametrize("wait", ["call", "stop", "call, in gather"])
def test_nor_does_it_on_a_thread_for_which_it_waits(run, wait):
    """In any mode, as a plain call to itself."""

    async def itself(server: Any) -> str:
        function = GenServer.stop if wait == "stop" else GenServer.call
        given = (server.pid,) if wait == "stop" else (server.pid, "never")
        with pytest.raises(SelfCall, match=r"itself.*would wait for its own"):
            if wait == "call, in gather":
                loop = asyncio.get_running_loop()
                await asyncio.gather(loop.run_in_executor(None, function, *given), asyncio.sleep(0))
            else:
                await asyncio.to_thread(function, *given)
        return "goes on"

    async def main() -> None:
        pid = await Server.astart()
        assert await GenServer.acall(pid, itself) == "goes on"
        await GenServer.astop(pid)

    run(main)


def test_a_thread_beside_which_it_waits_is_answered(run):
    async def main() -> None:
        pid = await Server.astart()
        asked: list[asyncio.Task[Any]] = []

        async def waits_beside(server: Any) -> None:
            asked.append(asyncio.ensure_future(asyncio.to_thread(server.pid.call, "behind it", WATCHDOG)))
            await asyncio.wait(asked, timeout=0.01)

        assert await GenServer.acall(pid, waits_beside) is None
        assert await asked[0] == "behind it"

    run(main)


def test_a_thread_for_which_it_does_not_wait_is_answered(run):
    async def main() -> None:
        pid, other = await Server.astart(), await Server.astart()
        loop = asyncio.get_running_loop()
        asked: list[Any] = []
        gate = asyncio.Event()

        async def starts(server: Any) -> None:
            asked.append(loop.run_in_executor(None, server.pid.call, "behind it", WATCHDOG))
            asked.append(loop.run_in_executor(None, other.call, "another", WATCHDOG))
            await asked[1]
            gate.set()

        assert await GenServer.acall(pid, starts) is None
        assert await asked[0] == "behind it"
        assert gate.is_set()

    run(main)


def test_a_call_that_takes_too_long_is_given_up(run):
    async def main() -> None:
        pid = await Server.astart()
        gate = asyncio.Event()
        with pytest.raises(CallTimeout, match=r"within 0\.001 s"):
            await GenServer.acall(pid, lambda _: gate.wait(), 0.001)
        gate.set()
        assert await GenServer.acall(pid, "next") == "next"

    run(main)


def test_a_caller_that_is_cancelled_leaves_the_server_alone(run):
    async def main() -> None:
        pid = await Server.astart()
        gate = asyncio.Event()
        calling = asyncio.ensure_future(GenServer.acall(pid, lambda _: gate.wait()))
        await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        gate.set()
        assert await GenServer.acall(pid, "next") == "next"

    run(main)


# What a first step waits for


class Own:
    """Awaitable, and nothing that asyncio knows."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, Any]:
        return (yield from self._future.__await__())


def as_future(outcome: asyncio.Future[Any]) -> Awaitable[Any]:
    return outcome


def as_task(outcome: asyncio.Future[Any]) -> Awaitable[Any]:
    async def wait() -> Any:
        return await outcome

    return asyncio.ensure_future(wait())


def as_answer(outcome: asyncio.Future[Any]) -> Awaitable[Any]:
    async def ask() -> Any:
        other = await Server.astart()
        return await GenServer.acall(other, lambda _: outcome)

    return ask()


KINDS = pytest.mark.parametrize("kind", [as_future, as_task, as_answer, Own])


@KINDS
def test_it_gets_the_result(run, kind):
    async def main() -> None:
        pid = await Server.astart()
        outcome = asyncio.get_running_loop().create_future()
        calling = asyncio.ensure_future(GenServer.acall(pid, lambda _: kind(outcome)))
        await asyncio.sleep(0)
        outcome.set_result("result")
        assert await calling == "result"

    run(main)


@pytest.mark.parametrize("kind", [as_future, as_task, Own])
def test_an_error_is_raised_where_it_waits(run, kind):
    async def main() -> None:
        pid = await Server.astart()
        outcome = asyncio.get_running_loop().create_future()

        async def wait(_: Any) -> str:
            with pytest.raises(LookupError, match="none"):
                await kind(outcome)
            return "goes on"

        calling = asyncio.ensure_future(GenServer.acall(pid, wait))
        await asyncio.sleep(0)
        outcome.set_exception(LookupError("none"))
        assert await calling == "goes on"

    run(main)


@KINDS
def test_it_is_cancelled_when_the_server_is_killed(run, kind):
    async def main() -> None:
        pid = await Server.astart()
        outcome = asyncio.get_running_loop().create_future()
        ended: list[type[BaseException]] = []

        async def wait(_: Any) -> None:
            try:
                await kind(outcome)
            except BaseException as error:
                ended.append(type(error))
                raise

        GenServer.acast(pid, wait)
        await asyncio.sleep(0)
        process.exit(pid, "kill")
        while not pid.left:
            await asyncio.sleep(0)
        assert ended == [asyncio.CancelledError]
        assert outcome.cancelled() is (kind is not as_answer)

    run(main)


def next_turn(_: asyncio.Future[Any]) -> Awaitable[None]:
    return asyncio.sleep(0)


@pytest.mark.parametrize("kind", [as_future, as_task, as_answer, Own, next_turn])
def test_a_cancellation_in_the_first_step_is_met_at_the_first_wait_and_counts_once(run, kind):
    async def main() -> None:
        pid = await Server.astart()
        outcome = asyncio.get_running_loop().create_future()

        async def cancel_and_wait(_: Any) -> int:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            with pytest.raises(asyncio.CancelledError):
                await kind(outcome)
            if sys.version_info < (3, 11):
                return 0
            return me.uncancel()

        assert await GenServer.acall(pid, cancel_and_wait) == 0
        assert await GenServer.acall(pid, "lives on") == "lives on"

    run(main)


def test_a_cancellation_in_a_step_that_waits_for_nothing_ends_the_server(run):
    async def main() -> None:
        pid = await Server.astart()
        watch = await asyncio.to_thread(Watch, pid)

        def cancel(_: Any) -> str:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            return "answer"

        assert await GenServer.acall(pid, cancel) == "answer"
        [reason] = await asyncio.to_thread(watch.reasons)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, asyncio.CancelledError)

    run(main)


def test_a_server_that_kills_itself_in_the_first_step_is_cancelled_where_it_waits(run):
    async def main() -> None:
        pid = await Server.astart()
        cancelled: list[str] = []

        async def die_and_wait(server: Any) -> None:
            await asyncio.to_thread(process.exit, server.pid, "kill")

        async def die_here_and_wait(server: Any) -> None:
            server.pid.signal(None, "kill", direct=True)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append("cancelled")
                raise

        with pytest.raises(ServerExit):
            await GenServer.acall(pid, die_here_and_wait)
        while not pid.left:
            await asyncio.sleep(0)
        assert cancelled == ["cancelled"]
        other = await Server.astart()
        with pytest.raises(ServerExit):
            await GenServer.acall(other, die_and_wait)

    run(main)


def test_what_belongs_to_another_loop_is_refused_where_it_is_awaited(run):
    async def main() -> None:
        pid = await Server.astart()
        other = asyncio.new_event_loop()

        async def wait(_: Any) -> str:
            with pytest.raises(RuntimeError, match="attached to a different loop"):
                await other.create_future()
            return "goes on"

        assert await GenServer.acall(pid, wait) == "goes on"
        other.close()

    run(main)


def test_a_callback_may_return_anything_that_can_be_awaited(run):
    class Returning(Server):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Own(message)

    async def main() -> None:
        pid = await Returning.astart()
        outcome = asyncio.get_running_loop().create_future()
        calling = asyncio.ensure_future(GenServer.acall(pid, outcome))
        await asyncio.sleep(0)
        outcome.set_result(Reply("later", None))
        assert await calling == "later"
        assert await GenServer.acall(pid, outcome) == "later"

    run(main)


def test_who_waits_for_an_answer_goes_on_in_the_turn_that_gives_it(run):
    order: list[str] = []

    async def main() -> None:
        pid = await Server.astart()
        gate = asyncio.get_running_loop().create_future()

        async def ask(name: str, message: Any) -> None:
            await GenServer.acall(pid, message)
            order.append(name)

        asking = [
            asyncio.ensure_future(ask("first", lambda _: gate)),
            asyncio.ensure_future(ask("second", "at once")),
        ]
        await asyncio.sleep(0)
        gate.set_result(None)
        asyncio.get_running_loop().call_soon(order.append, "later")
        await asyncio.gather(*asking)
        assert order == ["first", "second", "later"]

    run(main)


@pytest.mark.asyncio_loop  # uvloop forgets what was ready when an interrupt comes
def test_an_interrupt_of_one_who_was_answered_keeps_no_answer_from_the_others():
    loop = asyncio.new_event_loop()

    async def interrupted(pid: Pid, gate: Any) -> None:
        await GenServer.acall(pid, lambda _: gate)
        raise KeyboardInterrupt

    async def main() -> asyncio.Future[Any]:
        pid = await Server.astart()
        gate = loop.create_future()
        first = asyncio.ensure_future(interrupted(pid, gate))
        second = asyncio.ensure_future(GenServer.acall(pid, "second"))
        await asyncio.sleep(0)
        gate.set_result(None)
        await asyncio.sleep(0)
        await first
        return second

    running = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(running)
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(running)
    [second] = asyncio.all_tasks(loop)
    assert loop.run_until_complete(second) == "second"
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


# Ends


def test_a_callback_that_raises_in_its_first_step_ends_the_server_alone(run):
    async def main() -> None:
        pid = await Server.astart()
        with pytest.raises(ServerExit) as caught:
            await GenServer.acall(pid, lambda _: [][0])
        assert isinstance(caught.value.reason, Crash)
        assert pid.dead
        with pytest.raises(NoProcess):
            await GenServer.acall(pid, "anybody")

    run(main)


def test_a_server_stops_in_its_first_step(run):
    async def main() -> None:
        pid = await Server.astart("state")
        turn = turns()
        answer = await GenServer.acall(pid, lambda _: Stop("normal", "state", reply="bye"))
        assert (answer, pid.exit_reason, pid.left, turn) == ("bye", "normal", True, [])

    run(main)


@pytest.mark.parametrize("state", ["resting", "waiting"])
def test_a_server_is_killed_from_another_thread(run, state):
    async def main() -> None:
        pid = await Server.astart()
        cancelled: list[str] = []

        async def wait(_: Any) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(state)
                raise

        if state == "waiting":
            GenServer.acast(pid, wait)
        watch = await asyncio.to_thread(Watch, pid)
        await asyncio.to_thread(process.exit, pid, "kill")
        while not pid.left:
            await asyncio.sleep(0)
        assert await asyncio.to_thread(watch.reasons) == ["killed"]
        assert cancelled == (["waiting"] if state == "waiting" else [])

    run(main)


def test_when_its_loop_ends_servers_stop_in_reverse_order_whatever_they_do(run):
    ended: list[Any] = []

    class Tidy(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            await asyncio.sleep(0)
            ended.append((state, reason))

    async def main() -> tuple[Watch, list[Pid]]:
        servers = [await Tidy.astart(number) for number in range(4)]
        GenServer.acast(servers[2], lambda _: asyncio.Event().wait())
        return await asyncio.to_thread(Watch, *servers), servers

    watch, servers = run(main)
    assert ended == [(number, CLOSED) for number in (3, 2, 1, 0)]
    assert watch.dead() == servers[::-1]
    assert watch.reasons() == [CLOSED] * 4


def test_asyncio_run_ends_servers_after_its_tasks():
    order: list[str] = []

    class Tidy(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            order.append("server")

    async def worker(pid: Pid) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append(await GenServer.acall(pid, "task"))

    async def main() -> None:
        pid = await Tidy.astart()
        working = asyncio.ensure_future(worker(pid))
        await asyncio.sleep(0)
        assert not working.done()

    asyncio.run(main())
    assert order == ["task", "server"]


def test_a_loop_that_is_closed_without_more_ends_its_servers_as_well():
    loop = asyncio.new_event_loop()

    async def main() -> list[Pid]:
        servers = [await Server.astart() for _ in range(3)]
        GenServer.acast(servers[1], lambda _: asyncio.Event().wait())
        return servers

    servers = loop.run_until_complete(main())
    late = GenServer.send_request(servers[1], "never")
    watch = Watch(*servers)
    loop.close()
    assert watch.reasons() == [CLOSED] * 3
    with pytest.raises(ServerExit, match="loop closed"):
        late.result(WATCHDOG)
    with pytest.raises(NoProcess):
        servers[0].call("anybody")


async def in_gather() -> None:
    await asyncio.gather(asyncio.Event().wait(), asyncio.Event().wait())


async def in_wait_for() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 1000)


async def in_a_task_of_its_own() -> None:
    await asyncio.ensure_future(asyncio.Event().wait())


async def in_a_task_that_is_cancelled(_: Any = None) -> None:
    inner = asyncio.ensure_future(asyncio.Event().wait())
    inner.cancel()
    await inner


async def while_another_takes_its_time() -> None:
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(50):
                await asyncio.sleep(0)

    slowly = asyncio.ensure_future(slow())
    await asyncio.ensure_future(asyncio.Event().wait())
    await slowly


INNER = [in_gather, in_wait_for, in_a_task_of_its_own]
if sys.version_info >= (3, 11):
    # Before, a task does not say that it was cancelled.
    INNER.append(while_another_takes_its_time)


@pytest.mark.parametrize("wait", INNER)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_callback_whose_inner_tasks_end_with_the_loop_has_not_crashed(wait, at_once, crashes):
    ended: list[Any] = []

    class Tidy(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            ended.append(reason)

    async def main() -> Watch:
        pid = await Tidy.astart()
        (GenServer.acast if at_once else GenServer.cast)(pid, lambda _: wait())
        watch = await asyncio.to_thread(Watch, pid)
        await asyncio.sleep(0)
        return watch

    assert asyncio.run(main()).reasons() == [CLOSED]
    assert ended == [CLOSED]
    assert crashes() == []


@pytest.mark.parametrize("wait", INNER)
def test_nor_has_a_coroutine_worker(wait, crashes):
    async def main() -> Watch:
        watch = await asyncio.to_thread(Watch, process.spawn(wait))
        await asyncio.sleep(0)
        return watch

    assert asyncio.run(main()).reasons() == [CLOSED]
    assert crashes() == []


@pytest.mark.parametrize("kind", ["server", "worker"])
@pytest.mark.parametrize("others", ["none", "one that goes on"])
def test_an_inner_task_that_is_cancelled_while_the_loop_goes_on_is_a_crash(run, kind, others, crashes):
    async def main() -> None:
        inner: list[Any] = []

        async def wait(_: Any = None) -> None:
            inner.append(asyncio.ensure_future(asyncio.Event().wait()))
            await inner[0]

        if kind == "server":
            pid = await Server.astart()
            GenServer.acast(pid, wait)
        else:
            pid = process.spawn(wait)
        watch = await asyncio.to_thread(Watch, pid)
        goes_on = asyncio.ensure_future(asyncio.Event().wait())
        await asyncio.sleep(0)
        inner[0].cancel()
        if others == "none":
            goes_on.cancel()
            me = asyncio.current_task()
            assert me is not None
            # As whoever has a loop run without a task of his own.
            asyncio._unregister_task(me)
        [reason] = await asyncio.to_thread(watch.reasons)
        assert isinstance(reason, Crash)
        assert isinstance(reason.exception, asyncio.CancelledError)
        goes_on.cancel()

    run(main)
    assert len(crashes()) == 1


async def interrupted() -> None:
    """Be cancelled, as by Ctrl-C, and go on."""
    me = asyncio.current_task()
    assert me is not None
    me.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def cancelled() -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


async def awaits_what_is_cancelled(_: Any = None) -> None:
    await cancelled()


PATIENT = pytest.mark.parametrize("wait", [awaits_what_is_cancelled, in_a_task_that_is_cancelled])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what ends has not ended because of the time."""
    monkeypatch.setattr("resprout.actors.servers.loop_ends.PATIENCE", 10 * WATCHDOG)


@PATIENT
@pytest.mark.parametrize("at_once", [True, False])
def test_so_it_is_at_once_when_a_cancelled_task_that_goes_on_waits_for_the_server(
    run, wait, at_once, patient, crashes
):
    async def main() -> None:
        pid = await Server.astart()
        await interrupted()
        with pytest.raises(ServerExit) as caught:
            await (GenServer.acall(pid, wait, WATCHDOG) if at_once else GenServer.send_request(pid, wait))
        assert isinstance(caught.value.reason.exception, asyncio.CancelledError)

    run(main)
    assert len(crashes()) == 1


@PATIENT
@pytest.mark.parametrize("kind", ["server", "worker"])
def test_so_it_is_when_cancelled_tasks_go_on_for_long(run, wait, kind, monkeypatch, crashes):
    monkeypatch.setattr("resprout.actors.servers.loop_ends.PATIENCE", 0.03)

    async def main() -> None:
        server = await Server.astart()
        await interrupted()
        if kind == "worker":
            server = process.spawn(wait)
        watch = Watch(server)
        if kind == "server":
            GenServer.acast(server, wait)
        [reason] = await asyncio.to_thread(watch.reasons)
        assert isinstance(reason, Crash)

    run(main)
    assert len(crashes()) == 1


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks that say that they are cancelled")
@PATIENT
@pytest.mark.parametrize("kind", ["server", "worker"])
def test_so_it_is_when_a_cancellation_is_taken_back(run, wait, kind, patient, crashes):
    async def main() -> None:
        server = await Server.astart()
        await interrupted()
        if kind == "server":
            GenServer.acast(server, wait)
        else:
            server = process.spawn(wait)
        watch = await asyncio.to_thread(Watch, server)
        for _ in range(8):
            await asyncio.sleep(0)
        me = asyncio.current_task()
        assert me is not None
        me.uncancel()
        [reason] = await asyncio.to_thread(watch.reasons)
        assert isinstance(reason, Crash)

    run(main)
    assert len(crashes()) == 1


def test_who_is_killed_while_that_is_looked_into_is_gone(run):
    async def main() -> None:
        inner: list[Any] = []

        async def wait(_: Any = None) -> None:
            inner.append(asyncio.ensure_future(asyncio.Event().wait()))
            await inner[-1]

        server = await Server.astart()
        GenServer.acast(server, wait)
        worker = process.spawn(wait)
        await asyncio.sleep(0)
        me = asyncio.current_task()
        assert me is not None
        asyncio._unregister_task(me)
        for each in inner:
            each.cancel()
        for _ in range(4):
            await asyncio.sleep(0)
        for pid in (server, worker):
            process.exit(pid, "kill")
            while not pid.left:
                await asyncio.sleep(0)
            assert pid.exit_reason == "killed"

    run(main)


def test_a_start_that_has_not_begun_when_its_loop_is_closed_fails():
    """Of the first server of that loop, of which nothing there knows yet."""

    class Starter(GenServer):
        """Has a thread, and starts servers on the loop on which it was started itself."""

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            with pytest.raises(StartError, match="loop closed"):
                Server.start()
            return Reply("refused", state)

    loop = asyncio.new_event_loop()
    starter = loop.run_until_complete(Starter.astart())
    answer = GenServer.send_request(starter, "start one")
    until(lambda: [pid for pid in process.processes() if getattr(pid, "loop", None) is loop] != [])
    loop.close()
    assert answer.result(WATCHDOG) == "refused"
    starter.stop()


def test_a_server_that_does_not_end_in_time_is_killed(monkeypatch):
    monkeypatch.setattr("resprout.actors.servers.loop_ends.GRACE", 0.01)

    class Stubborn(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            await asyncio.Event().wait()

    async def main() -> Watch:
        return await asyncio.to_thread(Watch, await Stubborn.astart())

    assert asyncio.run(main()).reasons() == ["killed"]


def test_nothing_starts_on_a_loop_that_ends():
    refused: list[Any] = []

    class Late(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            with pytest.raises(StartError) as caught:
                await Server.astart()
            refused.append(caught.value.reason)

    async def main() -> None:
        await Late.astart()

    asyncio.run(main())
    assert refused == [CLOSED]


def test_a_server_that_is_told_something_after_its_loop_was_closed_is_dead(caplog):
    """By a way of closing that nobody sees: a subclass's own."""

    class Own(asyncio.SelectorEventLoop):
        pass

    loop = Own()

    async def main() -> Pid:
        return await Server.astart()

    pid = loop.run_until_complete(main())
    watch = Watch(pid)
    Own.close(loop)
    pid.send("anything")
    assert watch.reasons() == [CLOSED]


# Together with others


def test_a_bounded_mailbox_counts_what_is_done_at_once(run):
    class Small(Server):
        mailbox = Bounded(2)

    async def main() -> None:
        pid = await Small.astart()
        for number in range(10):
            assert await GenServer.acall(pid, number) == number
        gate = asyncio.Event()
        GenServer.acast(pid, lambda _: gate.wait())
        GenServer.acast(pid, lambda _: None)
        GenServer.acast(pid, lambda _: None)
        with pytest.raises(MailboxFull):
            GenServer.acast(pid, lambda _: None)
        gate.set()
        while pid.mailbox_length():
            await asyncio.sleep(0)
        assert await GenServer.acall(pid, "room again") == "room again"

    run(main)


def test_a_suspended_server_answers_nothing_until_it_is_resumed(run):
    async def main() -> None:
        pid = await Server.astart()
        await asyncio.to_thread(actors_sys.suspend, pid)
        calling = asyncio.ensure_future(GenServer.acall(pid, "later"))
        await asyncio.sleep(0)
        assert not calling.done()
        await asyncio.to_thread(actors_sys.resume, pid)
        assert await calling == "later"

    run(main)


@pytest.mark.alone
def test_an_interrupt_in_a_callback_is_for_whoever_runs_the_loop():
    lived: list[Any] = []

    async def main() -> None:
        pid = await Server.astart()

        def ctrl_c(_: Any) -> None:
            raise KeyboardInterrupt

        GenServer.acast(pid, ctrl_c)
        lived.append(await GenServer.acall(pid, "lives on"))
        await asyncio.sleep(WATCHDOG)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert lived == ["lives on"]


def test_a_crash_is_reported_once(run, caplog):
    async def main() -> None:
        pid = await Server.astart()
        GenServer.acast(pid, lambda _: [][0])

    with caplog.at_level(logging.ERROR):
        run(main)
    assert len([each for each in caplog.records if "IndexError" in each.getMessage()]) == 1


def test_callers_of_all_kinds_get_their_own_answers(run):
    """Threads, tasks of the loop, and tasks of another loop, at once."""

    async def main() -> None:
        pid = await Server.astart()

        async def pause(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async def tasks(base: int) -> bool:
            numbers = range(base, base + 300)
            asked = [number if number % 3 else (lambda _, n=number: pause(n)) for number in numbers]
            return await asyncio.gather(*(GenServer.acall(pid, each) for each in asked)) == list(numbers)

        def thread(base: int) -> bool:
            return [pid.call(number) for number in range(base, base + 300)] == list(range(base, base + 300))

        right = await asyncio.gather(
            tasks(0),
            asyncio.to_thread(thread, 1000),
            asyncio.to_thread(run, lambda: tasks(2000)),
            tasks(3000),
        )
        assert right == [True] * 4

    run(main)


def test_a_server_with_a_thread_goes_on_when_the_loop_in_which_it_was_started_ends():
    class Threaded(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(message, state)

    async def main() -> Pid:
        pid = await Threaded.astart()
        assert pid is not None
        return pid

    pid = asyncio.run(main())
    assert pid.call("goes on") == "goes on"
    pid.stop()


@pytest.mark.parametrize("waits", [True, False], ids=["that waits", "that rests"])
def test_a_server_whose_loop_was_closed_without_more_is_freed_with_it(waits):
    loop = asyncio.new_event_loop()

    async def main() -> Pid:
        pid = await Server.astart()
        if waits:
            GenServer.acast(pid, lambda _: asyncio.Event().wait())
        return pid

    pid = loop.run_until_complete(main())
    watch = Watch(pid)
    loop.close()
    watch.reasons()
    gone = weakref.ref(loop)
    del loop, pid, watch

    def freed() -> bool:
        gc.collect()
        return gone() is None

    # Who has told of the death may still be about to leave its frame.
    until(freed)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup is new in 3.11")
def test_a_server_whose_callback_was_cancelled_at_the_end_of_the_loop_can_use_task_groups(run):
    ended: list[str] = []

    class Tidy(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined]
                group.create_task(asyncio.sleep(0))
            ended.append("in order")

    async def main() -> None:
        pid = await Tidy.astart()
        GenServer.acast(pid, lambda _: asyncio.Event().wait())

    run(main)
    assert ended == ["in order"]


# At the end of a loop, at the worst moments


class Tidy(Server):
    """Says how it ends, after a turn of the loop."""

    ended: ClassVar[list[object]] = []

    async def terminate(self, reason: object, state: Any) -> None:
        await asyncio.sleep(0)
        self.ended.append(reason)


@pytest.fixture
def ended() -> list[object]:
    Tidy.ended.clear()
    return Tidy.ended


@pytest.mark.alone
@pytest.mark.parametrize("turns_before", range(6))
def test_a_server_that_is_starting_when_its_loop_ends_ends_with_it(run, ended, turns_before):
    async def main() -> asyncio.Task[Any]:
        starting = asyncio.ensure_future(Tidy.astart())
        for _ in range(turns_before):
            await asyncio.sleep(0)
        return starting

    before = set(tasks.values())
    began = time.monotonic()
    run(main)
    assert time.monotonic() - began < GRACE
    assert ended in ([], [CLOSED])
    assert [pid for pid in tasks.values() if pid.kind == "server" and pid not in before] == []


def test_a_server_with_a_long_queue_terminates_when_its_loop_ends(run, ended):
    async def main() -> None:
        pid = await Tidy.astart()
        for _ in range(5 * BUDGET):
            GenServer.cast(pid, lambda _: None)

    run(main)
    assert ended == [CLOSED]


def test_a_terminate_that_is_under_way_when_its_loop_ends_has_its_time(run):
    flushed: list[str] = []

    class Flushes(Server):
        async def terminate(self, reason: object, state: Any) -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            flushed.append("all of it")

    async def main() -> asyncio.Task[Any]:
        stopping = asyncio.ensure_future(GenServer.astop(await Flushes.astart()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return stopping

    run(main)
    assert flushed == ["all of it"]


def test_an_init_that_is_cut_short_by_the_end_of_its_loop_has_nothing_to_terminate(run, ended):
    class Slow(Tidy):
        async def init(self, arg: Any) -> Any:
            await asyncio.Event().wait()

    async def main() -> asyncio.Task[Any]:
        starting = asyncio.ensure_future(Slow.astart())
        for _ in range(5):
            await asyncio.sleep(0)
        return starting

    run(main)
    assert ended == []


# Broken and unusual


class Unprintable:
    def __repr__(self) -> str:
        return [][0]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
def test_a_result_that_cannot_even_be_shown_ends_the_server_and_is_handled_once(run, waits):
    handled: list[None] = []

    class Broken(GenServer):
        async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            handled.append(None)
            if waits:
                await asyncio.sleep(0)
            return Unprintable()

    async def main() -> None:
        pid = await Broken.astart()
        with pytest.raises(ServerExit):
            await GenServer.acall(pid, "anything")
        assert pid.dead

    run(main)
    assert handled == [None]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
def test_a_callback_that_raises_generator_exit_has_crashed(run, waits):
    async def leave(_: Any) -> None:
        if waits:
            await asyncio.sleep(0)
        raise GeneratorExit

    async def main() -> None:
        pid = await Server.astart()
        with pytest.raises(ServerExit):
            await GenServer.acall(pid, leave)
        assert pid.dead

    run(main)


def test_a_server_that_cancels_its_own_task_meets_that_before_the_next_message(run):
    async def main() -> None:
        pid = await Server.astart()

        def cancel(_: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)

        await GenServer.acall(pid, cancel)
        await asyncio.sleep(0)
        with pytest.raises((ServerExit, NoProcess)):
            await GenServer.acall(pid, lambda _: asyncio.Event().wait())
        assert pid.dead

    run(main)


def test_calls_keep_nothing_of_their_callers_context(run):
    class Thing:
        pass

    mine: contextvars.ContextVar[Any] = contextvars.ContextVar("mine")

    async def main() -> None:
        pid = await Server.astart()
        gate = asyncio.Event()

        async def caller() -> Any:
            thing = Thing()
            mine.set(thing)
            await GenServer.acall(pid, lambda _: asyncio.sleep(0))
            return weakref.ref(thing)

        gone = await asyncio.ensure_future(caller())
        lasting = asyncio.ensure_future(GenServer.acall(pid, lambda _: gate.wait()))
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None
        gate.set()
        await lasting

    run(main)


# Interrupts


def waits_for_a_future(_: Any) -> Any:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    return future


@pytest.mark.alone
@pytest.mark.asyncio_loop  # uvloop forgets what was ready when an interrupt comes
@at_safe_points
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # cut off before it was
@pytest.mark.parametrize(
    "message",
    ["at once", lambda _: asyncio.sleep(0), waits_for_a_future],
    ids=["at once", "a turn", "a future"],
)
def test_an_interrupt_of_the_loops_thread_anywhere_leaves_a_server_able_to_answer(
    interrupted: Interrupter, message: Any
) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # of calls that were cut off

    def run(awaitable: Any) -> Any:
        task = asyncio.ensure_future(awaitable, loop=loop)
        try:
            return loop.run_until_complete(task)
        except RuntimeError:
            # The end of the run that was cut off has ended this one, too.
            return loop.run_until_complete(task)

    pid = run(Server.astart())
    for cuts in interrupted.everywhere(50):
        call = loop.create_task(GenServer.acall(pid, message))
        interrupted(cuts, lambda call=call: loop.run_until_complete(call))
        assert pid.alive
        assert run(GenServer.acall(pid, "there?", 1.0)) == "there?", cuts
        run(asyncio.wait({call}, timeout=WATCHDOG))
        assert call.done(), cuts
        if not call.cancelled():
            call.exception()
    run(GenServer.astop(pid))
    run(loop.shutdown_asyncgens())
    loop.close()
