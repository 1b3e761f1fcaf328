"""What a type checker knows of servers, their results and their Pids."""

from __future__ import annotations

import attrs
from typing_extensions import Any, assert_type, override

from resprout import IGNORE, Future, GenServer, NoReply, Ok, Pid, Reply, Stop


@attrs.frozen
class Add:
    amount: int


@attrs.frozen
class Get:
    pass


class Counter(GenServer[int, Add | Get, int]):
    @override
    def init(self, start: int) -> Ok[int]:
        return Ok(start)

    @override
    def handle_call(self, request: Add | Get, asker: object, count: int) -> Reply[int, int] | Stop[int]:
        match request:
            case Add(amount):
                return Reply(count + amount, count + amount)
            case Get():
                return Reply(count, count)

    @override
    def handle_cast(self, request: Add | Get, count: int) -> NoReply[int]:
        return NoReply(count + 1)

    @override
    def handle_info(self, news: object, count: int) -> NoReply[int] | Stop[int]:
        return Stop("normal", count) if news == "stop" else NoReply(count, timeout=1.0)

    @override
    def terminate(self, why: object, count: int) -> None:
        assert_type(count, int)


class Slow(GenServer[list[str], str, None]):
    @override
    async def init(self, _arg: None) -> Ok[list[str]] | Stop:
        return Ok([])

    @override
    async def handle_call(self, line: str, _from: object, lines: list[str]) -> Reply[None, list[str]]:
        return Reply(None, [*lines, line])


class Untyped(GenServer):
    def init(self, arg: Any) -> Any:
        return IGNORE

    def handle_call(self, message, from_, state):  # type: ignore[no-untyped-def]
        return Reply(message, state)


class StateOnly(GenServer[int]):
    def handle_call(self, message: str, from_: Any, state: int) -> Reply[str, int]:
        return Reply(message, state)


counter = Counter.start(1, name="counter")
assert_type(counter, Pid[Add | Get, int])
assert_type(Counter.start_link(1), Pid[Add | Get, int])
assert_type(counter.call(Get()), int)
assert_type(GenServer.call(counter, Add(1)), int)
assert_type(Counter.call(counter, Add(1), timeout=None), int)
assert_type(GenServer.call("counter", "whatever"), Any)
assert_type(GenServer.send_request(counter, Get()), Future[int])
assert_type(GenServer.send_request(counter, Get()).result(), int)
counter.cast(Add(1))
GenServer.cast(counter, Add(1))
GenServer.cast("counter", "whatever")
narrow: Pid[Add, int | None] = counter
plain: Pid = counter
assert_type(plain.call("whatever"), Any)
assert_type(Slow.start(), Pid[str, None])
assert_type(Untyped.start(), Pid)
assert_type(Untyped.start("arg").call(object()), Any)
assert_type(StateOnly.start(3).call("x"), Any)


async def main() -> None:
    slow = await Slow.astart_link()
    assert_type(slow, Pid[str, None])
    await GenServer.acall(slow, "line")
    assert_type(await GenServer.acall(counter, Get()), int)
    assert_type(await GenServer.send_request(counter, Get()), int)
