"""Holds a sentence of docs/semantics.md against every public name.

The next call of a dead process's code into resprout raises `Killed`; that of a thread or task which got an
exit signal raises `ServerExit`, once. A public callable is either in CALLS, with a way to call it, or in
EXCEPTIONS, with the reason why the dead may call it. One that is in neither fails the test.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import attrs
import pytest

import resprout
from resprout import (
    Agent,
    Application,
    DynamicSupervisor,
    Future,
    GenServer,
    Grant,
    Killed,
    Ok,
    PartitionSupervisor,
    Pid,
    Registry,
    Reply,
    ServerExit,
    Supervisor,
    Task,
    TaskSupervisor,
    Via,
    actors,
    cluster,
    monitoring,
    process,
    registry,
    supervision,
    telemetry,
    testing,
    throttle,
)
from resprout import sys as rsys
from resprout.actors.servers.pooled import PooledPid
from resprout.throttle.ledger.holds import Hold

NAMESPACES: tuple[ModuleType, ...] = (
    resprout,
    actors,
    supervision,
    registry,
    throttle,
    process,
    rsys,
    telemetry,
    testing,
    throttle.ex_sleeplock,
    cluster,
    monitoring,
)
DUNDERS = ("__enter__", "__aenter__", "__await__")
"""What calls into resprout without a name."""


class Echo(GenServer):
    """Answers."""

    def init(self, arg: object) -> Any:
        return Ok(arg)

    def handle_call(self, message: object, from_: object, state: object) -> Any:
        return Reply(message, state)


@attrs.frozen
class World:
    """What there is to call."""

    echo: Pid
    mailbox: Pid
    task: Task
    grant: Grant
    done: Future[int]
    timer: process.Timer
    ref: resprout.Ref
    monitor: process.Monitor
    application: Application


REGION: testing.Region = object.__new__(testing.Region)
GROUP: supervision.TaskGroup = supervision.task_group()
CLOCK: testing.ManualClock = object.__new__(testing.ManualClock)
"""Neither is open: nobody's code may come so far as to see it."""

Call = Callable[[World], Any]
OPTIONS = actors.StreamOptions(1, True, None, "exit", False)

