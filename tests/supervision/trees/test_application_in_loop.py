"""Applications that are started in an event loop, which their coroutines then share; and web applications
that have one for as long as they serve.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import resprout
from resprout.actors import (
    AlreadyStarted,
    BlockingInLoop,
    CallTimeout,
    GenServer,
    NoProcess,
    Pid,
    Shutdown,
    StartError,
    process,
)
from resprout.supervision.trees.application import Application

WATCHDOG = 20.0

MODULE = """
import asyncio
import threading

from resprout.actors import GenServer, Ok, Reply, Task, process

seen = []  # what happened, in order
loops = {}  # by who: where that was
gate = threading.Event()
waiting = threading.Event()  # for that gate


class Server(GenServer):
    trap_exit = True

    async def init(self, arg):
        self.id = arg["id"]
        if arg.get("wait"):
            seen.append(("waits", self.id))
            waiting.set()
            await asyncio.get_running_loop().run_in_executor(None, gate.wait)
        if arg.get("fail"):
            raise ValueError("no")
        process.register(self.pid, self.id)
        loops.setdefault(self.id, []).append(asyncio.get_running_loop())
        seen.append(("started", self.id))
        return Ok(None)

    async def handle_call(self, message, from_, state):
        if message == "crash":
            raise ValueError("boom")
        return Reply(message, state)

    async def terminate(self, reason, state):
        await asyncio.sleep(0)
        seen.append(("stopped", self.id))


async def where():
    return asyncio.get_running_loop()


class Plain(GenServer):
    def handle_call(self, message, from_, state):
        if message == "task":
            return Reply(Task.await_(Task.async_(where)), state)
        server = Where.start()
        found = server.call("where")
        server.stop()
        return Reply(found, state)


class Where(GenServer):
    async def handle_call(self, message, from_, state):
        return Reply(asyncio.get_running_loop(), state)


async def work():
    loops["work"] = [asyncio.get_running_loop()]
    await asyncio.Event().wait()
"""
_numbers = itertools.count()


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Callable[[str], tuple[Path, ModuleType]]]:
    """Write a tree of `Server`s and a module of their own; the path, and the module."""
    names = []

    def write(children: str) -> tuple[Path, ModuleType]:
        name = f"tree_in_loop_{next(_numbers)}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
        path = tmp_path / "tree.yaml"
        path.write_text(f"name: app\\nchildren:\\n{children}".replace("\\n", "\n").replace("MODULE", name))
        Application.load(path)
        return path, sys.modules[name]

    before = list(sys.path)
    yield write
    sys.path[:] = before
    for name in names:
        sys.modules.pop(name, None)


TWO = """
  - {worker: one, start: "MODULE:Server", args: {id: one}}
  - {worker: two, start: "MODULE:Server", args: {id: two}}
  - {worker: work, run: "MODULE:work"}
