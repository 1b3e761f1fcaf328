"""Holds the table of docs/async.md against the code: each name that blocks is refused in a running loop by an
error that names the form of the table, the form exists and does the same, and no name is missing.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib
import inspect
import re
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pykka
import pytest

import resprout
from resprout import (
    Agent,
    Application,
    BlockingInLoop,
    Bounded,
    DynamicSupervisor,
    Future,
    GenServer,
    Ok,
    PartitionSupervisor,
    Pid,
    Registry,
    Reply,
    Shutdown,
    Supervisor,
    Task,
    TaskSupervisor,
    cluster,
    process,
    testing,
    throttle,
)
from resprout import sys as rsys
from resprout.cluster.handle import Handle, handles
from resprout.cluster.settings import EngineSettings
from resprout.registry.engine import key_engines
from resprout.throttle.lock.engines import engines

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "async.md"
ROOMS = ("actors", "registry", "supervision", "throttle", "testing")
WATCHDOG = 20.0
SPAN = re.compile(r"`([^`]+)`")


class Echo(GenServer):
    """Answers with what it is asked."""

    def init(self, arg: object) -> Any:
        return Ok(arg)

    def handle_call(self, message: object, from_: object, state: object) -> Any:
        return Reply(message, state)


class Full(GenServer):
    """Has a sender wait."""

    mailbox = Bounded(1, on_full="block")

    def init(self, arg: object) -> Any:
        return Ok(arg)

    def handle_call(self, message: Callable[[], object], from_: object, state: object) -> Any:
        return Reply(message(), state)


class Old(pykka.ThreadingActor):
    """Knows nothing of resprout."""

    def on_receive(self, message: object) -> object:
        return message


@attrs.define
class World:
    """What there is to call."""

    tree: Path
    echo: Pid
    agent: Pid
    supervisor: Pid
    child: Pid
    dynamic: Pid
    one: Pid
    partitions: Pid
    tasks: Pid
    application: Application
    pending: Future[int]


def engine_without_a_server() -> Handle:
    """An engine that can't be reached, and knows of nobody."""
    handle = Handle(EngineSettings("nowhere", "postgresql://nowhere/x"))
    handle.everywhere = lambda ledger: ([], [])  # type: ignore[method-assign]  # there is no server to be asked
    handle.make_keys = lambda settings: NobodyElse()  # type: ignore[method-assign,assignment,return-value]  # the same
    return handle


class NobodyElse:
    """The keys of a registry whose engine knows of no other process (see registry.engine.SharedKeys)."""

    stored_key = stored_value = staticmethod(str)

    def claim(self, key: str, value: str, owner: object) -> Any:
        claim = SimpleNamespace(over=False, answer=Future())
        claim.answer.set(True)
        return claim

    def ask(self, claim: Any) -> None:
        """It has its answer."""

    def take(self, claim: Any) -> bool:
        return True

    def drop(self, claim: Any) -> None:
        claim.over = True

    def leave(self, claim: Any) -> Future[None]:
        known: Future[None] = Future()
        known.set(None)
        return known

    async def afind(self, key: str) -> list[Any]:
        return []

    def valid(self) -> bool:
        return True

    def close(self) -> None:
        """Nobody knows of it."""


class Connection:
    """A connection with which everything is well."""

    async def execute(self, statement: object, values: object) -> None:
        """Nothing to be told of."""


async def make(tmp_path: Path) -> World:
    """Make a world; whatever is in it ends with the region of the test."""
    path = tmp_path / "tree.yaml"
    path.write_text(TREE, encoding="utf-8")
    supervisor = await Supervisor.astart_link([Agent.child_spec(dict, id="child")])
    dynamic = await DynamicSupervisor.astart_link()
    partitions = await PartitionSupervisor.astart_link(child_spec=(Agent, dict), name="parts", partitions=2)
    Registry.start_link(keys="unique", name="keys")
    Registry.register("keys", "me", 1)
    throttle.new("slots", 2)
    handles["nowhere"] = engines["nowhere"] = key_engines["nowhere"] = engine_without_a_server()
    throttle.new("far", 1, engine="nowhere")
    Registry.start_link(keys="unique", name="far_keys", engine="nowhere")
    (info,) = await Supervisor.awhich_children(supervisor)
    one = await DynamicSupervisor.astart_child(dynamic, (Agent, dict))
    assert isinstance(info.pid, Pid)
    assert one is not None
    return World(
        tree=path,
        echo=await Echo.astart("state", name="echo"),
        agent=await Agent.astart(lambda: 41),
        supervisor=supervisor,
        child=info.pid,
        dynamic=dynamic,
        one=one,
        partitions=partitions,
        tasks=await TaskSupervisor.astart_link(),
        application=Application.load(path),
        pending=Future(),
    )