CALLS: Mapping[str, Call] = {
    # processes
    "process.current": lambda w: process.current(),
    "process.spawn": lambda w: process.spawn(print),
    "process.spawn_link": lambda w: process.spawn_link(print),
    "process.spawn_monitor": lambda w: process.spawn_monitor(print),
    "process.exit": lambda w: process.exit(w.echo, "normal"),
    "process.link": lambda w: process.link(w.echo),
    "process.unlink": lambda w: process.unlink(w.echo),
    "process.monitor": lambda w: process.monitor(w.echo),
    "process.demonitor": lambda w: process.demonitor(w.ref),
    "process.send": lambda w: process.send("nobody", 1),
    "process.asend": lambda w: process.asend("nobody", 1),
    "process.send_after": lambda w: process.send_after("nobody", 1, 0.0),
    "process.send_interval": lambda w: process.send_interval("nobody", 1, 1.0),
    "process.read_timer": lambda w: process.read_timer(w.timer),
    "process.callers": lambda w: process.callers(),
    "process.cancel_timer": lambda w: process.cancel_timer(w.timer),
    "Timer.cancel": lambda w: w.timer.cancel(),
    "process.trap_exit": lambda w: process.trap_exit(False),
    "process.own": lambda w: process.own(object(), lambda: None),
    "process.disown": lambda w: process.disown(object()),
    "process.alive": lambda w: process.alive(w.echo),
    "process.whereis": lambda w: process.whereis("nobody"),
    "process.register": lambda w: process.register(w.echo, "another"),
    "process.unregister": lambda w: process.unregister("nobody"),
    "process.registered": lambda w: process.registered(),
    "process.processes": lambda w: process.processes(),
    "process.stragglers": lambda w: process.stragglers(),
    "process.receive": lambda w: process.receive(timeout=0),
    "process.amonitor": lambda w: process.amonitor(w.echo),
    "Monitor.done": lambda w: w.monitor.done(),
    "Monitor.__await__": lambda w: next(w.monitor.__await__()),
    "Monitor.__aenter__": lambda w: w.monitor.__aenter__(),
    "process.areceive": lambda w: process.areceive(timeout=0),
    "process.sleep": lambda w: process.sleep(0),
    "process.info": lambda w: process.info(w.echo),
    "process.inject": lambda w: process.inject("nobody", ValueError()),
    # pids
    "Pid.send": lambda w: w.mailbox.send(1),
    "RunnablePid.call": lambda w: w.echo.call(1),
    "RunnablePid.cast": lambda w: w.echo.cast(1),
    "RunnablePid.request": lambda w: w.echo.request(1),
    "RunnablePid.ask_later": lambda w: w.echo.ask_later(1),
    "RunnablePid.stop_later": lambda w: w.echo.stop_later(None),
    "RunnablePid.stop_future": lambda w: w.echo.stop_future(),
    "Pid.call": lambda w: w.mailbox.call(1),
    "Pid.cast": lambda w: w.mailbox.cast(1),
    "Pid.request": lambda w: w.mailbox.request(1),
    "Pid.ask_later": lambda w: w.mailbox.ask_later(1),
    "Pid.stop_later": lambda w: w.mailbox.stop_later(None),
    "Pid.stop_future": lambda w: w.mailbox.stop_future(),
    "Pid.tell": lambda w: w.echo.tell(1),
    "Pid.ask": lambda w: w.echo.ask(1),
    "Pid.stop": lambda w: w.echo.stop(),
    "Pid.is_alive": lambda w: w.echo.is_alive(),
    "Pid.mailbox_length": lambda w: w.echo.mailbox_length(),
    "ActorRef.proxy": lambda w: w.echo.proxy(),
    # futures
    "Future.result": lambda w: w.done.result(),
    "Future.exception": lambda w: w.done.exception(),
    "Future.get": lambda w: w.done.get(),
    "Future.wait": lambda w: w.done.wait(),
    "Future.done": lambda w: w.done.done(),
    "Future.cancelled": lambda w: w.done.cancelled(),
    "Future.add_done_callback": lambda w: w.done.add_done_callback(print),
    "Future.as_concurrent": lambda w: w.done.as_concurrent(),
    "Future.set": lambda w: Future().set(1),
    "Future.set_exception": lambda w: Future().set_exception(ValueError()),
    "Future.set_get_hook": lambda w: Future().set_get_hook(print),
    "Future.map": lambda w: w.done.map(print),
    "Future.filter": lambda w: w.done.filter(print),
    "Future.join": lambda w: w.done.join(w.done),
    "Future.reduce": lambda w: w.done.reduce(max),
    "Future.__await__": lambda w: next(w.done.__await__()),
    # servers
    "GenServer.own": lambda w: GenServer.own(object(), lambda: None),
    "GenServer.disown": lambda w: GenServer.disown(object()),
    "GenServer.call": lambda w: GenServer.call("nobody", 1),
    "GenServer.acast": lambda w: GenServer.acast("nobody", 1),
    "GenServer.acall": lambda w: GenServer.acall("nobody", 1),
    "GenServer.cast": lambda w: GenServer.cast("nobody", 1),
    "GenServer.send_request": lambda w: GenServer.send_request("nobody", 1),
    "GenServer.reply": lambda w: GenServer.reply(w.done, 1),
    "GenServer.stop": lambda w: GenServer.stop("nobody"),
    "GenServer.astop": lambda w: GenServer.astop("nobody"),
    "GenServer.start": lambda w: Echo.start(),
    "GenServer.start_link": lambda w: Echo.start_link(),
    "GenServer.astart": lambda w: Echo.astart(),
    "GenServer.astart_link": lambda w: Echo.astart_link(),
    "Agent.start": lambda w: Agent.start(dict),
    "Agent.start_link": lambda w: Agent.start_link(dict),
    "GenServer.aserve": lambda w: Echo.aserve(),
    "Agent.astart": lambda w: Agent.astart(dict),
    "Agent.astart_link": lambda w: Agent.astart_link(dict),
    "Agent.aget": lambda w: Agent.aget("nobody", id),
    "Agent.aupdate": lambda w: Agent.aupdate("nobody", id),
    "Agent.aget_and_update": lambda w: Agent.aget_and_update("nobody", id),
    "Agent.acast": lambda w: Agent.acast("nobody", id),
    "Agent.get": lambda w: Agent.get("nobody", id),
    "Agent.update": lambda w: Agent.update("nobody", id),
    "Agent.get_and_update": lambda w: Agent.get_and_update("nobody", id),
    "Agent.cast": lambda w: Agent.cast("nobody", id),
    "sys.get_state": lambda w: rsys.get_state("nobody"),
    "sys.replace_state": lambda w: rsys.replace_state("nobody", id),
    "sys.get_status": lambda w: rsys.get_status("nobody"),
    "sys.suspend": lambda w: rsys.suspend("nobody"),
    "sys.resume": lambda w: rsys.resume("nobody"),
    "sys.trace": lambda w: rsys.trace("nobody", True),
    "sys.statistics": lambda w: rsys.statistics("nobody"),
    "sys.install": lambda w: rsys.install("nobody", id),
    "sys.remove": lambda w: rsys.remove("nobody", id),
    "sys.no_debug": lambda w: rsys.no_debug("nobody"),
    "sys.log": lambda w: rsys.log("nobody", "get"),
    "sys.log_to_file": lambda w: rsys.log_to_file("nobody", False),
    "telemetry.attach": lambda w: telemetry.attach("id", (), print),
    "telemetry.detach": lambda w: telemetry.detach("id"),
    "telemetry.on_change": lambda w: telemetry.on_change(print),
    "telemetry.enabled": lambda w: telemetry.enabled(("x",)),
    "telemetry.emit": lambda w: telemetry.emit(("x",), {}, {}),
    # tasks
    "Task.async_": lambda w: Task.async_(print),
    "Task.start": lambda w: Task.start(print),
    "Task.start_link": lambda w: Task.start_link(print),
    "Task.completed": lambda w: Task.completed(1),
    "Task.await_": lambda w: Task.await_(w.task),
    "Task.await_many": lambda w: Task.await_many([]),
    "Task.yield_": lambda w: Task.yield_(w.task),
    "Task.yield_many": lambda w: Task.yield_many([]),
    "Task.ayield_": lambda w: Task.ayield_(w.task),
    "Task.ayield_many": lambda w: Task.ayield_many([]),
    "Task.ashutdown": lambda w: Task.ashutdown(w.task),
    "Task.astream": lambda w: Task.astream([], print),
    "Task.shutdown": lambda w: Task.shutdown(w.task),
    "Task.ignore": lambda w: Task.ignore(w.task),
    "Task.done": lambda w: w.task.done(),
    "Task.__await__": lambda w: next(w.task.__await__()),
    "Task.async_stream": lambda w: Task.async_stream([], print),
    "actors.begin_task": lambda w: actors.begin_task(print, (), link=False),
    "actors.start_task": lambda w: actors.start_task(w.echo, print, ()),
    "actors.make_stream": lambda w: actors.make_stream([], print, OPTIONS, print),  # type: ignore[arg-type]
    # supervision
    "Supervisor.start_link": lambda w: Supervisor.start_link([]),
    "Supervisor.astart_link": lambda w: Supervisor.astart_link([]),
    "SupervisorClient.awhich_children": lambda w: Supervisor.awhich_children("nobody"),
    "SupervisorClient.acount_children": lambda w: Supervisor.acount_children("nobody"),
    "Supervisor.astart_child": lambda w: Supervisor.astart_child("nobody", Echo),
    "SupervisorClient.which_children": lambda w: Supervisor.which_children("nobody"),
    "SupervisorClient.count_children": lambda w: Supervisor.count_children("nobody"),
    "Supervisor.start_child": lambda w: Supervisor.start_child("nobody", Echo),
    "Supervisor.aterminate_child": lambda w: Supervisor.aterminate_child("nobody", 1),
    "Supervisor.terminate_child": lambda w: Supervisor.terminate_child("nobody", 1),
    "Supervisor.arestart_child": lambda w: Supervisor.arestart_child("nobody", 1),
    "Supervisor.restart_child": lambda w: Supervisor.restart_child("nobody", 1),
    "Supervisor.adelete_child": lambda w: Supervisor.adelete_child("nobody", 1),
    "Supervisor.delete_child": lambda w: Supervisor.delete_child("nobody", 1),
    "Supervisor.aget_child_spec": lambda w: Supervisor.aget_child_spec("nobody", 1),
    "Supervisor.get_child_spec": lambda w: Supervisor.get_child_spec("nobody", 1),
    "SupervisorClient.stop": lambda w: Supervisor.stop("nobody"),
    "SupervisorClient.astop": lambda w: Supervisor.astop("nobody"),
    "DynamicSupervisor.start_link": lambda w: DynamicSupervisor.start_link(),
    "DynamicSupervisor.astart_link": lambda w: DynamicSupervisor.astart_link(),
    "DynamicSupervisor.astart_child": lambda w: DynamicSupervisor.astart_child("nobody", Echo),
    "DynamicSupervisor.start_child": lambda w: DynamicSupervisor.start_child("nobody", Echo),
    "DynamicSupervisor.aterminate_child": lambda w: DynamicSupervisor.aterminate_child("nobody", "nobody"),
    "DynamicSupervisor.terminate_child": lambda w: DynamicSupervisor.terminate_child("nobody", "nobody"),
    "DynamicSupervisor.aget_child_spec": lambda w: DynamicSupervisor.aget_child_spec("nobody", "nobody"),
    "DynamicSupervisor.get_child_spec": lambda w: DynamicSupervisor.get_child_spec("nobody", "nobody"),
    "TaskSupervisor.astart_link": lambda w: TaskSupervisor.astart_link(),
    "TaskSupervisor.start_link": lambda w: TaskSupervisor.start_link(),
    "TaskSupervisor.aasync_": lambda w: TaskSupervisor.aasync_("nobody", print),
    "TaskSupervisor.async_": lambda w: TaskSupervisor.async_("nobody", print),
    "TaskSupervisor.aasync_nolink": lambda w: TaskSupervisor.aasync_nolink("nobody", print),
    "TaskSupervisor.async_nolink": lambda w: TaskSupervisor.async_nolink("nobody", print),
    "TaskSupervisor.astart_child": lambda w: TaskSupervisor.astart_child("nobody", print),
    "TaskSupervisor.start_child": lambda w: TaskSupervisor.start_child("nobody", print),
    "TaskSupervisor.aterminate_child": lambda w: TaskSupervisor.aterminate_child("nobody", w.echo),
    "TaskSupervisor.terminate_child": lambda w: TaskSupervisor.terminate_child("nobody", w.echo),
    "TaskSupervisor.achildren": lambda w: TaskSupervisor.achildren("nobody"),
    "TaskSupervisor.children": lambda w: TaskSupervisor.children("nobody"),
    "TaskSupervisor.astream": lambda w: TaskSupervisor.astream("nobody", [], print),
    "TaskSupervisor.async_stream": lambda w: TaskSupervisor.async_stream("nobody", [], print),
    "TaskSupervisor.astream_nolink": lambda w: TaskSupervisor.astream_nolink("nobody", [], print),
    "TaskSupervisor.async_stream_nolink": lambda w: TaskSupervisor.async_stream_nolink("nobody", [], print),
    "TaskSupervisor.astop": lambda w: TaskSupervisor.astop("nobody"),
    "TaskSupervisor.stop": lambda w: TaskSupervisor.stop("nobody"),
    "PartitionSupervisor.astart_link": lambda w: PartitionSupervisor.astart_link(
        child_spec=Echo, name="parts"
    ),
    "PartitionSupervisor.start_link": lambda w: PartitionSupervisor.start_link(child_spec=Echo, name="parts"),
    "PartitionSupervisor.partitions": lambda w: PartitionSupervisor.partitions("nobody"),
    "PartitionSupervisor.aresize": lambda w: PartitionSupervisor.aresize("nobody", 1),
    "PartitionSupervisor.resize": lambda w: PartitionSupervisor.resize("nobody", 1),
    "PartitionSupervisor.whereis_name": lambda w: PartitionSupervisor.whereis_name(("nobody", 1)),
    "PartitionSupervisor.awhich_children": lambda w: PartitionSupervisor.awhich_children("nobody"),
    "PartitionSupervisor.which_children": lambda w: PartitionSupervisor.which_children("nobody"),
    "PartitionSupervisor.acount_children": lambda w: PartitionSupervisor.acount_children("nobody"),
    "PartitionSupervisor.count_children": lambda w: PartitionSupervisor.count_children("nobody"),
    "PartitionSupervisor.astop": lambda w: PartitionSupervisor.astop("nobody"),
    "PartitionSupervisor.stop": lambda w: PartitionSupervisor.stop("nobody"),
    "TaskGroup.start_child": lambda w: GROUP.start_child(Echo),
    "TaskGroup.create_task": lambda w: GROUP.create_task(asyncio.sleep(0)),
    "TaskGroup.start_soon": lambda w: GROUP.start_soon(asyncio.sleep, 0),
    "TaskGroup.__aenter__": lambda w: GROUP.__aenter__(),
    "Application.load": lambda w: Application.load("no.yaml"),
    "Application.start": lambda w: w.application.start(),
    "Application.reload": lambda w: w.application.reload(),
    "Application.starting": lambda w: w.application.starting(),
    "Application.astart": lambda w: w.application.astart(),
    "Application.__aenter__": lambda w: w.application.__aenter__(),
    "Application.await_": lambda w: w.application.await_(),
    "Application.astop": lambda w: w.application.astop(),
    "Application.stop": lambda w: w.application.stop(),
    "Application.wait": lambda w: w.application.wait(),
    "Application.run": lambda w: w.application.run(),
    "supervision.tree": lambda w: supervision.tree("nobody"),
    "supervision.quiesce": lambda w: supervision.quiesce(0.0),
    "supervision.ready": lambda w: supervision.ready(w.echo),
    # registries
    "Registry.start_link": lambda w: Registry.start_link(keys="unique", name="another"),
    "Registry.astop": lambda w: Registry.astop("none"),
    "Registry.stop": lambda w: Registry.stop("none"),
    "Registry.register": lambda w: Registry.register("none", 1),
    "Registry.unregister": lambda w: Registry.unregister("none", 1),
    "Registry.unregister_match": lambda w: Registry.unregister_match("none", 1, 1),
    "Registry.update_value": lambda w: Registry.update_value("none", 1, id),
    "Registry.lookup": lambda w: Registry.lookup("entries", 1),
    "Registry.whereis": lambda w: Registry.whereis("entries", 1),
    "Registry.keys": lambda w: Registry.keys("entries", w.echo),
    "Registry.values": lambda w: Registry.values("entries", 1, w.echo),
    "Registry.match": lambda w: Registry.match("entries", 1, 1),
    "Registry.count_match": lambda w: Registry.count_match("entries", 1, 1),
    "Registry.select": lambda w: Registry.select("entries"),
    "Registry.count_select": lambda w: Registry.count_select("entries"),
    "Registry.count": lambda w: Registry.count("entries"),
    "Registry.dispatch": lambda w: Registry.dispatch("entries", 1, print),
    "Registry.put_meta": lambda w: Registry.put_meta("entries", 1, 1),
    "Registry.meta": lambda w: Registry.meta("entries", 1),
    "Registry.delete_meta": lambda w: Registry.delete_meta("entries", 1),
    "ForCoroutines.aregister": lambda w: Registry.aregister("none", 1),
    "ForCoroutines.aunregister": lambda w: Registry.aunregister("none", 1),
    "ForCoroutines.alookup": lambda w: Registry.alookup("entries", 1),
    "ForCoroutines.awhereis": lambda w: Registry.awhereis("entries", 1),
    "KeyLocking.lock": lambda w: Registry.lock("none", 1, print),
    "KeyLocking.alock": lambda w: Registry.alock("none", 1, print),  # type: ignore[arg-type]
    "Registry.statistics": lambda w: Registry.statistics("entries"),
    "Registry.snapshot": lambda w: Registry.snapshot("entries"),
    "Registry.registries": lambda w: Registry.registries(),
    "Registry.whereis_name": lambda w: Registry.whereis_name(("entries", 1)),
    "Registry.register_name": lambda w: Registry.register_name(("none", 1), w.echo),
    "Via.whereis_name": lambda w: Via("entries", 1).whereis_name(),
    "Via.register_name": lambda w: Via("none", 1).register_name(w.echo),
    # locks
    "throttle.new": lambda w: throttle.new("another", 1),
    "throttle.stop_lock": lambda w: throttle.stop_lock("none"),
    "throttle.resize": lambda w: throttle.resize("none", 1),
    "throttle.pause": lambda w: throttle.pause("none"),
    "throttle.resume": lambda w: throttle.resume("none"),
    "throttle.lock_state": lambda w: throttle.lock_state("slots"),
    "throttle.lock_info": lambda w: throttle.lock_info("slots"),
    "throttle.holders": lambda w: throttle.holders("slots"),
    "throttle.waiters": lambda w: throttle.waiters("slots"),
    "throttle.locks": lambda w: throttle.locks(),
    "throttle.lock_order": lambda w: throttle.lock_order("off"),
    "throttle.acquire": lambda w: throttle.acquire("none"),
    "throttle.aacquire": lambda w: throttle.aacquire("none"),
    "throttle.attempt": lambda w: throttle.attempt("none"),
    "throttle.aattempt": lambda w: throttle.aattempt("none"),
    "cluster.assert_held": lambda w: cluster.assert_held(None, w.grant),
    "cluster.aassert_held": lambda w: cluster.aassert_held(None, w.grant),
    **{
        f"FarPid.{name}": lambda w, name=name: getattr(cluster.FarPid("node", "pid"), name)()
        for name in (
            *("ask", "call", "cast", "is_alive", "mailbox_length", "not_here", "proxy", "register_name"),
            *("request", "send", "stop", "tell", "unregister_name", "whereis_name"),
        )
    },
    "cluster.info": lambda w: cluster.info("none"),
    "Engine.start_link": lambda w: cluster.Engine.start_link("x://", name="none"),
    "throttle.run": lambda w: throttle.run("none", print),
    "throttle.arun": lambda w: throttle.arun("none", print),  # type: ignore[arg-type]
    "throttle.execute": lambda w: throttle.execute("none", print),
    "throttle.aexecute": lambda w: throttle.aexecute("none", print),
    "throttle.drain": lambda w: throttle.drain("none"),
    "throttle.limited": lambda w: throttle.limited("none"),
    "slot.__enter__": lambda w: throttle.slot("none").__enter__(),
    "slot.__aenter__": lambda w: throttle.slot("none").__aenter__(),
    "Hold.assert_held": lambda w: w.grant.assert_held(),
    "Hold.transfer": lambda w: w.grant.transfer(w.echo),
    "Grant.dropped": lambda w: w.grant.dropped(),
    "Grant.ignored": lambda w: w.grant.ignored(),
    "ex_sleeplock.new": lambda w: throttle.ex_sleeplock.new("another", 1),
    "ex_sleeplock.start_locks": lambda w: throttle.ex_sleeplock.start_locks([]),
    "ex_sleeplock.acquire": lambda w: throttle.ex_sleeplock.acquire("none"),
    "ex_sleeplock.attempt": lambda w: throttle.ex_sleeplock.attempt("none"),
    "ex_sleeplock.execute": lambda w: throttle.ex_sleeplock.execute("none", print),
    "ex_sleeplock.lock_state": lambda w: throttle.ex_sleeplock.lock_state("none"),
    "ex_sleeplock.stop_lock": lambda w: throttle.ex_sleeplock.stop_lock("none"),
    "ex_sleeplock.help": lambda w: throttle.ex_sleeplock.help(),
    # what is shown to those who watch
    "monitoring.endpoints": lambda w: monitoring.endpoints(),
    "monitoring.health": lambda w: monitoring.health(),
    "monitoring.notify": lambda w: monitoring.notify("READY=1"),
    "monitoring.opentelemetry": lambda w: monitoring.opentelemetry(),
    "monitoring.prometheus": lambda w: monitoring.prometheus(),
    "monitoring.readiness": lambda w: monitoring.readiness(),
    "monitoring.service_told_of": lambda w: monitoring.service_told_of(w.application).__enter__(),
    "monitoring.tracing": lambda w: monitoring.tracing(),
    "monitoring.watchdog_seconds": lambda w: monitoring.watchdog_seconds(),
    # tests of users
    "testing.clock": lambda w: testing.clock(),
    "testing.start_supervised": lambda w: testing.start_supervised(Echo),
    "testing.stop_supervised": lambda w: testing.stop_supervised("nobody"),
    "isolated.__enter__": lambda w: testing.isolated().__enter__(),
    "isolated.__aenter__": lambda w: testing.isolated().__aenter__(),
    "Region.clock": lambda w: REGION.clock(),
    "Region.start_supervised": lambda w: REGION.start_supervised(Echo),
    "Region.astart_supervised": lambda w: REGION.astart_supervised(Echo),
    "Region.stop_supervised": lambda w: REGION.stop_supervised("nobody"),
    "Region.crash": lambda w: REGION.crash("nobody"),
    "Region.await_down": lambda w: REGION.await_down("nobody"),
    "Region.aawait_down": lambda w: REGION.aawait_down("nobody"),
    "Region.await_restart": lambda w: REGION.await_restart("nobody"),
    "Region.aawait_restart": lambda w: REGION.aawait_restart("nobody"),
    "Region.eventually": lambda w: REGION.eventually(lambda: True),
    "Region.aeventually": lambda w: REGION.aeventually(lambda: True),
    "ManualClock.__enter__": lambda w: CLOCK.__enter__(),
    "ManualClock.advance": lambda w: CLOCK.advance(1.0),
    "ManualClock.aadvance": lambda w: CLOCK.aadvance(1.0),
    "ManualClock.stop": lambda w: CLOCK.stop(),
}

