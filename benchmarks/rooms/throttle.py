"""What a lock costs: alone, fought for by threads and tasks, with a long line, in memory."""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from resprout import throttle

from .. import crowds
from ..rows import Bar, Effort, Measure, Peer, Room, Row, Section
from ..timing import each, stopwatch, timed

NAME = "bench"
LIMITER = "aiologic.CapacityLimiter"


@contextmanager
def lock(slots: int, **options: Any) -> Iterator[str]:
    """A lock of so many slots, while it is used."""
    throttle.new(NAME, slots, **options)
    yield NAME
    throttle.stop_lock(NAME)


# One thread, one task -----------------------------------------------------------------------------


@contextmanager
def uncontended(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Acquire and release a free slot."""
    semaphore = threading.BoundedSemaphore(2)
    times = effort(5_000)

    def verbs() -> None:
        throttle.acquire(NAME)
        throttle.release(NAME)

    def block() -> None:
        with throttle.slot(NAME):
            pass

    def bounded() -> None:
        semaphore.acquire()
        semaphore.release()

    with lock(2):
        yield {
            "verbs": each(times, verbs),
            "block": each(times, block),
            "threading.BoundedSemaphore": each(times, bounded),
        }


@contextmanager
def one_task(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """The same in a coroutine."""
    times = effort(3_000)

    def ours(*, for_a_turn: bool) -> float:
        return crowds.one_task(times, lambda: throttle.slot(NAME), for_a_turn=for_a_turn)

    def theirs(*, for_a_turn: bool) -> float:
        semaphore = asyncio.Semaphore(2)
        return crowds.one_task(times, lambda: semaphore, for_a_turn=for_a_turn)

    with lock(2):
        yield {
            "block": lambda: ours(for_a_turn=False),
            "block for a turn": lambda: ours(for_a_turn=True),
            "asyncio.Semaphore": lambda: theirs(for_a_turn=False),
            "asyncio.Semaphore for a turn": lambda: theirs(for_a_turn=True),
        }


@contextmanager
def tasks(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A thousand asyncio tasks on ten slots."""
    count = effort(1_000)

    def theirs() -> float:
        semaphore = asyncio.Semaphore(10)
        return crowds.tasks(count, 10, lambda: semaphore)

    with lock(10):
        yield {
            "block": lambda: crowds.tasks(count, 10, lambda: throttle.slot(NAME)),
            "asyncio.Semaphore": theirs,
        }


# Many threads -------------------------------------------------------------------------------------

CROWDS = ((8, 400), (64, 60), (512, 10))
"""How many threads, and how many rounds each of them goes for strict fairness."""
Fairness = Literal["strict", "eventual"]


def locked(count: int, rounds: int, fairness: Fairness, waits: list[float] | None = None) -> float:
    """Threads on two slots, which note how long each waited if somebody wants to know."""

    def work(number: int) -> None:
        for _ in range(rounds):
            throttle.acquire(NAME)
            throttle.release(NAME)

    def noting(number: int) -> None:
        assert waits is not None
        for _ in range(rounds):
            waits.append(timed(lambda: throttle.acquire(NAME), unit="ms"))
            # Some work, or the machine's own hiccups would be all that is seen.
            time.sleep(0.0005)
            throttle.release(NAME)

    with lock(2, fairness=fairness):
        throttle.acquire(NAME, weight=2)
        return crowds.threads(
            count,
            rounds,
            work if waits is None else noting,
            lambda: throttle.release(NAME),
            lambda: throttle.lock_state(NAME).waiting == count,
        )


def ring(count: int, rounds: int) -> float:
    """The limit of FIFO hand-over on two slots: each thread of two rings releases the next one's lock."""
    locks = [threading.Lock() for _ in range(count)]
    for each_ in locks:
        each_.acquire()
    waiting: list[int] = []

    def work(number: int) -> None:
        mine, following = locks[number], locks[(number + 2) % count]
        waiting.append(number)
        for _ in range(rounds):
            mine.acquire()
            following.release()

    def go() -> None:
        locks[0].release()
        locks[1].release()

    return crowds.threads(count, rounds, work, go, lambda: len(waiting) == count)


def bounded_semaphore(count: int, rounds: int) -> float:
    """The same as `locked` with threading.BoundedSemaphore."""
    semaphore = threading.BoundedSemaphore(2)
    semaphore.acquire()
    semaphore.acquire()
    waiting: list[int] = []

    def work(number: int) -> None:
        waiting.append(number)
        for _ in range(rounds):
            semaphore.acquire()
            semaphore.release()

    def go() -> None:
        semaphore.release()
        semaphore.release()

    return crowds.threads(count, rounds, work, go, lambda: len(waiting) == count)


def contended(
    fairness: Fairness, other: str, limit: Callable[[int, int], float], factor: int
) -> Callable[[Effort], Any]:
    """The sides of one kind of fairness, which goes so many times as many rounds."""

    @contextmanager
    def sides(effort: Effort) -> Iterator[Mapping[str, Measure]]:
        measures: dict[str, Measure] = {}
        for count, rounds in CROWDS:
            so_many = effort(rounds * factor)
            measures[f"{count} locked"] = partial(locked, count, so_many, fairness)
            measures[f"{count} {other}"] = partial(limit, count, so_many)
        yield measures

    return sides


@contextmanager
def fairness(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """How long the unluckiest of 64 threads waits, and how long they wait in the mean."""

    def of(kind: Fairness) -> Measure:
        def measure() -> Mapping[str, float]:
            waits: list[float] = []
            locked(64, effort(50, least=6), kind, waits)
            settled = waits[64 * 5 :]  # the first waits of all are those for the start
            return {"longest": max(settled), "mean": statistics.mean(settled)}

        return measure

    yield {"strict": of("strict"), "eventual": of("eventual")}


# Work elsewhere -----------------------------------------------------------------------------------


def execute() -> None:
    """Have something done, and wait for it."""
    throttle.execute(NAME, int).result()


@contextmanager
def work_on_one_core(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A round trip between two threads that share a core."""
    times = effort(300)
    with lock(2), ThreadPoolExecutor(2) as pool:
        execute()
        pool.submit(int).result()
        with crowds.on_one_core():
            yield {
                "execute": each(times, execute),
                "ThreadPoolExecutor": each(times, lambda: pool.submit(int).result()),
            }


@contextmanager
def work_for_many(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Many that are begun together."""
    count = effort(500)

    def all_of(begin: Callable[[], Any]) -> Measure:
        return lambda: (
            timed(lambda: [future.result() for future in [begin() for _ in range(count)]], 3) / count
        )

    with lock(2), ThreadPoolExecutor(2) as pool:
        yield {
            "execute": all_of(lambda: throttle.execute(NAME, int)),
            "ThreadPoolExecutor": all_of(lambda: pool.submit(int)),
        }


@contextmanager
def work_by_new_workers(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """On any core: each repeat has new workers, for which the kernel chooses anew."""
    times = effort(200)

    def ours() -> float:
        with lock(2):
            execute()
            return timed(execute, times)

    def theirs() -> float:
        with ThreadPoolExecutor(2) as pool:
            pool.submit(int).result()
            return timed(lambda: pool.submit(int).result(), times)

    yield {"execute": ours, "ThreadPoolExecutor": theirs}


# Large numbers ------------------------------------------------------------------------------------


async def waiters(name: str, number: int, some: int) -> Mapping[str, float]:
    """What it takes to join a line of so many, to leave it from the middle, and to be served."""
    await throttle.aacquire(name)
    waiting = [throttle.execute(name, int) for _ in range(number)]
    joined = timed(lambda: waiting.append(throttle.execute(name, int)), some)
    leaving = iter(waiting[number // 2 : number // 2 + some])
    left = timed(lambda: next(leaving).cancel(), some)
    elapsed = stopwatch()
    throttle.release(name)
    for future in waiting[:some]:
        await future
    return {"join": joined, "leave": left, "serve": elapsed() / some}


@contextmanager
def scale(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Lines of 100,000 and of 1,000, each of a lock of its own: a name may stay in use for a moment."""
    names = (f"{NAME} {number}" for number in itertools.count())

    def line(number: int) -> Measure:
        def measure() -> Mapping[str, float]:
            name = next(names)
            throttle.new(name, 1)
            figures = asyncio.run(waiters(name, number, min(500, number // 2)))
            throttle.stop_lock(name)
            while throttle.locks():  # a holder of the last moment is still at work
                time.sleep(0.001)
            return figures

        return measure

    yield {
        "100,000 waiting": line(effort(100_000, least=1_000)),
        "1,000 waiting": line(effort(1_000, least=100)),
    }


@contextmanager
def memory(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Kilobytes of a lock that was never used."""
    names = [f"bench {number}" for number in range(effort(10_000))]

    def measure() -> float:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for name in names:
            throttle.new(name, 2)
        gc.collect()
        size = (tracemalloc.get_traced_memory()[0] - before) / len(names) / 1000
        tracemalloc.stop()
        for name in names:
            throttle.stop_lock(name)
        return size

    with lock(1):
        yield {"a lock": measure}


# Rows ---------------------------------------------------------------------------------------------


def crowd_rows(kind: str, other: str, bar: float) -> list[Row]:
    """A row for each crowd."""
    return [
        Row(f"{count} threads, {kind}", f"{count} locked", f"{count} {other}", Bar(ratio=bar))
        for count, _ in CROWDS
    ]


ROOM = Room(
    "throttle",
    "docs/throttle.md",
    [
        Section(
            "uncontended",
            "One thread acquires and releases a free slot.",
            uncontended,
            [
                Row("acquire + release", "verbs", "threading.BoundedSemaphore", Bar(ratio=2.0)),
                Row("with slot(...)", "block", "threading.BoundedSemaphore", Bar(ratio=3.0)),
                Row(
                    "acquire + release",
                    "verbs",
                    Peer("pykka", "lock", "a lock written as a Pykka actor", 100),
                    Bar(ratio=0.05),
                ),
                Row(
                    "acquire + release",
                    "verbs",
                    Peer("beam", "lock", "a GenServer lock on the BEAM", 20_000, every=3),
                    Bar(ratio=1.0),
                ),
                Row("acquire + release", "verbs", Peer("aiologic", "lock", LIMITER, 5_000)),
            ],
        ),
        Section(
            "one task",
            "One task acquires and releases a free slot.",
            one_task,
            [
                Row("async with slot(...)", "block", "asyncio.Semaphore"),
                Row(
                    "async with slot(...), for a turn of the loop",
                    "block for a turn",
                    "asyncio.Semaphore for a turn",
                    Bar(ratio=1.2),
                    label="asyncio.Semaphore",
                ),
                Row("async with slot(...)", "block", Peer("anyio", "lock", "anyio.CapacityLimiter", 3_000)),
                Row("async with slot(...)", "block", Peer("aiologic", "async_lock", LIMITER, 3_000)),
                Row("async with slot(...)", "block", Peer("casty", "lock", "a semaphore of casty", 500)),
            ],
        ),
        Section(
            "strict",
            "Threads on two slots, all of which wait first; strict FIFO.",
            contended("strict", "in a ring of bare locks", ring, 1),
            crowd_rows("strict", "in a ring of bare locks", 1.6),
        ),
        Section(
            "eventual",
            'Threads on two slots, all of which wait first; fairness="eventual".',
            contended("eventual", "on a threading.BoundedSemaphore", bounded_semaphore, 20),
            crowd_rows("eventual", "on a threading.BoundedSemaphore", 1.5),
            repeats=7,
        ),
        Section(
            "tasks",
            "A thousand tasks of one loop, ten acquires each, on ten slots.",
            tasks,
            [
                Row("1,000 tasks on 10 slots", "block", "asyncio.Semaphore", Bar(ratio=1.3)),
                Row("1,000 tasks on 10 slots", "block", Peer("anyio", "tasks", "anyio.CapacityLimiter")),
                Row("1,000 tasks on 10 slots", "block", Peer("aiologic", "tasks", LIMITER)),
            ],
            repeats=31,
        ),
        Section(
            "work on one core",
            "Have a function called elsewhere, and wait for it, on one core.",
            work_on_one_core,
            [Row("execute(...).result(), on one core", "execute", "ThreadPoolExecutor", Bar(ratio=1.2))],
            repeats=31,
        ),
        Section(
            "work for many",
            "500 that are begun together, each.",
            work_for_many,
            [Row("execute(...).result(), 500 at once", "execute", "ThreadPoolExecutor")],
            repeats=5,
        ),
        Section(
            "work by new workers",
            "Have a function called elsewhere, and wait for it, on any core.",
            work_by_new_workers,
            [
                Row(
                    "execute(...).result(), new workers each time",
                    "execute",
                    "ThreadPoolExecutor",
                    Bar(ratio=1.2),
                )
            ],
            repeats=31,
        ),
        Section(
            "fairness",
            "The longest wait of 64 threads on two slots, against the mean.",
            fairness,
            [
                Row(
                    "longest wait, strict",
                    "strict: longest",
                    "strict: mean",
                    Bar(ratio=2.0),
                    "ms",
                    label="the mean",
                ),
                Row(
                    "longest wait, eventual",
                    "eventual: longest",
                    "eventual: mean",
                    unit="ms",
                    label="the mean",
                ),
            ],
            repeats=5,
        ),
        Section(
            "scale",
            "An operation with 100,000 waiters, against the same with 1,000.",
            scale,
            [
                Row(
                    "join the line of 100,000", "100,000 waiting: join", "1,000 waiting: join", Bar(ratio=1.5)
                ),
                Row("leave its middle", "100,000 waiting: leave", "1,000 waiting: leave", Bar(ratio=1.5)),
                Row("be served", "100,000 waiting: serve", "1,000 waiting: serve", Bar(ratio=1.5)),
            ],
            repeats=5,
        ),
        Section(
            "memory",
            "What a lock takes.",
            memory,
            [Row("memory of a lock, of 10,000", "a lock", bar=Bar(figure=5.0), unit="kB")],
            repeats=1,
        ),
    ],
)