TREE = """
name: small
children:
  - {registry: of_the_tree, keys: unique}
"""

Blocks = Callable[[World], Any]
Form = Callable[[World], Awaitable[Any]]
Expected = Callable[[World, Any], Any]


async def later(value: Any) -> Any:
    """A result that comes after a turn of the loop."""
    await asyncio.sleep(0)
    return value


def slow() -> Task:
    """A task that has not ended yet."""
    return Task.async_(later, "done")


def stubborn() -> Task:
    """A task that does not end when it is told to."""
    traps = threading.Event()

    def work() -> None:
        process.trap_exit()
        traps.set()
        process.receive(lambda message: False)

    task = Task.async_(work)
    assert traps.wait(WATCHDOG)
    return task


async def collect(results: Any) -> list[Any]:
    return [result async for result in results]


async def awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def completed(future: Future[int]) -> int:
    asyncio.get_running_loop().call_soon(future.set, 3)
    return await future


async def run_application(world: World) -> Any:
    """Run it on a thread, as the table says, and stop it."""
    running = asyncio.ensure_future(asyncio.to_thread(world.application.run))
    await resprout.server("of_the_tree", WATCHDOG)()
    await world.application.astop()
    return await running


async def started(world: World) -> Any:
    return await world.application.astart()


async def wait_for_end(world: World) -> Any:
    await world.application.astart()
    waiting = asyncio.ensure_future(world.application.await_())
    await asyncio.sleep(0)
    await world.application.astop(Shutdown("enough"))
    return await waiting


async def stopped_application(world: World) -> Any:
    root = await world.application.astart()
    await world.application.astop()
    return root.alive


async def reloaded_application(world: World) -> Any:
    await world.application.astart()
    done = await asyncio.to_thread(world.application.reload)
    await world.application.astop()
    return (done.stopped, done.restarted, done.started, done.failed)


async def full_mailbox(send: Callable[[Pid], Any]) -> Any:
    """A server that is busy, and has one message in its mailbox."""
    server = await Full.astart()
    gate: Future[str] = Future()
    busy = GenServer.send_request(server, lambda: gate.result(WATCHDOG))
    while server.mailbox_length():
        await asyncio.sleep(0)
    server.send("waits")
    try:
        return send(server)
    finally:
        gate.set("go on")
        assert await busy == "go on"


async def send_later(world: World) -> Any:
    server = await Full.astart()
    await asyncio.to_thread(server.send, "message")
    while server.mailbox_length():
        await asyncio.sleep(0)
    return await GenServer.acall(server, lambda: "taken")


async def call_bounded() -> Any:
    server = await Full.astart()
    return server.call(lambda: "never")


async def acall_bounded() -> Any:
    server = await Full.astart()
    return await GenServer.acall(server, lambda: "answer")


async def in_slot() -> Any:
    async with throttle.slot("slots") as grant:
        return grant.held


def with_slot() -> None:
    with throttle.slot("slots"):
        raise AssertionError("unreachable")


def with_isolated() -> None:
    with testing.isolated():
        raise AssertionError("unreachable")


async def in_region() -> Any:
    async with testing.isolated(leaks="ignore") as region:
        return isinstance(region, testing.Region)


async def advanced() -> Any:
    with testing.clock() as clock:
        before = clock.now()
        await clock.aadvance(2.0)
        return clock.now() - before


def advance() -> None:
    with testing.clock() as clock:
        clock.advance(1.0)


async def received() -> Any:
    process.send(process.current(), "message")
    return await process.areceive()


async def down_of_agent(world: World) -> Any:
    waiting = asyncio.ensure_future(testing.aawait_down(world.agent))
    await asyncio.sleep(0)
    process.exit(world.agent, "kill")
    return await waiting


async def restarted(world: World) -> Any:
    testing.crash(world.child)
    return await testing.aawait_restart(world.child)


async def foreign(world: World) -> Any:
    old = process.whereis(Old.start())
    assert old is not None
    try:
        return await old.ask("message", block=False)
    finally:
        await old.stop(block=False)


def foreign_blocks(world: World) -> Any:
    ref = Old.start()
    old = process.whereis(ref)
    assert old is not None
    try:
        return old.ask("message")
    finally:
        ref.stop(block=False)