"""


def test_all_coroutines_of_a_tree_live_on_the_loop_in_which_it_was_started(written):
    path, module = written(TWO)

    async def main() -> None:
        async with Application.load(path) as application:
            assert application.root is not None
            assert application.root.alive
            with pytest.raises(resprout.ServerExit):
                await GenServer.acall("one", "crash")
            find = resprout.server("one", WATCHDOG)
            assert await GenServer.acall(await find(), "again") == "again"
            while "work" not in module.loops:
                await asyncio.sleep(0)
        here = asyncio.get_running_loop()
        assert module.loops == {"one": [here] * 2, "two": [here], "work": [here]}

    asyncio.run(main())
    assert module.seen[-2:] == [("stopped", "two"), ("stopped", "one")]


def test_what_a_thread_server_of_the_tree_starts_lives_on_its_loop(written):
    path, _ = written('  - {worker: plain, name: plain, start: "MODULE:Plain"}\n')

    async def main() -> None:
        here = asyncio.get_running_loop()
        async with Application.load(path):
            assert await GenServer.acall("plain", "task") is here
            assert await GenServer.acall("plain", "server") is here

    asyncio.run(main())


@pytest.mark.parametrize(
    "stop", [lambda it: asyncio.run(it.astop()), lambda it: it.stop()], ids=["loop", "thread"]
)
def test_it_is_stopped_from_another_loop_and_from_a_thread(written, stop):
    path, module = written(TWO)

    async def main() -> None:
        application = Application.load(path)
        await application.astart()
        await asyncio.to_thread(stop, application)
        assert await application.await_() == "shutdown"
        assert module.seen[-2:] == [("stopped", "two"), ("stopped", "one")]
        assert application.root is not None
        assert application.root.dead

    asyncio.run(main())


def test_a_tree_that_is_started_by_a_thread_lives_on_the_loop_of_the_runtime(written):
    path, module = written(TWO)
    application = Application.load(path)
    application.start()
    application.stop()
    assert {loop for loops in module.loops.values() for loop in loops} == {module.loops["one"][0]}
    assert module.loops["one"][0] is resprout.actors.runtime.loop.runtime_loop()


def test_an_application_is_stopped_when_its_loop_ends_if_nobody_has_stopped_it(written):
    path, module = written(TWO)

    async def main() -> Application:
        application = Application.load(path)
        await application.astart()
        return application

    application = asyncio.run(main())
    application.wait(WATCHDOG)
    assert module.seen[-2:] == [("stopped", "two"), ("stopped", "one")]


def test_a_cancelled_block_stops_its_tree(written):
    path, module = written(TWO)

    async def main() -> None:
        entered = asyncio.Event()

        async def block() -> None:
            async with Application.load(path):
                entered.set()
                await asyncio.Event().wait()

        blocked = asyncio.ensure_future(block())
        await entered.wait()
        blocked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await blocked
        assert module.seen[-2:] == [("stopped", "two"), ("stopped", "one")]

    asyncio.run(main())


def test_a_start_that_is_cancelled_leaves_nothing_that_runs(written):
    path, module = written('  - {worker: one, start: "MODULE:Server", args: {id: one, wait: true}}\n')

    async def main() -> None:
        application = Application.load(path)
        starting = asyncio.ensure_future(application.astart())
        assert await asyncio.to_thread(module.waiting.wait, WATCHDOG)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        module.gate.set()
        await application.await_(WATCHDOG)
        assert module.seen == [("waits", "one"), ("started", "one"), ("stopped", "one")]

    asyncio.run(main())


def test_a_start_that_fails_says_why_and_stops_the_others(written):
    path, module = written(
        '  - {worker: one, start: "MODULE:Server", args: {id: one}}\n'
        '  - {worker: bad, start: "MODULE:Server", args: {id: bad, fail: true}}\n'
    )

    async def main() -> None:
        with pytest.raises(StartError, match="no"):
            async with Application.load(path):
                raise AssertionError("never here")

    asyncio.run(main())
    assert module.seen == [("started", "one"), ("stopped", "one")]


def test_the_forms_for_coroutines_are_named_by_those_that_block(written):
    path, _ = written(TWO)

    async def main() -> None:
        application = Application.load(path)
        with pytest.raises(BlockingInLoop, match=r"application\.astart\(\)"):
            application.start()
        await application.astart()
        with pytest.raises(AlreadyStarted):
            await application.astart()
        with pytest.raises(BlockingInLoop, match=r"application\.astop\(\)"):
            application.stop()
        with pytest.raises(CallTimeout, match=r"did not end within 0\.001 s"):
            await application.await_(0.001)
        await application.astop(Shutdown("done"))
        assert await application.await_() == Shutdown("done")
        await application.astop()

    asyncio.run(main())


def test_waiting_for_one_that_was_never_started_is_a_mistake(written):
    path, _ = written(TWO)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="was not started"):
            await Application.load(path).await_()

    asyncio.run(main())


# For as long as a web application serves


def test_a_lifespan_has_a_tree_run_and_hands_the_application_on(written):
    path, module = written(TWO)
    lifespan = resprout.lifespan(path)

    async def main() -> None:
        for _ in range(2):  # as each worker does
            async with lifespan(object()) as state:
                assert state["resprout"].root.alive
                assert await GenServer.acall("two", "served") == "served"

    asyncio.run(main())
    assert module.seen[-2:] == [("stopped", "two"), ("stopped", "one")]


def test_a_server_that_is_not_there_is_waited_for_as_long_as_told():
    async def main() -> None:
        with pytest.raises(NoProcess, match="nobody"):
            await resprout.server("nobody", timeout=0.001)()

    asyncio.run(main())


def test_a_server_that_comes_back_is_found(written):
    path, _ = written(TWO)

    async def main() -> None:
        finding = asyncio.ensure_future(resprout.server("one", WATCHDOG)())
        await asyncio.sleep(0)
        async with Application.load(path):
            found: Pid = await finding
            assert found is process.whereis("one")

    asyncio.run(main())


@pytest.mark.parametrize("handled", [True, False], ids=["a server that handles SIGTERM", "somebody else"])
def test_a_tree_that_ends_by_itself_has_the_program_that_serves_end(written, handled, caplog, monkeypatch):
    path, _ = written(TWO)
    told = threading.Event()
    monkeypatch.setattr(signal, "getsignal", lambda number: (lambda *_: None) if handled else signal.SIG_DFL)
    monkeypatch.setattr(signal, "raise_signal", lambda number: told.set())

    async def main() -> None:
        async with resprout.lifespan(path)(object()) as state:
            application: Any = state["resprout"]
            ended = asyncio.ensure_future(application.await_())
            process.exit(application.root, "kill")
            await ended
            while not caplog.records:
                await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR, "resprout.application"):
        asyncio.run(main())
    what_follows = "the server that it runs in is told to end" if handled else "so it goes on without it"
    assert "application app ended by itself: 'killed'; " in caplog.text
    assert what_follows in caplog.text
    assert told.is_set() is handled
