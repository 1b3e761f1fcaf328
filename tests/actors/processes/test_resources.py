"""What a process owns is closed when it ends, and before anybody else hears of the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import GenServer, Killed, NoReply, NotOwned, Ok, StartError, Stop, process
from resprout.supervision import Supervisor

from ...scripted import Runs

WATCHDOG = 20.0


class Thing:
    def __init__(self, name: str = "thing", closed: list[str] | None = None) -> None:
        self.name = name
        self.closed: list[str] = [] if closed is None else closed

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def close(self) -> None:
        self.closed.append(self.name)


@pytest.mark.parametrize("end", ["normal", "stop", "crash", "kill"])
def test_what_it_owns_is_closed_in_reverse_order_before_a_monitor_hears(end, way, await_down, crashes):
    closed: list[str] = []
    pid = way(Runs).start()
    pid.call(lambda: [GenServer.own(Thing(name, closed)) for name in "abc"] and None)
    ref = process.monitor(pid)
    if end == "normal":
        pid.cast(lambda: process.exit("normal"))
    elif end == "stop":
        GenServer.stop(pid)
    elif end == "crash":
        pid.cast(lambda: 1 / 0)
    else:
        process.exit(pid, "kill")
    await_down(ref)
    assert closed == ["c", "b", "a"]


def test_a_crash_report_and_info_name_what_is_owned(await_down, crashes):
    pid = Runs.start()
    thing = Thing("pump")
    pid.call(lambda: process.own(thing) and None)
    assert process.info(pid).owned == (thing,)
    ref = process.monitor(pid)
    pid.cast(lambda: 1 / 0)
    await_down(ref)
    assert crashes()[0].owned == ("<pump>",)
    assert "owned: <pump>" in str(crashes()[0])


@pytest.mark.parametrize("kind", ["spawned", "coroutine"])
def test_a_spawned_function_closes_what_it_owns_when_it_returns(kind, await_down):
    thing = Thing()

    async def coroutine() -> None:
        process.own(thing)

    _, ref = process.spawn_monitor(coroutine if kind == "coroutine" else lambda: process.own(thing))
    await_down(ref)
    assert thing.closed == ["thing"]


def test_a_thread_closes_what_it_owns_when_it_ends(await_down):
    thing, made, go_on = Thing(), threading.Event(), threading.Event()
    pids: list[Any] = []

    def body() -> None:
        process.own(thing)
        pids.append(process.current())
        made.set()
        go_on.wait(WATCHDOG)

    thread = threading.Thread(target=body)
    thread.start()
    assert made.wait(WATCHDOG)
    ref = process.monitor(pids[0])
    go_on.set()
    thread.join()
    assert await_down(ref).reason == "normal"
    assert thing.closed == ["thing"]


def test_an_asyncio_thing_is_closed_on_its_loop():
    class Client:
        async def aclose(self) -> None:
            await asyncio.sleep(0)
            closed_on.set_result(asyncio.get_running_loop())

    closed_on: Any = None

    async def main() -> None:
        nonlocal closed_on
        closed_on = asyncio.get_running_loop().create_future()

        async def owns() -> None:
            process.own(Client())

        await asyncio.create_task(owns())
        assert await asyncio.wait_for(closed_on, WATCHDOG) is asyncio.get_running_loop()

    asyncio.run(main())


def test_the_error_says_so_when_the_loop_is_closed(caplog, await_down, kill):
    class Client:
        async def aclose(self) -> None:
            raise AssertionError("never called")

    caplog.set_level(logging.ERROR, logger="resprout")
    loop = asyncio.new_event_loop()
    pids: list[Any] = []

    async def owns() -> None:
        process.own(Client())
        pids.append(process.current())
        await asyncio.sleep(WATCHDOG)

    async def main() -> Any:
        task = asyncio.create_task(owns())
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(main())
    task._log_destroy_pending = False
    loop.close()
    kill(pids[0])
    assert "its event loop is closed" in caplog.text


def test_a_blocked_accept_returns_when_its_process_is_killed(kill):
    ended, listening = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        process.own(listener)
        listening.set()
        try:
            listener.accept()
        except OSError:
            ended.set()

    pid = process.spawn(accept)
    assert listening.wait(WATCHDOG)
    kill(pid)
    assert ended.wait(WATCHDOG)
    assert listener.fileno() == -1


def test_a_successor_binds_the_same_port_again_and_again(await_down, caplog):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    class Acceptor(GenServer):
        def init(self, arg: Any) -> Any:
            # Without SO_REUSEADDR nothing hides that the port is still taken.
            return Ok(self.own(socket.create_server(("127.0.0.1", port))), continue_with="accept")

        def handle_continue(self, token: Any, listener: Any) -> Any:
            listener.accept()
            return NoReply(listener)

    caplog.set_level(logging.CRITICAL)
    supervisor = Supervisor.start_link([Acceptor], strategy="one_for_one", max_restarts=3)
    for _ in range(3):
        pid = Supervisor.which_children(supervisor)[0].pid
        ref = process.monitor(pid)
        process.exit(pid, "kill")
        await_down(ref)
    assert Supervisor.which_children(supervisor)[0].pid.alive
    Supervisor.stop(supervisor)


def test_a_stuck_close_is_passed_over_and_named_and_the_successor_starts(gate, caplog):
    stuck, others = gate(), []
    started: list[threading.Event] = [threading.Event(), threading.Event()]

    class Child(GenServer):
        def init(self, arg: Any) -> Any:
            first = not started[0].is_set()
            if first:
                self.own(Thing("quick", others))
                self.own(Thing("stuck one"), close=stuck)
            started[0 if first else 1].set()
            return Ok()

    caplog.set_level(logging.WARNING, logger="resprout")
    supervisor = Supervisor.start_link([Child.child_spec(shutdown=0.4)], strategy="one_for_one")
    process.exit(Supervisor.which_children(supervisor)[0].pid, "kill")
    assert started[1].wait(WATCHDOG)
    assert others == ["quick"]
    assert "it is not waited for any longer: <stuck one>" in caplog.text
    stuck.open()
    Supervisor.stop(supervisor)


def test_a_close_that_raises_is_reported_and_the_others_are_closed(await_down, crashes):
    closed: list[str] = []

    def owns() -> None:
        process.own(Thing("first", closed))
        process.own(Thing("bad"), close=lambda thing: 1 / 0)

    _, ref = process.spawn_monitor(owns)
    await_down(ref)
    assert closed == ["first"]
    assert "ZeroDivisionError" in str(crashes()[0])
    assert crashes()[0].last_message == "closing <bad>"


def test_owning_twice_is_one_owning_and_the_newest_close_wins(await_down):
    closed: list[str] = []
    thing = Thing("t", closed)

    def owns() -> None:
        assert process.own(thing) is thing
        process.own(thing, close=lambda: closed.append("newest"))

    await_down(process.spawn_monitor(owns)[1])
    assert closed == ["newest"]


def test_what_is_disowned_stays_open_and_what_is_not_owned_cannot_be(await_down):
    thing = Thing("t")
    errors: list[Exception] = []

    def owns() -> None:
        process.own(thing)
        process.disown(thing)
        try:
            process.disown(thing)
        except NotOwned as error:
            errors.append(error)

    await_down(process.spawn_monitor(owns)[1])
    assert thing.closed == []
    assert "owns (nothing), got: <t>" in str(errors[0])


def test_a_thing_without_a_close_is_refused_with_what_to_give():
    with pytest.raises(TypeError, match=r"say how it is closed: own\(thing, close=function\)"):
        process.own(object())
    with pytest.raises(TypeError, match="expected close to be a function, got: 'close'"):
        process.own(Thing(), close="close")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no argument or the thing alone"):
        process.own(Thing(), close=lambda one, two: None)


def test_what_a_dead_process_owns_is_closed_at_once_and_it_meets_its_death(gate, kill):
    there, closed, met = gate(), threading.Event(), threading.Event()

    def owns() -> None:
        there()
        try:
            process.own(Thing(), close=closed.set)
        except Killed:
            met.set()
            raise

    pid = process.spawn(owns)
    there.await_arrival()
    kill(pid)
    there.open()
    assert closed.wait(WATCHDOG)
    assert met.wait(WATCHDOG)


def test_a_starter_hears_of_a_failed_init_when_what_it_opened_is_closed():
    thing = Thing()

    class Fails(GenServer):
        def init(self, arg: Any) -> Any:
            self.own(thing)
            return Stop("no")

    with pytest.raises(Exception, match="no"):
        Fails.start()
    assert thing.closed == ["thing"]


def test_a_start_that_takes_too_long_is_over_when_what_it_opened_is_closed(gate):
    thing, never = Thing(), gate()

    class Slow(GenServer):
        def init(self, arg: Any) -> Any:
            self.own(thing)
            self.own(Thing(), close=lambda: threading.Event().wait(0.1))
            never()

    with pytest.raises(StartError, match="timeout"):
        Slow.start(timeout=0.2)
    assert thing.closed == ["thing"]


def test_a_file_descriptor_is_owned_by_its_value(await_down):
    read, write = os.pipe()

    def owns() -> None:
        for each in (read, write):
            process.own(each, close=os.close)

    await_down(process.spawn_monitor(owns)[1])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)


def test_a_killed_supervisors_successor_waits_for_what_its_orphans_own(await_down, caplog):
    closing: list[str] = []
    pause: Callable[[float], bool] = threading.Event().wait

    class Child(GenServer):
        def init(self, arg: Any) -> Any:
            closing.append("start")
            self.own(Thing(), close=lambda: (pause(0.2), closing.append("closed")))
            return Ok()

    below = {"id": "below", "start": (Supervisor.start_link, ([Child],), {"strategy": "one_for_one"})}
    caplog.set_level(logging.CRITICAL)
    top = Supervisor.start_link([{**below, "type": "supervisor"}], strategy="one_for_one")
    pid = Supervisor.which_children(top)[0].pid
    ref = process.monitor(pid)
    process.exit(pid, "kill")
    await_down(ref)
    assert Supervisor.which_children(top)[0].pid.alive
    assert closing == ["start", "closed", "start"]
    Supervisor.stop(top)


AT_EXIT = (
    "import threading\n"
    "from resprout import process\n"
    "from resprout.actors import GenServer, Ok\n"
    "from resprout.actors.system import shutdown\n"
    "shutdown.AT_EXIT = 2.0\n"
    "def say(): print('closed', flush=True)\n"
)


@pytest.mark.parametrize("stuck", [1, 2, 3])
def test_at_exit_everything_is_closed_and_a_stuck_close_does_not_keep_it(script, stuck):
    done = script(
        f"{AT_EXIT}"
        f"process.own(open({os.devnull!r}), close=lambda file: (file.close(), say()))\n"
        f"for _ in range({stuck}): process.own(object(), close=threading.Event().wait)\n"
        f"process.own(object(), close=say)\n"
    )
    # Two threads close: behind two that are stuck, the oldest is not come to.
    assert done.stdout == ("closed\n" * 2 if stuck == 1 else "closed\n"), done.stderr
    assert done.returncode == 0
    assert "not waited for any longer" in done.stderr
    assert done.stderr.count("<object object") == stuck, done.stderr


def test_what_is_owned_for_the_first_time_at_exit_is_closed(script):
    done = script(
        f"{AT_EXIT}"
        "class Late(GenServer):\n"
        "    trap_exit = True\n"
        "    def init(self, state):\n"
        "        return Ok(state)\n"
        "    def terminate(self, reason, state):\n"
        "        process.own(object(), close=say)\n"
        "shutdown.at_exit(Late.start(None))\n"
    )
    assert (done.stdout, done.stderr) == ("closed\n", "")


def test_a_tree_that_owns_something_stuck_is_stopped_at_exit(script):
    done = script(
        f"{AT_EXIT}"
        "class Owner(GenServer):\n"
        "    def init(self, state):\n"
        "        self.own(object(), close=threading.Event().wait)\n"
        "        self.own(object(), close=say)\n"
        "        return Ok(state)\n"
        "shutdown.at_exit(Owner.start(None))\n"
        "Owner.start(None)\n"
    )
    assert done.stdout == "closed\n" * 2, done.stderr
    assert done.returncode == 0
    assert done.stderr.count("<object object") == 2, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_closes_nothing_of_its_parents(script):
    done = script(
        "import os; from resprout import process\n"
        "process.own(object(), close=lambda: print('closed in', os.getpid() == parent, flush=True))\n"
        "parent = os.getpid()\n"
        "if os.fork(): os.wait()\n"
        "else: process.current()\n"
    )
    assert done.stdout == "closed in True\n", done.stderr
