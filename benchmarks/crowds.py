"""Many at once: threads that all wait before the first is let in, tasks of one loop, threads on one core."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from .timing import atimed, stopwatch


def threads(
    count: int, rounds: int, work: Callable[[int], None], go: Callable[[], None], ready: Callable[[], bool]
) -> float:
    """Microseconds of each of so many rounds of so many threads, from the moment in which all of them wait.

    Args:
        count: How many threads.
        rounds: How many times each does its thing.
        work: What a thread runs, with its number: all rounds.
        go: Lets the first in.
        ready: Whether all of them wait.
    """
    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for worker in workers:
        worker.start()
    while not ready():
        time.sleep(0.001)
    elapsed = stopwatch()
    go()
    for worker in workers:
        worker.join()
    return elapsed() / (count * rounds)


def tasks(count: int, rounds: int, block: Callable[[], AbstractAsyncContextManager[Any]]) -> float:
    """Microseconds of each block that so many tasks of one loop enter so many times."""

    async def work() -> None:
        for _ in range(rounds):
            async with block():
                await asyncio.sleep(0)

    async def main() -> float:
        elapsed = stopwatch()
        await asyncio.gather(*[work() for _ in range(count)])
        return elapsed() / (count * rounds)

    return asyncio.run(main())


def one_task(
    times: int, block: Callable[[], AbstractAsyncContextManager[Any]], *, for_a_turn: bool = False
) -> float:
    """Microseconds of each block that one task enters so many times, with nobody beside it.

    Args:
        times: How many times.
        block: Makes one.
        for_a_turn: Whether it stays in it for a turn of the loop; else it leaves at once.
    """

    async def enter() -> None:
        async with block():
            pass

    async def enter_for_a_turn() -> None:
        async with block():
            await asyncio.sleep(0)

    return asyncio.run(atimed(enter_for_a_turn if for_a_turn else enter, times))


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Keep the threads of this process on one core, where the system lets us.

    A round trip between two threads takes 25 us when they share a core and up to 100 us when they do not,
    which is the kernel's choice, for minutes, and differs between the two sides of a row.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    everywhere = os.sched_getaffinity(0)

    def put(cores: set[int]) -> None:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread), cores)

    put({min(everywhere)})
    try:
        yield
    finally:
        put(everywhere)
