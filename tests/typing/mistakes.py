"""Mistakes of users: each line that ends in `# mistake: ...` has one, and no other has.

There stands the code that mypy gives it, then the rule of pyright's.
"""

# fmt: off
from __future__ import annotations

import attrs
from typing_extensions import Any, override

from resprout import (
    Agent,
    Application,
    Bounded,
    DynamicSupervisor,
    GenServer,
    NoReply,
    Ok,
    Pid,
    Registry,
    Reply,
    Stop,
    Supervisor,
    Task,
    TaskSupervisor,
    process,
    throttle,
)


@attrs.frozen
class Add:
    amount: int


@attrs.frozen
class Get:
    pass


class Counter(GenServer[int, Add | Get, int]):
    def init(self, start: int) -> Ok[int]:
        return Ok("one")  # mistake: arg-type, reportReturnType

    def handle_call(self, message: Add | Get, from_: Any, state: int) -> Reply[int, int]:
        return Reply("total", state)  # mistake: arg-type, reportReturnType

    def handle_cast(self, message: Add | Get, state: int) -> NoReply[int]:
        return NoReply(str(state))  # mistake: arg-type, reportReturnType

    def handle_info(self, message: object, state: int) -> NoReply[int]:
        return Reply(1, state)  # mistake: return-value, reportReturnType

    def handle_continue(self, token: object, state: int) -> Stop[int]:
        return Stop("normal", "state")  # mistake: arg-type, reportReturnType


class Forgets(GenServer[int, str, int]):
    def init(self, arg: int) -> Ok[int]:
        return Ok()  # mistake: call-arg, reportCallIssue

    def handle_call(self, message: str, from_: Any, state: int) -> Reply[int, int]:
        return Reply(state)  # mistake: call-arg, reportCallIssue

    def handle_cast(self, message: str, state: int) -> NoReply[int]:
        return NoReply()  # mistake: call-arg, reportCallIssue


class Wrong(GenServer[int, Add | Get, int]):
    def init(self, arg: int) -> Ok[str]:  # mistake: override, reportIncompatibleMethodOverride
        return Ok("state")

    def handle_call(self, message: Add, from_: Any, state: int) -> Reply[int, int]:  # mistake: override, reportIncompatibleMethodOverride
        return Reply(1, state)

    def handle_cast(self, message: Add | Get, state: int) -> int:  # mistake: override, reportIncompatibleMethodOverride
        return state

    def handle_info(self, message: object) -> NoReply[int]:  # mistake: override, reportIncompatibleMethodOverride
        return NoReply(1)

    @override
    def handle_calls(self, message: object, from_: Any, state: int) -> NoReply[int]:  # mistake: misc, reportGeneralTypeIssues
        return NoReply(state)

    async def handle_continue(self, token: object, state: str) -> NoReply[int]:  # mistake: override, reportIncompatibleMethodOverride
        return NoReply(1)


class Answers(GenServer[int, Add | Get, int]):
    def handle_call(self, message: Add | Get, from_: Any, state: int) -> Reply[str, int]:  # mistake: override, reportIncompatibleMethodOverride
        return Reply("one", state)

    def terminate(self, reason: object) -> None:  # mistake: override, reportIncompatibleMethodOverride
        pass


counter = Counter.start(1)
counter.call("next")  # mistake: arg-type, reportArgumentType
counter.cast(1)  # mistake: arg-type, reportArgumentType
GenServer.call(counter, "next")  # mistake: misc, reportCallIssue
GenServer.cast(counter, Add)  # mistake: misc, reportCallIssue
GenServer.send_request(counter, "next")  # mistake: misc, reportCallIssue
total: str = counter.call(Get())  # mistake: assignment, reportAssignmentType
other: Pid[str, int] = counter  # mistake: assignment, reportAssignmentType
Counter.start("one")  # mistake: arg-type, reportArgumentType
Counter.start_link()  # mistake: call-arg, reportCallIssue
Counter.start(1, nme="counter")  # mistake: call-arg, reportCallIssue
Counter.start(1, name=3)  # mistake: arg-type, reportArgumentType
Counter.child_spec(1, restart="allways")  # mistake: arg-type, reportArgumentType
Counter.child_spec(1, shutdwn=3)  # mistake: call-arg, reportCallIssue


class Import(GenServer, restart="allways"): ...  # mistake: arg-type, reportArgumentType


Bounded(10, on_full="discard")  # mistake: arg-type, reportArgumentType
GenServer.call(counter, Get(), timeout="5s")  # mistake: call-overload, reportCallIssue

Supervisor.start_link([Counter], strategy="one_for_al")  # mistake: arg-type, reportArgumentType
Supervisor.init_spec([], auto_shutdown="always")  # mistake: arg-type, reportArgumentType
DynamicSupervisor.start_link(strategy="rest_for_one")  # mistake: arg-type, reportArgumentType
Registry.start_link(keys="uniqe", name="users")  # mistake: arg-type, reportArgumentType
TaskSupervisor.start_child("tasks", print, restart="never")  # mistake: arg-type, reportArgumentType
Task.async_stream([1], print, on_timeout="kill")  # mistake: arg-type, reportArgumentType
Task.yield_many([], on_timeout="kill")  # mistake: arg-type, reportArgumentType
Application.load(3)  # mistake: arg-type, reportArgumentType


def write(order: int, note: str = "") -> bytes:
    return note.encode()


async def awrite(order: int) -> bytes:
    return b""


throttle.execute("database", write, "one")  # mistake: call-overload, reportCallIssue
throttle.execute("database", write, 1, nte="x")  # mistake: call-arg, reportCallIssue
throttle.execute("database", write)  # mistake: call-overload, reportCallIssue
throttle.run("database", write, 1, 2)  # mistake: call-overload, reportArgumentType
size: int = throttle.run("database", write, 1)  # mistake: assignment, reportAssignmentType
throttle.new("database", 1, fairness="fair")  # mistake: arg-type, reportArgumentType
throttle.new("database", 1, adaptive="vegas")  # mistake: arg-type, reportArgumentType
throttle.slot("database", on_kill="free")  # mistake: arg-type, reportArgumentType
throttle.new("database", "2")  # mistake: arg-type, reportArgumentType


async def main() -> None:
    await counter.call(Get())  # mistake: misc, reportGeneralTypeIssues
    await GenServer.call(counter, Get())  # mistake: misc, reportGeneralTypeIssues
    await throttle.run("database", write, 1)  # mistake: misc, reportGeneralTypeIssues
    await throttle.arun("database", write, 1)  # mistake: call-overload, reportArgumentType
    await throttle.arun("database", awrite, "one")  # mistake: call-overload, reportArgumentType
    pid = await Counter.astart("one")  # mistake: arg-type, reportArgumentType
    await Counter.aserve("one")  # mistake: arg-type, reportArgumentType
    await GenServer.acall(pid, "next")  # mistake: misc, reportCallIssue
    late: str = await GenServer.acall(pid, Get())  # mistake: arg-type, reportAssignmentType
    await Counter.start(1)  # mistake: misc, reportGeneralTypeIssues
    GenServer.acall(pid, Get())  # mistake: unused-coroutine, reportUnusedCoroutine
    Counter.astart_link(1)  # mistake: unused-coroutine, reportUnusedCoroutine
    throttle.aexecute("database", awrite, 1)  # mistake: unused-coroutine, reportUnusedCoroutine


process.send_after(counter, "later", "1s")  # mistake: arg-type, reportArgumentType
process.cancel_timer(counter)  # mistake: arg-type, reportArgumentType
Agent.get(Agent.start(lambda: 1))  # mistake: call-arg, reportCallIssue