CALLBACK = "a callback or hook: the runtime calls it"
GIVES_BACK = "gives back what the dead may still hold"
ENDS = "ends what a test has begun, whatever has become of the process that the test is"
GIVES_UP = "gives up a wait, as the dead do on their way out"
RUNTIME = "the runtime's own side of a process: it carries out signals and deaths, also of its caller"
ROOM = "a check or a declaration for the rooms above, which touches no process"
VALUE = "makes or reads a value, and touches no process"

EXCEPTIONS: Mapping[str, str] = {
    name: reason
    for reason, names in {
        GIVES_BACK: """
            throttle.release ex_sleeplock.release Hold.release Registry.unregister_name Via.unregister_name
        """,
        ENDS: "Region.stop_children",
        GIVES_UP: "Future.cancel Future.remove_done_callback Monitor.stop",
        CALLBACK: """
            Callbacks.init Callbacks.handle_call Callbacks.handle_cast Callbacks.handle_info
            Callbacks.handle_continue Callbacks.terminate Callbacks.format_status ActorBase.handle_pykka
            Actor.on_start Actor.on_stop Actor.on_failure Actor.on_receive LibraryServer.handle_info
            Agent.init Agent.handle_call Agent.handle_cast Supervisor.init DynamicSupervisor.init
            Named.whereis_name Named.register_name Named.unregister_name
            Resource.owner_died Resource.owner_left ChildPath.filter JsonFormat.format
        """,
        RUNTIME: """
            Pid.add_monitor Pid.attach Pid.bury Pid.deliver Pid.deliver_from_afar Pid.detach
            Pid.die Pid.end Pid.expect Pid.flag Pid.leave Pid.meet_death Pid.remove_link Pid.remove_monitor
            Pid.signal Pid.taken PooledPid.leave RunnablePid.deliver Timer.start
            Pid.abandon Pid.recover Pid.mailbox Pid.ask_at_once Pid.cast_at_once Pid.send_at_once
            RunnablePid.ask_at_once RunnablePid.cast_at_once RunnablePid.send_at_once Pid.stop_here
            Future.try_set Future.try_set_exception telemetry.heard telemetry.tell
            actors.at_exit actors.await_heirs actors.dump_processes
        """,
        ROOM: """
            actors.forbid_loop actors.limit_closing actors.need_loop actors.one_of actors.seconds
            actors.whole_number
            resprout.after_fork
        """,
        VALUE: """
            resprout.task_group
            Engine.child_spec
            actors.child_spec throttle.child_spec GenServer.child_spec Task.child_spec Supervisor.child_spec
            DynamicSupervisor.child_spec TaskSupervisor.child_spec PartitionSupervisor.child_spec
            Registry.child_spec Supervisor.init_spec DynamicSupervisor.init_spec Callbacks.is_async
            actors.is_orderly Backoff.delay Rate.of resprout.lifespan resprout.server supervision.tree_schema
            ManualClock.now
            Common.laid_over Common.resolve Common.via Snapshot.page Snapshot.pages TreeNode.walk
        """,
    }.items()
    for name in names.split()
}
"""Why a public callable does not look whether its caller is dead. A class is one, too: it makes a value."""

