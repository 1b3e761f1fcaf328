"""Processes that would wait for each other for ever.

What only development mode sees is run in an interpreter that is in that mode: this file is a program, too.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys as python
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resprout.actors import (
    IGNORE,
    CallCycle,
    CallTimeout,
    Crash,
    GenServer,
    NoReply,
    Ok,
    Pid,
    Reply,
    ServerExit,
    StartError,
    Stop,
    Task,
    process,
    sys,
)
from resprout.actors.runtime import call_cycles as cycles
from resprout.supervision import DynamicSupervisor, Supervisor

WATCHDOG = 20.0


class Server(GenServer):
    """Does in its callbacks what it is told: an arg and a message are functions of the server."""

    def init(self, arg: Any) -> Any:
        return Ok(arg(self) if callable(arg) else arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message(self) if callable(message) else message, state)

    def handle_continue(self, token: Any, state: Any) -> Any:
        token(self)
        return NoReply(state)


class Inline(Server):
    blocking = False


def cycle_of(error: BaseException) -> CallCycle:
    """The one that is the reason, however deep in the reasons of supervisors."""
    reason: Any = error
    while not isinstance(reason, CallCycle):
        reason = getattr(reason, "reason", None) or getattr(reason, "exception", None) or reason.detail
    return reason


ASK: dict[str, Callable[[Any], Any]] = {
    "which_children": Supervisor.which_children,
    "count_children": Supervisor.count_children,
    "start_child": lambda top: DynamicSupervisor.start_child(top, Server.child_spec(None)),
    "a call": lambda top: GenServer.call(top, "x", timeout=None),
    "a call of the Pid": lambda top: process.whereis(top).call("x"),
    "Pykka's ask": lambda top: process.whereis(top).ask("x"),
    "a request that is waited for": lambda top: GenServer.send_request(top, "x").result(),
    "a stop": GenServer.stop,
    "Pykka's stop": lambda top: process.whereis(top).stop(),
    "sys.get_state": sys.get_state,
    "sys.suspend": lambda top: sys.suspend(top, timeout=None),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_call_to_its_own_supervisor_from_init_raises_at_once_and_says_what_to_do(threaded, ask):
    top = DynamicSupervisor.start_link(name="cycles.top")
    inits: list[Pid] = []

    def init(server: Any) -> Any:
        inits.append(server.pid)
        return ask("cycles.top")

    with pytest.raises(StartError) as caught:
        DynamicSupervisor.start_child(top, threaded(Server).child_spec(init, restart="temporary"))
    error = cycle_of(caught.value)
    assert error.chain == (inits[0], top)
    assert error.starting
    assert "from its init" in str(error)
    assert "handle_continue" in str(error)
    # The supervisor goes on.
    assert DynamicSupervisor.count_children(top).active == 0
    DynamicSupervisor.stop(top)


def test_what_was_refused_is_not_done_afterwards(threaded):
    top = DynamicSupervisor.start_link()
    for _ in range(3):
        with pytest.raises(StartError):
            DynamicSupervisor.start_child(top, threaded(Server).child_spec(lambda _: ASK["start_child"](top)))
    assert DynamicSupervisor.which_children(top) == []
    DynamicSupervisor.stop(top)


def test_the_first_start_of_a_supervisor_fails_with_it(threaded):
    spec = threaded(Server).child_spec(lambda _: Supervisor.which_children("cycles.static"))
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([spec], strategy="one_for_one", name="cycles.static")
    assert cycle_of(caught.value).starting


def test_a_call_to_a_supervisor_further_up_that_waits_is_one_too(threaded):
    leaf = threaded(Server).child_spec(lambda _: Supervisor.which_children("cycles.top"))
    inner = Supervisor.child_spec([leaf], name="cycles.inner", strategy="one_for_one")
    with pytest.raises(StartError) as caught:
        Supervisor.start_link([inner], strategy="one_for_one", name="cycles.top")
    error = cycle_of(caught.value)
    assert len(error.chain) == 3
    assert f"waits to start <0.{error.chain[2].id}" in str(error)
    assert "which waits until that init is over" in str(error)


def test_it_is_not_only_supervisors_and_links(threaded):
    for starter_class in (threaded(Server), Server):
        starter = starter_class.start()

        def start(server: Any) -> str:
            with pytest.raises(StartError) as caught:
                threaded(Server).start(lambda _: server.pid.call("x"))
            return str(cycle_of(caught.value))

        assert "from its init" in starter.call(start)
        starter.stop()


def test_a_coroutine_in_init_is_told_as_well():
    class Asks(Server):
        async def init(self, ask: Any) -> Any:
            return Ok(await ask())

    def in_a_thread(function: Any, *args: Any) -> Any:
        return asyncio.get_running_loop().run_in_executor(executor, function, *args)

    top = DynamicSupervisor.start_link()
    with ThreadPoolExecutor(1) as executor:
        for ask in (
            lambda: GenServer.acall(top, "x", timeout=None),
            lambda: GenServer.astop(top),
            lambda: in_a_thread(Supervisor.which_children, top),
            lambda: in_a_thread(GenServer.call, top, "x", None),
        ):
            with pytest.raises(StartError) as caught:
                DynamicSupervisor.start_child(top, Asks.child_spec(ask, restart="temporary"))
            assert cycle_of(caught.value).starting
    DynamicSupervisor.stop(top)


def test_an_awaited_request_is_told_as_well():
    class Asks(Server):
        async def init(self, top: Any) -> Any:
            return Ok(await GenServer.send_request(top, "x"))

    top = DynamicSupervisor.start_link()
    with pytest.raises(StartError) as caught:
        DynamicSupervisor.start_child(top, Asks.child_spec(top, restart="temporary"))
    assert cycle_of(caught.value).starting
    DynamicSupervisor.stop(top)


def test_after_init_the_supervisor_answers(way):
    class Later(Server):
        def init(self, top: Any) -> Any:
            return Ok(top, continue_with=lambda server: None)

        def handle_cast(self, message: Any, state: Any) -> Any:
            return NoReply(state)

    top = DynamicSupervisor.start_link()
    pid = DynamicSupervisor.start_child(top, way(Later).child_spec(top))
    assert pid.starter is None
    assert pid.id not in cycles.suspects
    pid.stop()
    DynamicSupervisor.stop(top)


def test_in_handle_continue_it_may_be_asked(threaded):
    told = process.current()

    def ask(server: Any) -> None:
        process.send(told, [child.pid for child in Supervisor.which_children("cycles.top")])

    class Later(Server):
        def init(self, arg: Any) -> Any:
            return Ok(None, continue_with=ask)

    top = DynamicSupervisor.start_link(name="cycles.top")
    pid = DynamicSupervisor.start_child(top, Later.child_spec())
    assert process.receive(timeout=WATCHDOG) == [pid]
    DynamicSupervisor.stop(top)


def test_in_init_others_may_be_asked(threaded):
    """Also one that was started by the same supervisor, and casts to the supervisor itself."""
    first = threaded(Server).child_spec("answer", id="first", name="cycles.first")

    def ask(server: Any) -> Any:
        GenServer.cast("cycles.top", "a stray")
        return GenServer.call("cycles.first", "question")

    second = threaded(Server).child_spec(ask, id="second", name="cycles.second")
    top = Supervisor.start_link([first, second], strategy="one_for_one", name="cycles.top")
    assert sys.get_state("cycles.second") == "question"
    Supervisor.stop(top)


@pytest.mark.parametrize("result", [IGNORE, Stop("no"), ValueError("no")], ids=["IGNORE", "Stop", "raises"])
def test_nothing_is_kept_of_a_start_that_comes_to_nothing(way, result):
    pids: list[Pid] = []

    class Not(Server):
        def init(self, arg: Any) -> Any:
            pids.append(self.pid)
            if isinstance(result, Exception):
                raise result
            return result

    try:
        assert way(Not).start() is None
    except StartError:
        pass
    assert pids[0].starter is None
    assert pids[0].id not in cycles.suspects


# -- what development mode sees ------------------------------------------------------------------------------


def in_development(name: str, *options: str) -> None:
    """Run one of the functions below in an interpreter of its own."""
    made = subprocess.run(
        [python.executable, *options, __file__, name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def call(target: Pid, message: Any = "x") -> Callable[[Any], Any]:
    """Have a server call another."""
    return lambda server: target.call(message, timeout=None)


def reason_of(error: ServerExit) -> CallCycle:
    while isinstance(error.reason, Crash) and isinstance(error.reason.exception, ServerExit):
        error = error.reason.exception
    assert isinstance(error.reason, Crash)
    assert isinstance(error.reason.exception, CallCycle), error
    return error.reason.exception


def two_servers_that_call_each_other() -> None:
    for one in (Server, Inline):
        for other in (Server, Inline):
            first, second = one.start(), other.start()
            with pytest.raises(ServerExit) as caught:
                first.call(call(second, call(first)), timeout=None)
            error = reason_of(caught.value)
            assert error.chain == (second, first)
            assert not error.starting
            assert f"would wait for <0.{first.id}" in str(error)
            assert "GenServer.reply" in str(error)


def a_refused_call_is_not_made_later() -> None:
    seen: list[Any] = []

    class Notes(Server):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            if callable(message):
                return Reply(message(self), state)
            seen.append(message)
            return Reply("answered", state)

    def try_to(target: Pid) -> Callable[[Any], Any]:
        def ask(server: Any) -> str:
            with pytest.raises(CallCycle):
                target.call("from within")
            return "refused"

        return ask

    first, second = Notes.start(), Notes.start()
    assert first.call(lambda server: second.call(try_to(first))) == "refused"
    assert first.call("from outside") == "answered"
    assert seen == ["from outside"]


def three_in_a_circle_one_of_them_on_the_loop() -> None:
    class Looped(Server):
        async def handle_call(self, target: Any, from_: Any, state: Any) -> Any:
            return Reply(await GenServer.acall(target, call(target), timeout=None), state)

    first, second, third = Server.start(), Looped.start(), Server.start()

    class Third(Server):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(first.call("x", timeout=None), state)

    third = Third.start()
    with pytest.raises(ServerExit) as caught:
        first.call(lambda server: second.call(third, timeout=None), timeout=None)
    assert reason_of(caught.value).chain == (third, first, second)


def other_ways_to_wait() -> None:
    for wait in (
        lambda target: GenServer.send_request(target, "x").result(),
        lambda target: target.ask("x", block=False).get(),
        lambda target: GenServer.stop(target),
        lambda target: target.stop(),
        lambda target: sys.get_state(target, timeout=None),
        lambda target: target.proxy().pid.get(),
    ):
        first, second = Server.start(), Server.start()

        def ask(server: Any, wait: Any = wait, first: Any = first) -> None:
            wait(first)

        with pytest.raises(ServerExit) as caught:
            first.call(call(second, ask), timeout=None)
        assert reason_of(caught.value).chain == (second, first), wait


def a_task_that_calls_whom_it_is_awaited_by() -> None:
    def ask(server: Any) -> str:
        me = server.pid
        task = Task.async_(lambda: cycle_in(lambda: me.call("x", timeout=None)))
        return Task.await_(task, timeout=None)

    def cycle_in(wait: Callable[[], Any]) -> str:
        arrived.wait(WATCHDOG)
        with pytest.raises(CallCycle) as caught:
            wait()
        return str(caught.value)

    arrived = threading.Event()
    first = Server.start()
    asked = GenServer.send_request(first, ask)
    while first.id not in cycles.waits:
        process.sleep(0.001)
    arrived.set()
    assert f"which waits for <0.{first.id}" not in asked.result(WATCHDOG)
    assert f"would wait for <0.{first.id}" in asked.result(WATCHDOG)


def a_start_in_the_middle() -> None:
    first, other = Server.start(), Server.start()

    def start(server: Any) -> Any:
        with pytest.raises(StartError) as caught:
            Server.start(lambda _: other.call(call(first), timeout=None))
        return reason_of(caught.value.reason.exception)

    error = first.call(start, timeout=None)
    assert error.chain[:2] == (other, first)
    assert len(error.chain) == 3


def two_that_begin_at_once() -> None:
    for _ in range(50):
        both = threading.Barrier(2)
        first, second = Server.start(), Server.start()

        def meet(target: Pid, both: Any = both) -> Callable[[Any], Any]:
            def ask(server: Any) -> Any:
                both.wait(WATCHDOG)
                return target.call("x", timeout=WATCHDOG)

            return ask

        asked = [GenServer.send_request(first, meet(second)), GenServer.send_request(second, meet(first))]
        errors = [each.exception(WATCHDOG) for each in asked]
        assert any(isinstance(error, ServerExit) and reason_of(error) for error in errors), errors


def no_circle_is_seen_where_there_is_none() -> None:
    class Early(Server):
        """Answers first, and calls back whom it has answered."""

        def handle_call(self, caller: Any, from_: Any, state: Any) -> Any:
            GenServer.reply(from_, "early")
            assert caller.call("back") == "back"
            return NoReply(state)

    first, early = Server.start(), Early.start()
    for _ in range(300):
        assert first.call(lambda server: early.call(server.pid)) == "early"

    gate = threading.Event()

    def give_up(server: Any) -> str:
        with pytest.raises(CallTimeout):
            slow.call(lambda _: gate.wait(WATCHDOG), timeout=0.01)
        return "gave up"

    slow = Server.start()
    assert first.call(give_up) == "gave up"
    gate.set()
    assert slow.call(call(first)) == "x"

    # A thread may be called by nobody, and one that waits twice for the same is no circle.
    assert slow.call(lambda server: [first.call("a"), first.call("b")]) == ["a", "b"]
    top = Supervisor.start_link(
        [Server.child_spec(lambda _: first.call("x"), id=n) for n in range(3)], strategy="one_for_one"
    )
    Supervisor.stop(top)


def what_is_over_is_forgotten() -> None:
    server = Server.start()
    message = Server()  # anything that can be referred to weakly
    kept = weakref.ref(message)
    server.call(message)
    del message
    gc.collect()
    assert kept() is None
    for _ in range(4 * cycles.ROOM):
        _, ref = process.spawn_monitor(server.call, "x")
        process.receive(lambda message, ref=ref: message.ref is ref, timeout=WATCHDOG)
    assert len(cycles.waits) <= 2 * cycles.ROOM


DEVELOPMENT = [
    two_servers_that_call_each_other,
    a_refused_call_is_not_made_later,
    three_in_a_circle_one_of_them_on_the_loop,
    other_ways_to_wait,
    a_task_that_calls_whom_it_is_awaited_by,
    a_start_in_the_middle,
    two_that_begin_at_once,
    no_circle_is_seen_where_there_is_none,
    what_is_over_is_forgotten,
]


@pytest.mark.parametrize("program", DEVELOPMENT, ids=lambda program: program.__name__)
def test_in_development_mode(program):
    in_development(program.__name__, "-X", "dev")


def nothing_is_noted() -> None:
    first, second = Server.start(), Server.start()

    def ask(server: Any) -> str:
        with pytest.raises(CallTimeout):
            first.call("x", timeout=0.01)
        return "gave up"

    assert first.call(lambda server: second.call(ask)) == "gave up"
    assert not cycles.waits
    assert not cycles.suspects


def test_otherwise_nothing_is_noted_and_a_circle_ends_when_somebody_gives_up():
    in_development("nothing_is_noted")


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)
    globals()[python.argv[1]]()
