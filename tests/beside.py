"""With --beside, the loop of a test is one of several: it has a thread of its own, and so have others, which
are busy with all that loops have.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from resprout import GenServer, NoReply, Ok, Registry, Reply, Task, process, throttle

LOOPS = 2
WATCHDOG = 30.0
_run = asyncio.run


def run_in_thread(main: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """What `asyncio.run` does, on a loop in a thread of its own."""
    outcome: Future[Any] = Future()
    context = contextvars.copy_context()

    def call() -> None:
        try:
            outcome.set_result(context.run(_run, main, **options))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=call, name="loop of a test")
    thread.start()
    thread.join()
    return outcome.result()


class Echo(GenServer):
    """Answers from its loop, after a turn of that for every other message."""

    async def init(self, arg: Any) -> Any:
        return Ok(0)

    async def handle_call(self, message: Any, from_: Any, count: int) -> Any:
        if count % 2:
            await asyncio.sleep(0)
        return Reply(message, count + 1)

    async def handle_cast(self, message: Any, count: int) -> Any:
        return await self.handle_info(message, count)

    async def handle_info(self, message: Any, count: int) -> Any:
        process.send(message, count)
        return NoReply(count)


async def _one_round() -> None:
    me = process.current()
    echo = await Echo.astart()
    assert await GenServer.acall(echo, me) is me
    GenServer.acast(echo, me)
    assert isinstance(await process.areceive(timeout=WATCHDOG), int)
    async with throttle.slot("beside"):
        assert await asyncio.to_thread(process.current) is me
    assert await Registry.alock("keys beside", "key", _later) == "later"
    assert [each async for each in Task.astream(range(3), _double)] == [0, 2, 4]
    await GenServer.astop(echo)
    assert not echo.alive


async def _later() -> str:
    await asyncio.sleep(0)
    return "later"


async def _double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@contextmanager
def busy_loops() -> Iterator[None]:
    """Have loops that are busy in threads of their own meanwhile; what goes wrong there is raised."""
    over, begun = threading.Event(), threading.Barrier(LOOPS + 1)

    async def work() -> int:
        rounds = 0
        begun.wait(WATCHDOG)
        while not over.is_set():
            await asyncio.gather(_one_round(), _one_round())
            rounds += 1
        return rounds

    def live(outcome: Future[int]) -> None:
        try:
            outcome.set_result(_run(work()))
        except BaseException as error:
            outcome.set_exception(error)

    throttle.new("beside", 2)
    registry = Registry.start_link(keys="unique", name="keys beside")
    process.unlink(registry)
    outcomes = [Future[int]() for _ in range(LOOPS)]
    threads = [threading.Thread(target=live, args=(each,), name="loop beside") for each in outcomes]
    for thread in threads:
        thread.start()
    begun.wait(WATCHDOG)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(WATCHDOG)
        Registry.stop(registry)
        throttle.stop_lock("beside")
    for each in outcomes:
        each.result(0)


@pytest.fixture(autouse=True)
def beside(leaves_nothing_behind: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Around each test."""
    monkeypatch.setattr(asyncio, "run", run_in_thread)
    with busy_loops():
        yield
