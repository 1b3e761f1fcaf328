"""Each process runs in its own contextvars.Context, whatever thread it borrows."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from resprout.actors import GenServer, NoReply, Ok, Reply, process

WATCHDOG = 20.0
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Server(GenServer):
    def init(self, arg: Any) -> Any:
        if arg is not None:
            who.set(arg)
        return Ok()

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        was = who.get()
        if message is not None:
            who.set(message)
        return Reply(was, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        who.set(message)
        return NoReply(state)

    def handle_info(self, message: Any, state: Any) -> Any:
        process.send(message, who.get())
        return NoReply(state)


def test_a_callback_sees_its_own_processs_variables_and_not_the_callers(way):
    pid = way(Server).start("server")
    token = who.set("caller")
    try:
        assert pid.call(None) == "server"
        assert who.get() == "caller"
    finally:
        who.reset(token)
    pid.stop()


def test_what_a_callback_sets_is_there_for_the_next_one_and_for_nobody_else(way):
    pid, other = way(Server).start("first"), way(Server).start()
    assert pid.call("second") == "first"
    assert pid.call(None) == "second"
    pid.cast("third")
    assert pid.call(None) == "third"
    pid.send(process.current())
    assert process.receive(timeout=WATCHDOG) == "third"
    assert other.call(None) == "nobody"
    assert who.get() == "nobody"
    pid.stop()
    other.stop()


def test_a_server_begins_with_the_variables_of_its_starter(way):
    token = who.set("starter")
    try:
        pid = way(Server).start()
    finally:
        who.reset(token)
    assert pid.call(None) == "starter"
    pid.stop()


def test_a_spawned_function_has_variables_of_its_own(await_down):
    seen: list[str] = []

    def run() -> None:
        seen.append(who.get())
        who.set("spawned")

    async def run_on_the_loop() -> None:
        run()

    for function in (run, run_on_the_loop):
        token = who.set("spawner")
        try:
            _, ref = process.spawn_monitor(function)
            await_down(ref)
            assert who.get() == "spawner"
        finally:
            who.reset(token)
    assert seen == ["spawner", "spawner"]


def test_servers_called_by_servers_each_see_their_own():
    class Asks(Server):
        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply((who.get(), message.call(None), who.get()), state)

    for blocking in (False, True):
        kind = type("Asks", (Asks,), {"blocking": blocking})
        inner = type("Server", (Server,), {"blocking": blocking}).start("inner")
        outer = kind.start("outer")
        assert outer.call(inner) == ("outer", "inner", "outer")
        outer.stop()
        inner.stop()


def test_a_call_inside_a_task_leaves_the_tasks_variables_alone():
    class Quick(Server):
        blocking = False

    async def main() -> None:
        pid = Quick.start("server")
        who.set("task")
        assert pid.call("changed") == "server"
        assert who.get() == "task"
        await GenServer.astop(pid)

    asyncio.run(main())


def test_asyncio_and_decimal_contexts_stay_with_their_process():
    """Libraries keep settings in context variables: a server's must not leak into whoever calls it."""
    import decimal

    class Precise(GenServer):
        blocking = False

        def init(self, arg: Any) -> Any:
            decimal.getcontext().prec = 50
            return Ok()

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(decimal.getcontext().prec, state)

    before = decimal.getcontext().prec
    pid = Precise.start()
    decimal.getcontext().prec = before
    assert pid.call("precision") in (50, before)
    assert decimal.getcontext().prec == before
    pid.stop()
