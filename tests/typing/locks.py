"""What a type checker knows of functions that run with a slot of a lock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from typing_extensions import Any, assert_type

from resprout import Future, Grant, Pid, throttle


def write(order: int, *, note: str = "") -> bytes:
    return f"{order} {note}".encode()


async def awrite(order: int, note: str = "") -> bytes:
    return f"{order} {note}".encode()


assert_type(throttle.new("database", 2, fairness="eventual", adaptive="aimd", rate="100/s"), Pid)
assert_type(throttle.run("database", write, 1, note="x"), bytes)
assert_type(throttle.run("database", write, 1, timeout=1.0), bytes)
assert_type(throttle.run("database", write, 1, note="x", priority=2), bytes)
assert_type(throttle.run("database", lambda: 3), int)
assert_type(throttle.run("database", len, "abc"), int)
assert_type(throttle.execute("database", write, 1), Future[bytes])
assert_type(throttle.execute("database", write, 1, timeout=1.0, priority=1), Future[bytes])
assert_type(throttle.execute("database", awrite, 1, note="x"), Future[bytes])
assert_type(throttle.execute("database", awrite, 1, priority=1), Future[bytes])
assert_type(throttle.execute("database", write, 1).result(timeout=3), bytes)


@throttle.limited("database", timeout=3)
def limited(order: int) -> str:
    return str(order)


@throttle.limited("database")
async def alimited(order: int) -> AsyncIterator[int]:
    yield order


assert_type(limited(3), str)
assert_type(alimited(3), AsyncIterator[int])
untyped: Callable[..., Any] = write
assert_type(throttle.run("database", untyped, "anything"), Any)

with throttle.slot("database", on_kill="release") as grant:
    assert_type(grant, Grant)


async def main() -> None:
    assert_type(await throttle.arun("database", awrite, 1, note="x"), bytes)
    assert_type(await throttle.arun("database", awrite, 1, timeout=1.0), bytes)
    assert_type(await throttle.aexecute("database", write, 1), bytes)
    assert_type(await throttle.aexecute("database", awrite, 1), bytes)
    assert_type(await throttle.execute("database", awrite, 1), bytes)
    async with throttle.slot("database") as taken:
        assert_type(taken, Grant)