async def given_back(grant: Awaitable[Any]) -> Any:
    held = await grant
    throttle.release("slots")
    return held.name


async def released(world: World) -> Any:
    await Supervisor.aterminate_child(world.supervisor, "child")
    return await Supervisor.arestart_child(world.supervisor, "child")


async def deleted(world: World) -> Any:
    await Supervisor.aterminate_child(world.supervisor, "child")
    await Supervisor.adelete_child(world.supervisor, "child")
    return await Supervisor.awhich_children(world.supervisor)


async def ended(pid: Pid, ending: Awaitable[Any]) -> Any:
    await ending
    return pid.alive


def is_pid(_: World, value: Any) -> bool:
    return isinstance(value, Pid)


def of_sys(name: str, *args: Any) -> tuple[Blocks, Form]:
    function = getattr(rsys, name)
    return (lambda w: function(w.echo, *args)), (lambda w: asyncio.to_thread(function, w.echo, *args))


def seen(event: Any, *_: Any) -> Any:
    """A debug function."""


CASES: dict[str, tuple[Blocks, Form, Any]] = {
    "GenServer.call": (
        lambda w: GenServer.call(w.echo, "hi"),
        lambda w: GenServer.acall("echo", "hi", 5.0),
        "hi",
    ),
    "Pid.call": (lambda w: w.echo.call("hi"), lambda w: GenServer.acall(w.echo, "hi"), "hi"),
    "Pid.ask": (lambda w: w.echo.ask("hi"), lambda w: GenServer.acall(w.echo, "hi"), "hi"),
    "Pid.call, of a server with a bounded mailbox": (
        lambda w: call_bounded(),
        lambda w: acall_bounded(),
        "answer",
    ),
    "GenServer.start": (lambda w: Echo.start(), lambda w: Echo.astart(), is_pid),
    "GenServer.start_link": (lambda w: Echo.start_link(), lambda w: Echo.astart_link(), is_pid),
    "GenServer.stop": (lambda w: GenServer.stop(w.echo), lambda w: GenServer.astop(w.echo), None),
    "Pid.ask, of an actor of Pykka's": (foreign_blocks, foreign, "message"),
    "GenServer.cast": (lambda w: full_mailbox(lambda s: GenServer.cast(s, 1)), send_later, "taken"),
    "Pid.send": (lambda w: full_mailbox(lambda s: s.send(1)), send_later, "taken"),
    "process.send": (lambda w: full_mailbox(lambda s: process.send(s, 1)), send_later, "taken"),
    "Future.result": (lambda w: w.pending.result(), lambda w: completed(w.pending), 3),
    "Future.exception": (lambda w: w.pending.exception(), lambda w: completed(w.pending), 3),
    "Future.get": (lambda w: w.pending.get(), lambda w: completed(w.pending), 3),
    "Future.wait": (lambda w: w.pending.wait(), lambda w: completed(w.pending), 3),
    "Agent.start": (lambda w: Agent.start(dict), lambda w: Agent.astart(dict), is_pid),
    "Agent.start_link": (lambda w: Agent.start_link(dict), lambda w: Agent.astart_link(dict), is_pid),
    "Agent.get": (
        lambda w: Agent.get(w.agent, lambda n: n),
        lambda w: Agent.aget(w.agent, lambda n, m: n + m, 1, timeout=None),
        42,
    ),
    "Agent.update": (
        lambda w: Agent.update(w.agent, lambda n: n),
        lambda w: Agent.aupdate(w.agent, lambda n, m: n + m, 1, timeout=None),
        None,
    ),
    "Agent.get_and_update": (
        lambda w: Agent.get_and_update(w.agent, lambda n: (n, n)),
        lambda w: Agent.aget_and_update(w.agent, lambda n, m: (n + m, m), 1, timeout=None),
        42,
    ),
    "Agent.stop": (lambda w: Agent.stop(w.agent), lambda w: GenServer.astop(w.agent), None),
    "Task.await_": (lambda w: Task.await_(slow()), lambda w: awaited(slow()), "done"),
    "Task.await_many": (
        lambda w: Task.await_many([slow(), slow()]),
        lambda w: awaited(asyncio.gather(slow(), slow())),
        ["done", "done"],
    ),
    "Task.yield_": (lambda w: Task.yield_(slow()), lambda w: Task.ayield_(slow()), "done"),
    "Task.yield_many": (
        lambda w: Task.yield_many([slow()]),
        lambda w: Task.ayield_many([slow()], limit=1),
        lambda w, found: [result for _, result in found] == ["done"],
    ),
    "Task.shutdown": (lambda w: Task.shutdown(stubborn()), lambda w: Task.ashutdown(slow(), 0), None),
    "Task.async_stream": (
        lambda w: Task.async_stream([1], later),
        lambda w: collect(Task.astream([1, 2], later, max_concurrency=1)),
        [1, 2],
    ),
    "process.receive": (lambda w: process.receive(), lambda w: received(), "message"),
    "process.sleep": (lambda w: process.sleep(0.0), lambda w: asyncio.sleep(0.0), None),
    "sys.get_state": (*of_sys("get_state"), "state"),
    "sys.replace_state": (*of_sys("replace_state", str.upper), "STATE"),
    "sys.get_status": (*of_sys("get_status"), lambda w, found: found.pid is w.echo),
    "sys.suspend": (*of_sys("suspend"), None),
    "sys.resume": (*of_sys("resume"), None),
    "sys.trace": (*of_sys("trace", False), None),
    "sys.install": (*of_sys("install", seen), None),
    "sys.remove": (*of_sys("remove", seen), None),
    "sys.no_debug": (*of_sys("no_debug"), None),
    "sys.log": (*of_sys("log", True), None),
    "sys.log_to_file": (*of_sys("log_to_file", False), None),
    "sys.statistics": (*of_sys("statistics"), lambda w, found: found is not None),
    "Supervisor.start_link": (
        lambda w: Supervisor.start_link([]),
        lambda w: Supervisor.astart_link([], strategy="one_for_all", max_restarts=1),
        is_pid,
    ),
    "Supervisor.start_child": (
        lambda w: Supervisor.start_child(w.supervisor, (Agent, dict)),
        lambda w: Supervisor.astart_child(w.supervisor, (Agent, dict)),
        is_pid,
    ),
    "Supervisor.terminate_child": (
        lambda w: Supervisor.terminate_child(w.supervisor, "child"),
        lambda w: ended(w.child, Supervisor.aterminate_child(w.supervisor, "child")),
        False,
    ),
    "Supervisor.restart_child": (
        lambda w: Supervisor.restart_child(w.supervisor, "child"),
        released,
        is_pid,
    ),
    "Supervisor.delete_child": (lambda w: Supervisor.delete_child(w.supervisor, "child"), deleted, []),
    "Supervisor.get_child_spec": (
        lambda w: Supervisor.get_child_spec(w.supervisor, "child"),
        lambda w: Supervisor.aget_child_spec(w.supervisor, "child"),
        lambda w, spec: spec.id == "child",
    ),
    "Supervisor.which_children": (
        lambda w: Supervisor.which_children(w.supervisor),
        lambda w: Supervisor.awhich_children(w.supervisor),
        lambda w, found: [info.pid for info in found] == [w.child],
    ),
    "Supervisor.count_children": (
        lambda w: Supervisor.count_children(w.supervisor),
        lambda w: Supervisor.acount_children(w.supervisor),
        resprout.Counts(1, 1, 0, 1),
    ),
    "Supervisor.stop": (
        lambda w: Supervisor.stop(w.supervisor),
        lambda w: ended(w.child, Supervisor.astop(w.supervisor)),
        False,
    ),
    "DynamicSupervisor.start_link": (
        lambda w: DynamicSupervisor.start_link(),
        lambda w: DynamicSupervisor.astart_link(max_children=1),
        is_pid,
    ),
    "DynamicSupervisor.start_child": (
        lambda w: DynamicSupervisor.start_child(w.dynamic, (Agent, dict)),
        lambda w: DynamicSupervisor.astart_child(w.dynamic, (Agent, dict)),
        is_pid,
    ),
    "DynamicSupervisor.terminate_child": (
        lambda w: DynamicSupervisor.terminate_child(w.dynamic, w.one),
        lambda w: ended(w.one, DynamicSupervisor.aterminate_child(w.dynamic, w.one)),
        False,
    ),
    "DynamicSupervisor.get_child_spec": (
        lambda w: DynamicSupervisor.get_child_spec(w.dynamic, w.one),
        lambda w: DynamicSupervisor.aget_child_spec(w.dynamic, w.one),
        lambda w, spec: isinstance(spec, resprout.ChildSpec),
    ),
    "DynamicSupervisor.which_children": (
        lambda w: DynamicSupervisor.which_children(w.dynamic),
        lambda w: DynamicSupervisor.awhich_children(w.dynamic),
        lambda w, found: [info.pid for info in found] == [w.one],
    ),
    "DynamicSupervisor.count_children": (
        lambda w: DynamicSupervisor.count_children(w.dynamic),
        lambda w: DynamicSupervisor.acount_children(w.dynamic),
        resprout.Counts(1, 1, 0, 1),
    ),
    "DynamicSupervisor.stop": (
        lambda w: DynamicSupervisor.stop(w.dynamic),
        lambda w: ended(w.one, DynamicSupervisor.astop(w.dynamic)),
        False,
    ),
    "PartitionSupervisor.start_link": (
        lambda w: PartitionSupervisor.start_link(child_spec=(Agent, dict), name="more"),
        lambda w: PartitionSupervisor.astart_link(child_spec=(Agent, dict), name="more", partitions=1),
        is_pid,
    ),
    "PartitionSupervisor.resize": (
        lambda w: PartitionSupervisor.resize("parts", 1),
        lambda w: PartitionSupervisor.aresize("parts", 1),
        2,
    ),
    "PartitionSupervisor.which_children": (
        lambda w: PartitionSupervisor.which_children("parts"),
        lambda w: PartitionSupervisor.awhich_children("parts"),
        lambda w, found: [info.id for info in found] == [0, 1],
    ),
    "PartitionSupervisor.count_children": (
        lambda w: PartitionSupervisor.count_children("parts"),
        lambda w: PartitionSupervisor.acount_children("parts"),
        resprout.Counts(2, 2, 0, 2),
    ),
    "PartitionSupervisor.stop": (
        lambda w: PartitionSupervisor.stop("parts"),
        lambda w: ended(w.partitions, PartitionSupervisor.astop("parts")),
        False,
    ),
    "TaskSupervisor.start_link": (
        lambda w: TaskSupervisor.start_link(),
        lambda w: TaskSupervisor.astart_link("more", 2),
        is_pid,
    ),
    "TaskSupervisor.async_": (
        lambda w: TaskSupervisor.async_(w.tasks, later, 1),
        lambda w: result_of(TaskSupervisor.aasync_(w.tasks, later, 1)),
        1,
    ),
    "TaskSupervisor.async_nolink": (
        lambda w: TaskSupervisor.async_nolink(w.tasks, later, 1),
        lambda w: result_of(TaskSupervisor.aasync_nolink(w.tasks, later, 1)),
        1,
    ),
    "TaskSupervisor.start_child": (
        lambda w: TaskSupervisor.start_child(w.tasks, later, 1),
        lambda w: TaskSupervisor.astart_child(w.tasks, later, 1),
        is_pid,
    ),
    "TaskSupervisor.terminate_child": (
        lambda w: TaskSupervisor.terminate_child(w.tasks, w.echo),
        lambda w: terminated(w.tasks),
        False,
    ),
    "TaskSupervisor.children": (
        lambda w: TaskSupervisor.children(w.tasks),
        lambda w: TaskSupervisor.achildren(w.tasks),
        [],
    ),
    "TaskSupervisor.async_stream": (
        lambda w: TaskSupervisor.async_stream(w.tasks, [1], later),
        lambda w: collect(TaskSupervisor.astream(w.tasks, [1, 2], later, ordered=True)),
        [1, 2],
    ),
    "TaskSupervisor.async_stream_nolink": (
        lambda w: TaskSupervisor.async_stream_nolink(w.tasks, [1], later),
        lambda w: collect(TaskSupervisor.astream_nolink(w.tasks, [1, 2], str)),
        ["1", "2"],
    ),
    "TaskSupervisor.stop": (
        lambda w: TaskSupervisor.stop(w.tasks),
        lambda w: ended(w.tasks, TaskSupervisor.astop(w.tasks)),
        False,
    ),
    "Application.start": (lambda w: w.application.start(), started, is_pid),
    "Application.wait": (lambda w: waits_for_end(w), wait_for_end, Shutdown("enough")),
    "Application.stop": (lambda w: w.application.stop(), stopped_application, False),
    "Application.run": (lambda w: w.application.run(), run_application, 0),
    "Registry.register": (
        lambda w: Registry.register("far_keys", 1),
        lambda w: Registry.aregister("far_keys", 1),
        is_pid,
    ),
    "Registry.unregister": (
        lambda w: Registry.unregister("far_keys", 1),
        lambda w: Registry.aunregister("far_keys", 1),
        None,
    ),
    "Registry.lookup": (
        lambda w: Registry.lookup("far_keys", 1),
        lambda w: Registry.alookup("far_keys", 1),
        [],
    ),
    "Registry.whereis": (
        lambda w: Registry.whereis("far_keys", 1),
        lambda w: Registry.awhereis("far_keys", 1),
        None,
    ),
    "Application.reload": (lambda w: w.application.reload(), reloaded_application, ((), (), (), ())),
    "Registry.lock": (
        lambda w: Registry.lock("keys", "key", int),
        lambda w: Registry.alock("keys", "key", lambda: later(1)),
        1,
    ),
    "Registry.stop": (lambda w: Registry.stop("keys"), lambda w: Registry.astop("keys"), None),
    "Registry.dispatch": (
        lambda w: Registry.dispatch("keys", "me", len, parallel=True),
        lambda w: asyncio.to_thread(Registry.dispatch, "keys", "me", len, parallel=True),
        None,
    ),
    "throttle.acquire": (
        lambda w: throttle.acquire("slots"),
        lambda w: given_back(throttle.aacquire("slots")),
        "slots",
    ),
    "ex_sleeplock.acquire": (
        lambda w: throttle.ex_sleeplock.acquire("slots"),
        lambda w: given_back(throttle.aacquire("slots")),
        "slots",
    ),
    "throttle.slot": (lambda w: with_slot(), lambda w: in_slot(), True),
    "ex_sleeplock.execute": (
        lambda w: throttle.ex_sleeplock.execute("slots", int),
        lambda w: in_slot(),
        True,
    ),
    "throttle.run": (
        lambda w: throttle.run("slots", int),
        lambda w: throttle.arun("slots", later, 1),
        1,
    ),
    "throttle.attempt": (lambda w: throttle.attempt("far"), lambda w: throttle.aattempt("far"), None),
    **{
        f"throttle.{each.__name__}": (
            lambda w, each=each: each("far", everywhere=True),
            lambda w, each=each: asyncio.to_thread(each, "far", everywhere=True),
            nobody,
        )
        for each, nobody in (
            (throttle.lock_state, throttle.LockState(0, 0, 0)),
            (throttle.holders, []),
            (throttle.waiters, []),
        )
    },
    "cluster.assert_held": (
        lambda w: cluster.assert_held(Connection(), throttle.Grant("far", 1, w.agent)),
        lambda w: cluster.aassert_held(Connection(), throttle.Grant("far", 1, w.agent)),
        None,
    ),
    "throttle.drain": (
        lambda w: throttle.drain("slots"),
        lambda w: asyncio.to_thread(throttle.drain, "slots", 1.0),
        throttle.DrainReport(0, 0),
    ),
    "testing.isolated": (lambda w: with_isolated(), lambda w: in_region(), True),
    "testing.await_down": (lambda w: testing.await_down(w.agent), down_of_agent, "killed"),
    "testing.await_restart": (lambda w: testing.await_restart(w.child), restarted, is_pid),
    "testing.eventually": (
        lambda w: testing.eventually(lambda: True),
        lambda w: testing.aeventually(lambda: later(True)),
        True,
    ),
    "testing.quiesce": (
        lambda w: testing.quiesce(),
        lambda w: asyncio.to_thread(testing.quiesce, WATCHDOG),
        None,
    ),
    "ManualClock.advance": (lambda w: advance(), lambda w: advanced(), 2.0),
}