HELD_AS: Mapping[type, tuple[type, ...]] = {Pid: (PooledPid, Pid), Grant: (Hold,)}
"""What users hold of an abstract class."""


def public() -> dict[str, Any]:
    """Find every public callable, by the name of who defines it and its own."""
    found: dict[str, Any] = {}
    for namespace in NAMESPACES:
        short = namespace.__name__.rpartition(".")[2]
        names = getattr(namespace, "__all__", None) or [
            name
            for name, value in vars(namespace).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == namespace.__name__
        ]
        for name in names:
            value = getattr(namespace, name)
            if inspect.isclass(value):
                if not issubclass(value, BaseException):
                    found.update(methods(value))
            elif inspect.isroutine(value) and value not in found.values():
                found[f"{short}.{name}"] = value
    return found


def methods(public: type) -> Iterator[tuple[str, Any]]:
    """Find the public callables of a class; inherited ones have the name of the class that defines them."""
    for kind in HELD_AS.get(public, (public,)):
        for name in dir(public):
            definer = next((base for base in kind.__mro__ if name in vars(base)), type)
            ours = definer.__module__.split(".")[0] in ("resprout", "pykka")
            if (not name.startswith("_") or name in DUNDERS) and ours and callable(getattr(kind, name)):
                yield f"{definer.__name__}.{name}", getattr(kind, name)


