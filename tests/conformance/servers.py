"""The servers of a scenario of processes: what a step or another server tells them to do, they do.

The actions are written once, as coroutines. A server on a thread runs them without ever suspending; one on
the loop awaits them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from resprout.actors import (
    IGNORE,
    TIMEOUT,
    BadReturn,
    Crash,
    Down,
    Exited,
    GenServer,
    NoReply,
    Ok,
    Pid,
    ProcessExit,
    Ref,
    Reply,
    ResproutError,
    SelfCall,
    ServerExit,
    Shutdown,
    StartError,
    Stop,
    Task,
    TaskExit,
    process,
)

if TYPE_CHECKING:
    from .processes import World

# Reasons and errors as JSON -------------------------------------------------------------------


def term(reason: Any) -> Any:
    """A reason of a scenario as the value that processes use."""
    return Shutdown(reason[1]) if isinstance(reason, list) else reason


def reason_json(reason: object) -> Any:
    """An exit reason as JSON."""
    match reason:
        case str():
            return reason
        case Shutdown(detail):
            return ["shutdown", detail]
        case Crash(BadReturn()):
            return ["bad_return"]
        case Crash(ResproutError() as error):
            return ["call_exit", error_json(error)]
        case Crash(RuntimeError() as error):
            return ["crash", str(error)]
    return repr(reason)


def error_json(error: Exception) -> Any:
    """What a call was answered with instead of a value, as JSON."""
    match error:
        case SelfCall():
            return "calling_self"
        case ProcessExit():
            return reason_json(error.reason)
    return repr(error)


def outcome_json(value: object, *, none: bool) -> Any:
    """What a function of Task gave, as JSON; none tells whether None is the task's result."""
    match value:
        case TaskExit(reason):
            return ["exit", reason_json(reason)]
        case None if not none:
            return None
    return ["ok", value]


# Ways of being run ----------------------------------------------------------------------------


class OnThreads:
    """What a callback on a thread does to wait."""

    async def call(self, server: Pid, message: object) -> Any:
        """Calls a server."""
        return GenServer.call(server, message)

    async def start(self, kind: type[Pooled], arg: object, *, link: bool) -> Any:
        """Starts a server."""
        return kind.start_link(arg) if link else kind.start(arg)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that nobody tells of: a telling would be one more message in the trace."""
        while not condition():
            time.sleep(0.0001)

    async def await_(self, task: Task) -> Any:
        """Waits for a task's result."""
        return Task.await_(task)


class OnTheLoop(OnThreads):
    """The same in a coroutine."""

    async def call(self, server: Pid, message: object) -> Any:
        return await GenServer.acall(server, message)

    async def start(self, kind: type[Pooled], arg: object, *, link: bool) -> Any:
        return await (kind.astart_link(arg) if link else kind.astart(arg))

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.0001)

    async def await_(self, task: Task) -> Any:
        return await task