async def result_of(starting: Awaitable[Task]) -> Any:
    return await (await starting)


async def terminated(tasks: Pid) -> Any:
    pid = await TaskSupervisor.astart_child(tasks, asyncio.sleep, WATCHDOG)
    assert pid is not None
    await TaskSupervisor.aterminate_child(tasks, pid)
    return pid.alive


async def waits_for_end(world: World) -> Any:
    await world.application.astart()
    try:
        world.application.wait()
    finally:
        await world.application.astop()


# The table


def tables() -> tuple[list[str], list[str]]:
    """The rows of the two tables: what blocks, and what does not."""
    page = PAGE.read_text(encoding="utf-8")
    between = page.partition("<!-- forms -->")[2].partition("<!-- end of forms -->")[0]
    found: list[list[str]] = []
    for line in between.splitlines():
        if line.startswith("|---"):
            found.append([])
        elif line.startswith("|") and found:
            found[-1].append(line)
    first, second = found
    # The heading of the second was taken for a row of the first.
    return first[:-1], second


def cells(row: str) -> tuple[str, str]:
    _, left, right, _ = row.split("|")
    return left.strip(), right.strip()


def rows() -> dict[str, tuple[str, ...]]:
    """Every name that blocks, with the code of its forms."""
    found: dict[str, tuple[str, ...]] = {}
    for row in tables()[0]:
        left, right = cells(row)
        names = SPAN.findall(left)
        forms = SPAN.findall(right)
        for name in names:
            # A note behind a single name makes another row of it.
            key = name + left.rpartition("`")[2] if name in found else name
            found[key] = tuple(form.replace(names[0], name) for form in forms)
    return found


