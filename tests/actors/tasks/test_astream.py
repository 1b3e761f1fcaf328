"""`Task.astream`: streams of results in an event loop."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from resprout.actors import BlockingInLoop, CallTimeout, Crash, ServerExit, Task, TaskExit, process

WATCHDOG = 20.0


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), WATCHDOG))


class Work:
    """Coroutines that begin, wait to be let go on, and end."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}

    def gate(self, number: int) -> asyncio.Event:
        return self.gates.setdefault(number, asyncio.Event())

    async def __call__(self, number: int) -> int:
        self.begun.append(number)
        try:
            await self.gate(number).wait()
            return number
        finally:
            self.ended.append(number)


async def turns(until: Callable[[], bool]) -> None:
    while not until():
        await asyncio.sleep(0)


def test_results_come_in_the_order_of_the_items_from_the_loop_of_the_caller() -> None:
    async def where(number: int) -> tuple[int, object]:
        for _ in range(5 - number):
            await asyncio.sleep(0)
        return number, asyncio.get_running_loop()

    async def main() -> None:
        here = asyncio.get_running_loop()
        assert [found async for found in Task.astream(range(5), where)] == [(n, here) for n in range(5)]

    run(main)


def test_a_plain_function_runs_on_threads() -> None:
    async def main() -> None:
        found = {ident async for ident in Task.astream(range(4), lambda _: threading.get_ident())}
        assert threading.get_ident() not in found

    run(main)


def test_unordered_results_come_as_they_are_there() -> None:
    async def main() -> None:
        work = Work()
        stream = Task.astream(range(3), work, max_concurrency=3, ordered=False)
        first = asyncio.ensure_future(stream.__anext__())
        await turns(lambda: len(work.begun) == 3)
        for number in (2, 0, 1):
            work.gate(number).set()
            assert await first == number
            first = asyncio.ensure_future(stream.__anext__())
        with pytest.raises(StopAsyncIteration):
            await first

    run(main)


def test_an_item_is_taken_when_there_is_room_for_its_task() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    async def main() -> None:
        async def work(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async for number in Task.astream(items(), work, max_concurrency=3):
            assert len(taken) <= number + 3
            if number == 10:
                break

    run(main)


def test_a_break_ends_what_is_at_work() -> None:
    async def main() -> None:
        work = Work()
        work.gate(0).set()
        async for number in Task.astream(itertools.count(), work, max_concurrency=4):
            assert number == 0
            break
        gc.collect()
        await turns(lambda: len(work.ended) == len(work.begun))
        assert len(work.begun) <= 5

    run(main)


def test_aclose_ends_what_is_at_work_and_leaves_no_message() -> None:
    async def main() -> None:
        work = Work()
        work.gate(0).set()
        stream = Task.astream(itertools.count(), work, max_concurrency=4)
        assert await stream.__anext__() == 0
        await turns(lambda: len(work.begun) == 4)
        await stream.aclose()
        await stream.aclose()
        await turns(lambda: len(work.ended) == len(work.begun))
        with pytest.raises(StopAsyncIteration):
            await stream.__anext__()
        with pytest.raises(CallTimeout):
            await process.areceive(timeout=0)

    run(main)


def test_a_cancelled_wait_for_a_result_ends_the_stream() -> None:
    async def main() -> None:
        work = Work()

        async def consume() -> None:
            async for _ in Task.astream(range(3), work, max_concurrency=3):
                raise AssertionError("nothing is let go on")

        consuming = asyncio.ensure_future(consume())
        await turns(lambda: len(work.begun) == 3)
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming
        await turns(lambda: len(work.ended) == 3)
        assert process.info(process.current()).links == ()  # type: ignore[union-attr]

    run(main)


def test_an_item_that_takes_too_long_is_an_error_or_an_exit() -> None:
    async def main() -> None:
        work = Work()
        work.gate(1).set()
        with pytest.raises(CallTimeout, match=r"took more than 0\.01 s"):
            async for _ in Task.astream([0], work, timeout=0.01):
                raise AssertionError("nothing is let go on")
        found = [
            each
            async for each in Task.astream(
                [0, 1], work, timeout=0.01, on_timeout="kill_task", zip_input_on_exit=True
            )
        ]
        assert found == [TaskExit((0, "timeout")), 1]
        await turns(lambda: len(work.ended) == len(work.begun))

    run(main)


def test_a_task_that_crashes_is_an_error_and_an_exit_for_who_traps() -> None:
    async def fail(number: int) -> float:
        return 1 / number

    async def untrapped() -> None:
        with pytest.raises(ServerExit, match="division"):
            async for _ in Task.astream([0], fail):
                raise AssertionError("it fails")
        # As under OTP the exit signal of a linked task comes as well.
        await asyncio.sleep(WATCHDOG)

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.ensure_future(untrapped())
        process.trap_exit()
        found = [each async for each in Task.astream([0, 1], fail)]
        assert isinstance(found[0].reason, Crash)
        assert found[1] == 1.0

    run(main)


def test_arguments_are_looked_at_before_anything_runs() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="max_concurrency"):
            Task.astream([1], print, max_concurrency=0)
        with pytest.raises(TypeError, match="expected a function"):
            Task.astream([1], 3)  # type: ignore[arg-type]
        with pytest.raises(BlockingInLoop, match=r"use `async for result in Task\.astream"):
            Task.async_stream([1], print)

    run(main)


def test_two_do_not_ask_one_stream_for_the_next_result() -> None:
    async def main() -> None:
        work = Work()
        stream = Task.astream([0], work)
        asking = asyncio.ensure_future(stream.__anext__())
        await turns(lambda: work.begun == [0])
        with pytest.raises(RuntimeError, match="at a time"):
            await stream.__anext__()
        work.gate(0).set()
        assert await asking == 0

    run(main)


# The other waits


def test_some_tasks_are_awaited_and_the_rest_is_dealt_with() -> None:
    async def main() -> None:
        work = Work()
        work.gate(1).set()
        tasks = [Task.async_(work, number) for number in range(3)]
        (one, two, three) = await Task.ayield_many(tasks, limit=1)
        assert [result for _, result in (one, two, three)] == [None, 1, None]
        left = [tasks[0], tasks[2]]
        assert [result for _, result in await Task.ayield_many(left, 0.01)] == [None, None]
        killed = await Task.ayield_many(left, 0.01, on_timeout="kill_task")
        assert [result for _, result in killed] == [None, None]
        await turns(lambda: len(work.ended) == 3)

    run(main)


def test_a_wait_for_a_task_that_is_cancelled_leaves_the_task_alone() -> None:
    async def main() -> None:
        work = Work()
        task = Task.async_(work, 0)
        for wait in (lambda: asyncio.wait_for(task, WATCHDOG), lambda: Task.ayield_(task, None)):
            waiting = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            await turns(lambda: work.begun == [0])
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        work.gate(0).set()
        assert await Task.ayield_(task) == 0

    run(main)


def test_a_shutdown_that_is_cancelled_kills_the_task() -> None:
    async def main() -> None:
        stubborn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            process.trap_exit()
            stubborn.set_result(None)
            await asyncio.sleep(WATCHDOG)

        task = Task.async_(work)
        await stubborn
        ending = asyncio.ensure_future(Task.ashutdown(task, None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        assert not ending.done()
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert task.pid is not None
        assert task.pid.exit_reason == "killed"

    run(main)