def at_once(actions: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that never suspends."""
    try:
        actions.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it suspended")


# The servers ----------------------------------------------------------------------------------


class Pooled(GenServer):
    """A server of a scenario."""

    hands: OnThreads = OnThreads()

    def init(self, arg: tuple[World, str, dict[str, Any]]) -> Any:
        self.world, self.name, self.options = arg
        self.refs: dict[Ref, str] = {}
        self.me = process.current()
        self.world.born(self.name, self.me)
        process.trap_exit(bool(self.options.get("trap")))
        self.log("init")
        match self.options.get("init", "ok"):
            case "ok" if self.options.get("continue"):
                return Ok(None, continue_with=self.options["continue"])
            case "ok":
                return Ok(None)
            case "ignore":
                return IGNORE
            case "stop":
                return Stop("bad")
            case "raise":
                raise RuntimeError("init")
            case "exit":
                process.exit("bye")
            case other:
                return other

    def log(self, *event: Any) -> None:
        """Notes what happens to it."""
        self.world.events.append((self.me, list(event)))

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return at_once(self.on("call", message, from_))

    def handle_cast(self, message: Any, state: Any) -> Any:
        return at_once(self.on("cast", message))

    def handle_info(self, message: Any, state: Any) -> Any:
        return at_once(self.told(message))

    def handle_continue(self, token: Any, state: Any) -> Any:
        self.log("continue", token)
        return NoReply(None)

    def terminate(self, reason: Any, state: Any) -> None:
        self.log("terminate", reason_json(reason))
        if self.options.get("term") == "raise":
            raise RuntimeError("term")

    async def told(self, message: Any) -> Any:
        """Handles a message that is neither a call nor a cast."""
        match message:
            case _ if message is TIMEOUT:
                self.log("timeout")
            case Down(ref, pid, reason):
                self.log("~down", self.refs.get(ref, "task"), self.world.name_of(pid), reason_json(reason))
            case Exited(pid, reason):
                self.log("~exited", self.world.name_of(pid), reason_json(reason))
            case (Ref(), value):
                self.log("~task_reply", value)
            case _:
                return await self.on("info", message)
        return NoReply(None)

    async def on(self, kind: str, message: Any, from_: Any = None) -> Any:
        """Carries out what a step or another server says."""
        match message:
            case ("m", value):
                self.log(kind, value)
                return Reply(value, None) if kind == "call" else NoReply(None)
            case ("do", actions, result):
                self.log(kind, "do")
                for action, *arguments in actions:
                    await self.act(action, *arguments)
                return self.result(result, kind, from_)
        raise ValueError(f"no such message: {message!r}")

    def result(self, result: list[Any], kind: str, from_: Any) -> Any:
        """What the callback returns."""

        def ok(**more: Any) -> Any:
            return Reply("done", None, **more) if kind == "call" else NoReply(None, **more)

        match result:
            case ["ok"]:
                return ok()
            case ["timeout0"]:
                return ok(timeout=0)
            case ["timeout0_self"]:
                process.send(process.current(), ("m", "tick"))
                return ok(timeout=0)
            case ["continue", token]:
                return ok(continue_with=token)
            case ["stop", reason] if kind == "call":
                return Stop(term(reason), reply="done")
            case ["stop" | "stop_noreply", reason]:
                return Stop(term(reason))
            case ["stop_reply_first", reason]:
                GenServer.reply(from_, "early")
                return Stop(term(reason))
            case ["raise", text]:
                raise RuntimeError(text)
            case ["exit", reason]:
                process.exit(term(reason))
            case ["bad"]:
                return "bad"
        raise ValueError(f"no such result: {result!r}")

    async def act(self, action: str, *arguments: Any) -> None:
        """Carries out one action."""
        if action in _OF_ANOTHER:
            other = self.world.names.get(arguments[0])
            if other is None:
                self.log("skip", action)
                return
            arguments = (other, *arguments[1:])
        match action, *arguments:
            case "send", pid, value:
                process.send(pid, ("m", value))
            case "cast", pid, value:
                GenServer.cast(pid, ("m", value))
            case "selfsend", value:
                process.send(process.current(), ("m", value))
            case "callmsg", pid, value:
                self.log("called", await self.ask(pid, ("m", value)))
            case "call", pid, result:
                self.log("called", await self.ask(pid, ("do", [], result)))
            case "call!", pid, result:
                self.log("called", await self.hands.call(pid, ("do", [], result)))
            case "alive", pid:
                self.log("alive", process.alive(pid))
            case "monitor", pid, label:
                self.refs[process.monitor(pid)] = label
            case "demonitor", label, flush:
                self.demonitor(label, flush)
            case "trap", value:
                self.log("trap", process.trap_exit(value))
            case "link", pid:
                self.tie(pid)
            case "unlink", pid:
                process.unlink(pid)
            case "exit", pid, reason:
                process.exit(pid, term(reason))
            case (("spawn" | "start"), name, options):
                self.log(action, await self.start_another(name, options, link=action == "spawn"))
            case "task", body, way:
                self.log("task", await self.task(body, way))
            case _:
                raise ValueError(f"no such action: {action!r}")

    async def ask(self, pid: Pid, message: object) -> Any:
        """Calls another server; what it says, or why it does not."""
        try:
            return await self.hands.call(pid, message)
        except ResproutError as error:
            return ["call_exit", error_json(error)]

    def demonitor(self, label: str, flush: bool) -> None:
        """Ends the oldest monitor with that label."""
        ref = next((ref for ref, known in self.refs.items() if known == label), None)
        if ref is None:
            self.log("skip", "demonitor")
        else:
            process.demonitor(ref, flush)

    def tie(self, pid: Pid) -> None:
        """Links itself, and rescues the error if that is refused."""
        try:
            process.link(pid)
        except ProcessExit as error:
            self.log("link", reason_json(error.reason))

    async def start_another(self, name: str, options: dict[str, Any], *, link: bool) -> Any:
        """Starts one more server; how that went."""
        try:
            pid = await self.hands.start(type(self), (self.world, name, options), link=link)
        except StartError as error:
            return ["error", reason_json(error.reason)]
        return "ignore" if pid is None else "ok"

    async def task(self, body: str, way: str) -> Any:
        """Starts a task and deals with it in one way; what came of it."""
        task = Task.async_(_BODIES[body])
        pid = task.pid
        assert pid is not None
        told = partial(outcome_json, none=body == "none")
        self.world.tasks.append(pid)
        if way.startswith("dead_") or way == "leave":
            await self.hands.until(lambda: pid.left)
        try:
            match way.removeprefix("dead_"):
                case "await":
                    return ["ok", await self.hands.await_(task)]
                case "await_many":
                    await self.hands.until(task.done)
                    return ["ok", Task.await_many([task])]
                case "yield":
                    await self.hands.until(task.done)
                    return told(Task.yield_(task))
                case "yield_many":
                    return told(Task.yield_many([task])[0][1])
                case "shutdown":
                    return told(Task.shutdown(task))
                case "kill":
                    return told(Task.shutdown(task, 0))
                case "ignore":
                    return told(Task.ignore(task))
                case "yield0_kill":
                    return told(Task.yield_(task, 0) or Task.shutdown(task, 0))
                case "leave":
                    return "left"
        except ServerExit as error:
            return ["exit", reason_json(error.reason)]
        raise ValueError(f"no such way with a task: {way!r}")


_OF_ANOTHER = frozenset(
    ("send", "cast", "callmsg", "call", "call!", "monitor", "alive", "link", "unlink", "exit")
)
"""Actions whose first argument is the name of a server."""


def _raise() -> None:
    raise RuntimeError("task")


_BODIES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "value": lambda: 7,
    "exit_normal": lambda: process.exit("normal"),
    "exit_boom": lambda: process.exit("boom"),
    "raise": _raise,
    "forever": lambda: process.receive(),
}


class Inline(Pooled):
    """The same, run on the sender's thread."""

    blocking = False


class Coroutines(Pooled):
    """The same, run on the runtime's event loop."""

    hands = OnTheLoop()

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return await self.on("call", message, from_)

    async def handle_cast(self, message: Any, state: Any) -> Any:
        return await self.on("cast", message)

    async def handle_info(self, message: Any, state: Any) -> Any:
        return await self.told(message)


WAYS: dict[str, type[Pooled]] = {"pool": Pooled, "inline": Inline, "coroutines": Coroutines}