ROWS = rows()


def test_every_row_of_the_table_is_held() -> None:
    assert set(ROWS) == set(CASES)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[None]:
    """Leaves nothing of a world behind."""
    with testing.isolated(leaks="ignore"):
        yield


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(main(), WATCHDOG)

    return asyncio.run(limited())


REFUSED_AT: set[str] = set()
"""Where in the code something was refused."""


def refused(name: str, tmp_path: Path) -> str:
    """What the error says that a name raises in a running loop."""

    async def main() -> str:
        world = await make(tmp_path)
        try:
            with pytest.raises(BlockingInLoop) as caught:
                found = CASES[name][0](world)
                if inspect.isawaitable(found):
                    await found
        finally:
            await stop(world)
        for frame in traceback.extract_tb(caught.value.__traceback__):
            REFUSED_AT.add(f"{Path(frame.filename).resolve()}:{frame.lineno}")
        return str(caught.value)

    return run(main)


async def stop(world: World) -> None:
    """End what the world has; what a case has started besides is left to the region."""
    await world.application.astop()
    with contextlib.suppress(resprout.UnknownRegistry):
        await Registry.astop("keys")
    await Registry.astop("far_keys")
    throttle.stop_lock("slots")
    throttle.stop_lock("far")
    family = (world.supervisor, world.dynamic, world.partitions, world.tasks)
    for pid in (*family, world.agent, world.echo):
        with contextlib.suppress(resprout.NoProcess):
            await GenServer.astop(pid)