def test_every_public_callable_looks_whether_its_caller_is_dead_or_says_why_not() -> None:
    names = set(public())
    known = {*CALLS, *EXCEPTIONS}
    assert not names - known, (
        "say in CALLS how to call it (and `look()` in its code), or in EXCEPTIONS why not"
    )
    assert not known - names, "no longer public"
    assert not set(CALLS) & set(EXCEPTIONS)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Make what there is to call, once for all tests here."""
    maker = process.current()
    Registry.start_link(keys="unique", name="entries")
    throttle.new("slots", 1)
    echo = Echo.start()
    stays = threading.Event()
    here = threading.Barrier(3)

    def stay() -> None:
        here.wait(10)
        stays.wait()

    mailbox = process.spawn(stay)
    task = Task.async_(stay)
    # Their threads run from here on, whichever test is the first.
    here.wait(10)
    done: Future[int] = Future()
    done.set(1)
    timer = process.send_after(mailbox, "never", 1000.0)
    yield World(
        echo=echo,
        mailbox=mailbox,
        task=task,
        grant=throttle.acquire("slots"),
        done=done,
        timer=timer,
        ref=process.monitor(echo),
        monitor=process.amonitor(echo),
        application=Application(None),  # type: ignore[arg-type]  # never started
    )
    assert process.current() is maker
    assert throttle.lock_state("slots").running == 1, "nobody has given the slot back"
    throttle.release("slots")
    timer.cancel()
    stays.set()
    Task.await_(task)
    GenServer.stop(echo)
    throttle.stop_lock("slots")
    Registry.stop("entries")


def make(call: Call, world: World) -> BaseException | None:
    """Make a call; what it raised."""
    try:
        made = call(world)
        if inspect.iscoroutine(made):
            try:
                made.send(None)
            finally:
                made.close()
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize("name", CALLS)
def test_the_next_call_of_a_killed_process_raises_killed(name: str, world: World) -> None:
    met: list[BaseException | None] = []
    started, go, over = threading.Event(), threading.Event(), threading.Event()

    def body() -> None:
        started.set()
        go.wait()
        met.append(make(CALLS[name], world))
        over.set()

    pid = process.spawn(body)
    assert started.wait(10)
    process.exit(pid, "kill")
    go.set()
    assert over.wait(10)
    assert [type(each) for each in met] == [Killed], met


@pytest.mark.parametrize("name", CALLS)
def test_the_next_call_of_a_thread_after_an_exit_signal_raises_server_exit_once(
    name: str, world: World
) -> None:
    met: list[object] = []

    def body() -> None:
        before = process.current()
        process.exit(before, "boom")
        met.append(make(CALLS[name], world))
        after = process.current()
        met.append(after is not before and after.alive)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert [type(met[0]), met[1]] == [ServerExit, True], met


@pytest.mark.parametrize("name", CALLS)
def test_the_next_call_of_a_task_after_an_exit_signal_raises_server_exit_once(
    name: str, world: World
) -> None:
    async def body() -> list[object]:
        before = process.current()
        process.exit(before, "boom")
        met: list[object] = [make(CALLS[name], world)]
        after = process.current()
        return [*met, after is not before and after.alive]

    async def main() -> list[object]:
        task = asyncio.ensure_future(body())
        return await asyncio.shield(task)

    met = asyncio.run(main())
    assert [type(met[0]), met[1]] == [ServerExit, True], met
