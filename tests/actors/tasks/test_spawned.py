"""Spawned functions: their ends, their mailboxes, and selective receive."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from typing import Any

import pytest

from resprout.actors import (
    BlockingInLoop,
    CallTimeout,
    Crash,
    Down,
    Exited,
    GenServer,
    Killed,
    NoReply,
    Pid,
    Reply,
    ResproutError,
    process,
)

WATCHDOG = 20.0


def test_a_spawned_function_is_a_process_of_its_own():
    seen: queue.Queue[Pid] = queue.Queue()
    pid = process.spawn(lambda: seen.put(process.current()))
    assert seen.get(timeout=WATCHDOG) is pid
    assert pid is not process.current()


def test_it_gets_its_arguments(await_down):
    seen: list[object] = []
    _, ref = process.spawn_monitor(lambda *args: seen.append(args), 1, "two")
    await_down(ref)
    assert seen == [(1, "two")]


class Callable:
    """Has no name of its own."""

    def __init__(self, go_on: threading.Event) -> None:
        self.go_on = go_on

    def __call__(self) -> None:
        self.go_on.wait(WATCHDOG)


def wait_for(go_on: threading.Event, timeout: float) -> None:
    go_on.wait(timeout)


async def await_for(go_on: threading.Event, timeout: float) -> None:
    await asyncio.to_thread(go_on.wait, timeout)


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Callable, "Callable"),
        (lambda go_on: functools.partial(wait_for, go_on, WATCHDOG), "wait_for"),
        (lambda go_on: functools.partial(functools.partial(await_for, go_on), WATCHDOG), "await_for"),
    ],
)
def test_it_is_called_what_its_function_is_called(made, name, await_down):
    go_on = threading.Event()
    pid, ref = process.spawn_monitor(made(go_on))
    assert f" {name}>" in str(pid)
    go_on.set()
    await_down(ref)


@pytest.mark.parametrize("coroutine", [False, True])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (lambda: None, "normal"),
        (lambda: "a value", "normal"),
        (lambda: process.exit("enough"), "enough"),
        (lambda: process.exit("normal"), "normal"),
        (lambda: [].pop(), Crash(IndexError("pop from empty list"))),
    ],
)
def test_its_end_is_its_exit_reason(how, reason, coroutine, await_down, crashes):
    async def awaited() -> Any:
        await asyncio.sleep(0)
        return how()

    pid, ref = process.spawn_monitor(awaited if coroutine else how)
    assert await_down(ref) == Down(ref, pid, reason)


@pytest.mark.parametrize("coroutine", [False, True])
def test_spawn_link_is_linked_from_the_start(coroutine, crashes):
    def fail() -> None:
        raise ValueError("boom")

    async def fail_later() -> None:
        raise ValueError("boom")

    process.trap_exit(True)
    pid = process.spawn_link(fail_later if coroutine else fail)
    assert process.receive(timeout=WATCHDOG) == Exited(pid, Crash(ValueError("boom")))


def test_a_killed_function_meets_killed_at_its_next_call(gate, kill):
    held, ended = gate(), queue.Queue()

    def run() -> None:
        held()
        try:
            process.current()
        except Exception as error:
            ended.put(error)
        except Killed as error:
            ended.put(error)
            raise

    pid = process.spawn(run)
    held.await_arrival()
    assert kill(pid) == "killed"
    held.open()
    assert isinstance(ended.get(timeout=WATCHDOG), Killed)


@pytest.mark.parametrize("wait", [process.receive, lambda: process.sleep(1000)])
def test_a_wait_ends_with_its_process(wait, kill):
    entered, ended = threading.Event(), threading.Event()

    def run() -> None:
        entered.set()
        try:
            wait()
        except Killed:
            ended.set()
            raise

    pid = process.spawn(run)
    assert entered.wait(WATCHDOG)
    kill(pid)
    assert ended.wait(WATCHDOG)


def test_a_signal_cancels_a_coroutine(kill):
    entered, ended = threading.Event(), queue.Queue()

    async def run() -> None:
        entered.set()
        try:
            await asyncio.sleep(1000)
        except BaseException as error:
            ended.put(error)
            raise

    pid = process.spawn(run)
    assert entered.wait(WATCHDOG)
    assert kill(pid, "enough") == "enough"
    assert isinstance(ended.get(timeout=WATCHDOG), asyncio.CancelledError)


def test_a_process_killed_before_its_first_step_never_runs(kill):
    ran: list[int] = []
    for _ in range(50):
        pid = process.spawn_link(lambda: process.receive() or ran.append(1))
        process.unlink(pid)
        assert kill(pid) == "killed"
    assert ran == []


def test_only_callables_can_be_spawned():
    with pytest.raises(TypeError, match="callable"):
        process.spawn(42)


def test_many_functions_run_at_once(gate, await_down):
    """Each may block as long as it likes."""
    held = gate()
    refs = [process.spawn_monitor(held)[1] for _ in range(100)]
    for _ in refs:
        held.await_arrival()
    held.open()
    assert {await_down(ref).reason for ref in refs} == {"normal"}


# -- receive ---------------------------------------------------------------------------


def test_receive_takes_messages_in_order():
    me = process.current()
    for n in range(5):
        process.send(me, n)
    assert [process.receive(timeout=0) for _ in range(5)] == list(range(5))


def test_receive_takes_the_oldest_that_matches_and_leaves_the_rest_in_order():
    me = process.current()
    for n in range(10):
        process.send(me, n)
    assert process.receive(lambda message: message % 2 == 1, timeout=0) == 1
    assert process.receive(lambda message: message > 6, timeout=0) == 7
    process.send(me, 10)
    assert [process.receive(timeout=0) for _ in range(9)] == [0, 2, 3, 4, 5, 6, 8, 9, 10]


def test_receive_gives_up_after_its_timeout():
    process.send(process.current(), "other")
    with pytest.raises(CallTimeout):
        process.receive(lambda message: message == "awaited", timeout=0.01)
    with pytest.raises(CallTimeout):
        process.receive(lambda message: message == "awaited", timeout=0)
    assert process.receive(timeout=0) == "other"


def test_none_and_false_are_messages():
    me = process.current()
    for message in (None, False, 0, ""):
        process.send(me, message)
    assert [process.receive(timeout=0) for _ in range(4)] == [None, False, 0, ""]


def test_a_matching_that_raises_loses_no_message():
    me = process.current()
    for n in (1, "two", 3):
        process.send(me, n)
    with pytest.raises(TypeError):
        process.receive(lambda message: message > 2, timeout=0)
    assert [process.receive(timeout=0) for _ in range(3)] == [1, "two", 3]


def test_a_message_that_comes_during_the_wait_is_received(shaken):
    me = process.current()
    for n in range(50):
        with shaken():
            sender = threading.Thread(target=process.send, args=(me, n))
            sender.start()
            assert process.receive(lambda message, n=n: message == n, timeout=WATCHDOG) == n
        sender.join(WATCHDOG)


def test_a_message_at_any_moment_of_a_receive_wakes_it(at_every_line):
    def a_round() -> Any:
        ready: queue.Queue[Pid] = queue.Queue()
        got: queue.Queue[object] = queue.Queue()

        def wait() -> None:
            ready.put(process.current())
            got.put(process.receive(timeout=WATCHDOG))

        receiver = threading.Thread(target=wait)
        receiver.start()
        pid = ready.get(timeout=WATCHDOG)

        def check() -> None:
            assert got.get(timeout=WATCHDOG) == "message"
            receiver.join(WATCHDOG)

        return lambda: process.send(pid, "message"), lambda: None, check

    at_every_line(a_round)


def test_a_server_may_receive_inside_a_callback():
    """It sees plain messages and notices; calls and casts wait for their callbacks, in order."""

    class Server(GenServer):
        def init(self, arg: Any) -> Any:
            self.handled: list[object] = []
            return super().init(arg)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            if message == "wait":
                process.send(self.pid, "noise")
                GenServer.cast(self.pid, "cast")
                return Reply(process.receive(lambda message: message == "awaited", timeout=WATCHDOG), state)
            return Reply(self.handled, state)

        def handle_cast(self, message: Any, state: Any) -> Any:
            self.handled.append(("cast", message))
            return NoReply(state)

        def handle_info(self, message: Any, state: Any) -> Any:
            self.handled.append(("info", message))
            return NoReply(state)

    pid = Server.start()
    asked = GenServer.send_request(pid, "wait")
    process.send(pid, "more noise")
    later = GenServer.send_request(pid, "handled")
    process.send(pid, "awaited")
    assert asked.result(WATCHDOG) == "awaited"
    later.result(WATCHDOG)
    handled = pid.call("handled")
    assert sorted(handled) == [("cast", "cast"), ("info", "more noise"), ("info", "noise")]
    assert handled.index(("cast", "cast")) > handled.index(("info", "noise"))
    pid.stop()


def test_a_server_may_await_a_down_inside_a_callback(await_down):
    class Server(GenServer):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            _, ref = process.spawn_monitor(process.exit, "done")
            return Reply(await_down(ref).reason, state)

    pid = Server.start()
    assert pid.call("go") == "done"
    pid.stop()


def test_a_non_blocking_server_may_look_but_not_wait():
    class Server(GenServer):
        blocking = False

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            process.send(self.pid, "there")
            first = process.receive(timeout=0)
            try:
                process.receive(timeout=1)
            except (RuntimeError, ResproutError) as error:
                return Reply((first, str(error)), state)
            return Reply("waited", state)

    pid = Server.start()
    first, error = pid.call("go")
    assert first == "there"
    assert "block" in error
    pid.stop()


def test_waiting_inside_a_loop_is_refused():
    async def main() -> None:
        process.send(process.current(), "there")
        assert process.receive(timeout=0) == "there"
        for wait in (lambda: process.receive(timeout=1), lambda: process.sleep(0.01)):
            with pytest.raises(BlockingInLoop):
                wait()

    asyncio.run(main())


def test_messages_to_a_dead_function_are_dropped(kill):
    pid = process.spawn(process.receive)
    kill(pid)
    process.send(pid, "anybody?")
    assert process.info(pid) is None


def test_a_coroutine_awaits_messages():
    seen: queue.Queue[object] = queue.Queue()

    async def run() -> None:
        seen.put(await process.areceive(lambda message: message == "awaited", timeout=WATCHDOG))
        seen.put(await process.areceive(timeout=WATCHDOG))
        try:
            await process.areceive(timeout=0.01)
        except CallTimeout:
            seen.put("nothing more")

    pid = process.spawn(run)
    process.send(pid, "noise")
    process.send(pid, "awaited")
    assert [seen.get(timeout=WATCHDOG) for _ in range(3)] == ["awaited", "noise", "nothing more"]


def test_a_task_awaits_messages_and_notices():
    async def main() -> None:
        pid, ref = process.spawn_monitor(process.exit, "done")
        assert await process.areceive(timeout=WATCHDOG) == Down(ref, pid, "done")

    asyncio.run(main())


def test_whatever_makes_a_coroutine_runs_on_the_loop(await_down):
    """Partials and objects whose call is a coroutine function are not forgotten half-way."""
    import functools

    seen: list[object] = []

    async def note(*args: object) -> None:
        await asyncio.sleep(0)
        seen.append(args)

    class Called:
        async def __call__(self) -> None:
            await note("object")

    for function, *args in ((functools.partial(note, "partial"),), (Called(),), (note, "plain")):
        _, ref = process.spawn_monitor(function, *args)
        assert await_down(ref).reason == "normal"
    assert seen == [("partial",), ("object",), ("plain",)]