@pytest.mark.parametrize("name", CASES)
def test_a_blocking_name_is_refused_in_a_loop_by_an_error_that_names_its_form(
    name: str, tmp_path: Path, outside: None
) -> None:
    said = refused(name, tmp_path)
    (code,) = re.findall("use `([^`]*)` instead", said)
    compile(code, "advice", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    # What stands in for a class of the user's is that class.
    forms = [form.replace("MyServer", "Echo") for form in ROWS[name]]
    assert code in forms


@pytest.mark.parametrize("name", CASES)
def test_the_form_of_the_table_does_the_same(name: str, tmp_path: Path, outside: None) -> None:
    async def main() -> None:
        world = await make(tmp_path)
        found = await CASES[name][1](world)
        expected = CASES[name][2]
        if callable(expected):
            assert expected(world, found)
        else:
            assert found == expected
        await stop(world)

    run(main)


NEED_NO_LOOP = [
    "cluster.assert_held",  # waits for the answer of somebody else's connection
    "Pid.ask, of an actor of Pykka's",  # which may have answered
    *(name for name in ROWS if any("asyncio." in form for form in ROWS[name])),  # which asyncio refuses
    # Which begin with something of asyncio's here.
    *("Future.result", "Future.exception", "Future.get", "Future.wait", "testing.await_down"),
]


@pytest.mark.parametrize("name", [name for name in CASES if name not in NEED_NO_LOOP])
def test_the_form_of_the_table_is_refused_where_no_loop_runs_it(
    name: str, tmp_path: Path, outside: None
) -> None:
    """As under trio, where all tasks would be taken for one process, and no wait could end."""

    def drive(world: World) -> None:
        with pytest.raises(RuntimeError, match=r"asyncio event loop.*anyio\.to_thread"):
            awaited(CASES[name][1](world)).send(None)

    async def main() -> None:
        world = await make(tmp_path)
        try:
            await asyncio.to_thread(drive, world)
        finally:
            await stop(world)

    run(main)


PLACEHOLDERS = {
    "MyServer": Echo,
    "server": Echo,
    "pid": Pid,
    "application": Application,
    "clock": testing.ManualClock,
    "isolated": testing.isolated,
    "quiesce": testing.quiesce,
    "asyncio": asyncio,
}


@pytest.mark.parametrize("name", ROWS)
def test_what_the_table_says_is_there(name: str) -> None:
    for form in ROWS[name]:
        (called, *_) = re.findall(r"[A-Za-z_.]+\(", form) or [form.removeprefix("await ")]
        first, *rest = called.rstrip("(").split(".")
        if first in ("task", "future"):
            continue
        value = PLACEHOLDERS.get(first) or getattr(resprout, first)
        for attribute in rest:
            value = getattr(value, attribute)
        assert callable(value)


def test_everything_that_refuses_a_loop_is_in_the_table(tmp_path: Path) -> None:
    """Each place in the code that raises the error is come to by some name of the table."""
    for name in CASES:
        with testing.isolated(leaks="ignore"):
            refused(name, tmp_path)
    missing = [
        f"{path.relative_to(ROOT)}:{first}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for first, last in places(path)
        if not any(f"{path.resolve()}:{line}" in REFUSED_AT for line in range(first, last + 1))
    ]
    assert missing == []


ELSEWHERE = {
    "_wait_in_loop": "a server that never blocks, and is busy: test_calls.py",
    "forbid_loop": "what the others call",
    "blocks": "what the functions of supervisors call, each of which is in the table",
    "ask": "the same",
    "proxy.py call": "a server in an OS process of its own: supervision/placement/test_lives.py",
}


def places(path: Path) -> Iterator[tuple[int, int]]:
    """Where a file refuses a loop."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if {function.name, f"{path.name} {function.name}"} & ELSEWHERE.keys():
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                refuses = node.func.id in ("forbid_loop", "blocks", "BlockingInLoop")
                if refuses or (node.func.id == "ask" and path.parent.name == "supervisors"):
                    yield node.lineno, node.end_lineno or node.lineno


# What is there of each


def asynchronous() -> Iterator[tuple[str, str]]:
    """Every public name that is the other form of another one, with that."""
    modules = {
        "": resprout,
        "process": process,
        "throttle": throttle,
        "cluster": cluster,
        "testing": testing,
        "sys": rsys,
    }
    owners = {name: vars(value) for name, value in modules.items()}
    for room in ROOMS:
        module = importlib.import_module(f"resprout.{room}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and not issubclass(value, BaseException):
                owners[name] = {each: None for kind in value.__mro__[:-1] for each in vars(kind)}
    for owner, members in owners.items():
        for name in members:
            plain = name[1:]
            if name.startswith("a") and plain in members and not plain.startswith("_"):
                yield f"{owner}.{plain}".lstrip("."), f"{owner}.{name}".lstrip(".")


def test_every_form_for_coroutines_is_in_the_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = {name.rstrip("(") for name in re.findall(r"[A-Za-z_.]+\(?", page)}
    missing = []
    for plain, form in asynchronous():
        owner, _, name = form.rpartition(".")
        stands_for = {
            form,
            f"GenServer.{name}",
            f"MyServer.{name}",
            f"testing.{name}" if owner == "Region" else form,
            f"application.{name}" if owner == "Application" else form,
            f"clock.{name}" if owner == "ManualClock" else form,
            f"region.{name}" if owner == "Region" else form,
        }
        if owner == "" or not stands_for & written:
            missing.append((plain, form))
    assert missing == []


# Cancelled

PURE = [
    name
    for name in CASES
    if name
    not in (
        # These begin with other things than the form, which they would leave behind.
        *("GenServer.cast", "Pid.send", "process.send", "Pid.call, of a server with a bounded mailbox"),
        *("Pid.ask, of an actor of Pykka's", "Task.await_", "Task.await_many", "Task.yield_"),
        *("Task.yield_many", "Application.run", "Application.wait", "Application.stop"),
        "Application.reload",
        *("TaskSupervisor.terminate_child", "ManualClock.advance", "testing.isolated"),
        # A task that is never started is nobody's.
        *(
            "throttle.lock_state",
            "throttle.holders",
            "throttle.waiters",
            "throttle.drain",
            "testing.quiesce",
            "Registry.dispatch",
        ),
    )
    and not name.startswith("sys.")
]


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
@pytest.mark.parametrize("name", PURE)
def test_a_form_that_is_cancelled_leaves_nothing_behind(name: str, turns: int, tmp_path: Path) -> None:
    async def main() -> None:
        world = await make(tmp_path)
        working = asyncio.ensure_future(awaited(CASES[name][1](world)))
        for _ in range(turns):
            await asyncio.sleep(0)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            made = await working
            if isinstance(made, Pid) and made.alive:
                # It was faster.
                await GenServer.astop(made)
        await stop(world)
        info = process.info(process.current())
        assert info is not None
        assert [pid for pid in info.links if pid.alive] == []
        assert info.message_queue_len == 0

    with testing.isolated():
        run(main)
