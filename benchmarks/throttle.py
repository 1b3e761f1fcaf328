"""How fast locks are, against what else there is, in one run.

    python benchmarks/throttle.py [SECTION ...]

Sections: uncontended, contended, tasks, work, fairness, scale, memory; all of them by default. Repeats take
turns with those of the other side. A row shows the median of each side, and the median of the ratios of
neighbours: the machine's mood changes from second to second (a thread wake-up costs between 5 and 40 us), and
neighbours have it in common, so that figure differs half as much from run to run as the ratio of the medians.
Compare ratios within a run. The last column says what the ratio is to be, where something was promised; the
exit status is 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.util
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pykka

from resprout import throttle

HERE = pathlib.Path(__file__).parent
REPEATS = 15
broken: list[str] = []


def row(label: str, ours: list[float], theirs: list[float], bar: float | None, unit: str = "us") -> None:
    """Print one comparison of runs that took turns."""
    ratio = statistics.median([mine / other for mine, other in zip(ours, theirs, strict=True)])
    verdict = "" if bar is None else f"<= {bar:g}x {'ok' if ratio <= bar else 'BROKEN'}"
    if bar is not None and ratio > bar:
        broken.append(label)
    middle, other = statistics.median(ours), statistics.median(theirs)
    print(f"  {label:<58}{middle:>10.2f} {unit}{other:>10.2f} {unit}{ratio:>7.2f}x  {verdict}", flush=True)


def turns(*sides: Callable[[], float], repeats: int = REPEATS) -> list[list[float]]:
    """Several measurements that take turns, and what each saw."""
    seen: list[list[float]] = [[] for _ in sides]
    for _ in range(repeats):
        for side, results in zip(sides, seen, strict=True):
            results.append(side())
    return seen


def each(times: int, operation: Callable[[], object]) -> Callable[[], float]:
    """Microseconds of one operation."""

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(times):
            operation()
        return (time.perf_counter() - began) / times * 1e6

    return measure


# -- one thread ----------------------------------------------------------------


class PykkaLock(pykka.ThreadingActor):
    """The same lock written as a plain Pykka actor."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.free = slots

    def on_receive(self, message: Any) -> Any:
        self.free += -1 if message == "acquire" else 1
        return True


def uncontended() -> None:
    """Acquire and release a free slot."""
    print("uncontended, one thread: acquire + release                          ours     the other")
    name = "bench uncontended"
    throttle.new(name, 2)
    semaphore = threading.BoundedSemaphore(2)
    actor = PykkaLock.start(2)

    def ours() -> None:
        throttle.acquire(name)
        throttle.release(name)

    def block() -> None:
        with throttle.slot(name):
            pass

    def bounded() -> None:
        semaphore.acquire()
        semaphore.release()

    def by_actor() -> None:
        actor.ask("acquire")
        actor.ask("release")

    mine, with_slot, theirs, asked = turns(
        each(5_000, ours), each(5_000, block), each(5_000, bounded), each(100, by_actor)
    )
    row("acquire+release / threading.BoundedSemaphore", mine, theirs, 2.0)
    row("with slot(...) / threading.BoundedSemaphore", with_slot, theirs, 3.0)
    row("acquire+release / a lock written as a Pykka actor", mine, asked, 0.05)
    elixir = shutil.which("elixir")
    if elixir:

        def on_the_beam() -> float:
            lines = subprocess.run(
                [elixir, str(HERE / "throttle.exs")], capture_output=True, text=True, check=True
            ).stdout
            return float(lines.split()[-1])

        again, beam = turns(each(20_000, ours), on_the_beam, repeats=5)
        row("acquire+release / a GenServer lock on the BEAM", again, beam, 1.0)
    if importlib.util.find_spec("aiologic"):
        import aiologic

        other = aiologic.CapacityLimiter(2)

        def by_aiologic() -> None:
            other.green_acquire()
            other.green_release()

        mine, theirs = turns(each(5_000, ours), each(5_000, by_aiologic))
        row("acquire+release / aiologic.CapacityLimiter", mine, theirs, None)
    actor.stop()
    throttle.stop_lock(name)


# -- many threads --------------------------------------------------------------


def crowd(
    threads: int, rounds: int, work: Callable[[int], None], go: Callable[[], None], ready: Callable[[], bool]
) -> float:
    """Microseconds an acquire, of threads that all wait before the first is let in."""
    began: list[float] = []
    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(threads)]
    for worker in workers:
        worker.start()
    while not ready():
        time.sleep(0.001)
    began.append(time.perf_counter())
    go()
    for worker in workers:
        worker.join()
    return (time.perf_counter() - began[0]) / (threads * rounds) * 1e6


def ring(threads: int, rounds: int) -> float:
    """The limit of FIFO hand-over on two slots: in each of two rings.

    Each thread releases the next one's lock.
    """
    locks = [threading.Lock() for _ in range(threads)]
    for lock in locks:
        lock.acquire()
    waiting: list[int] = []

    def work(number: int) -> None:
        mine, following = locks[number], locks[(number + 2) % threads]
        waiting.append(number)
        for _ in range(rounds):
            mine.acquire()
            following.release()

    def go() -> None:
        locks[0].release()
        locks[1].release()

    return crowd(threads, rounds, work, go, lambda: len(waiting) == threads)


def strict_or_eventual(threads: int, rounds: int, fairness: Any, waits: list[float] | None = None) -> float:
    """Threads on two slots."""
    name = f"bench {fairness}"
    throttle.new(name, 2, fairness=fairness)
    throttle.acquire(name, weight=2)
    acquire, release = throttle.acquire, throttle.release

    def work(number: int) -> None:
        for _ in range(rounds):
            acquire(name)
            release(name)

    def timed(number: int) -> None:
        assert waits is not None
        for _ in range(rounds):
            began = time.perf_counter()
            acquire(name)
            waits.append(time.perf_counter() - began)
            # Some work, or the machine's own hiccups would be all that is seen.
            time.sleep(0.0005)
            release(name)

    took = crowd(
        threads,
        rounds,
        work if waits is None else timed,
        lambda: release(name),
        lambda: throttle.lock_state(name).waiting == threads,
    )
    throttle.stop_lock(name)
    return took


def bounded(threads: int, rounds: int) -> float:
    """The same with threading.BoundedSemaphore."""
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

    return crowd(threads, rounds, work, go, lambda: len(waiting) == threads)


def contended() -> None:
    """Many threads on two slots."""
    print("contended, 2 slots, all threads wait first: microseconds an acquire  ours     the other")
    for threads, rounds in ((8, 400), (64, 60), (512, 10)):
        strict, limit = turns(
            lambda threads=threads, rounds=rounds: strict_or_eventual(threads, rounds, "strict"),
            lambda threads=threads, rounds=rounds: ring(threads, rounds),
            repeats=15,
        )
        row(f"{threads} threads, strict / ring of bare locks", strict, limit, 1.6)
        rounds *= 20
        eventual, limit = turns(
            lambda threads=threads, rounds=rounds: strict_or_eventual(threads, rounds, "eventual"),
            lambda threads=threads, rounds=rounds: bounded(threads, rounds),
            repeats=7,
        )
        row(f"{threads} threads, eventual / threading.BoundedSemaphore", eventual, limit, 1.5)


def fairness() -> None:
    """How long the unluckiest waits."""
    print("fairness, 64 threads on 2 slots: the longest wait and the mean, ms    longest   mean")
    for kind, bar in (("strict", 2.0), ("eventual", None)):
        waits: list[float] = []
        strict_or_eventual(64, 50, kind, waits)
        # The first waits of all are those for the start.
        waits = waits[64 * 5 :]
        longest, mean = max(waits) * 1e3, statistics.mean(waits) * 1e3
        row(f"{kind}: longest / mean", [longest], [mean], bar, "ms")


# -- one event loop ------------------------------------------------------------


def loop_of(tasks: int, rounds: int, block: Callable[[], Any]) -> float:
    """Microseconds an acquire, of tasks of one loop."""

    async def work() -> None:
        for _ in range(rounds):
            async with block():
                await asyncio.sleep(0)

    async def main() -> float:
        began = time.perf_counter()
        await asyncio.gather(*[work() for _ in range(tasks)])
        return (time.perf_counter() - began) / (tasks * rounds) * 1e6

    return asyncio.run(main())


def tasks() -> None:
    """A thousand asyncio tasks on ten slots."""
    print("1,000 tasks of one loop, 10 acquires each, 10 slots: us an acquire    ours     the other")
    name = "bench tasks"
    throttle.new(name, 10)
    sides: list[tuple[str, Callable[[], Any], float | None]] = []

    def theirs() -> Callable[[], Any]:
        semaphore = asyncio.Semaphore(10)
        return lambda: semaphore

    sides.append(("asyncio.Semaphore", theirs, 2.0))
    if importlib.util.find_spec("anyio"):
        import anyio

        def limiter() -> Callable[[], Any]:
            one = anyio.CapacityLimiter(10)
            return lambda: one

        sides.append(("anyio.CapacityLimiter", limiter, None))
    if importlib.util.find_spec("aiologic"):
        import aiologic

        def capacity() -> Callable[[], Any]:
            one = aiologic.CapacityLimiter(10)
            return lambda: one

        sides.append(("aiologic.CapacityLimiter", capacity, None))
    for label, make, bar in sides:
        ours, other = turns(
            lambda: loop_of(1_000, 10, lambda: throttle.slot(name)),
            lambda make=make: loop_of(1_000, 10, make()),
            repeats=31,
        )
        row(f"async with slot(...) / {label}", ours, other, bar)
    throttle.stop_lock(name)


# -- work elsewhere ------------------------------------------------------------


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep the threads of this process on one core, where the system lets us."""
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


def each_of(number: int, begin: Callable[[], Any]) -> Callable[[], float]:
    """Microseconds of each of so many futures that are begun together."""
    measure = each(3, lambda: [future.result() for future in [begin() for _ in range(number)]])
    return lambda: measure() / number


def fresh_lock() -> float:
    """Microseconds of ``execute().result()`` in a new lock."""
    name = "bench fresh work"
    throttle.new(name, 2)
    throttle.execute(name, int).result()
    took = each(200, lambda: throttle.execute(name, int).result())()
    throttle.stop_lock(name)
    return took


def fresh_pool() -> float:
    """Microseconds of ``submit().result()`` in a new executor."""
    with ThreadPoolExecutor(2) as pool:
        pool.submit(int).result()
        return each(200, lambda: pool.submit(int).result())()


def work() -> None:
    """Have a function called elsewhere, and wait for it."""
    print("execute(...).result() with 2 slots                                    ours     the other")
    name = "bench work"
    throttle.new(name, 2)
    with ThreadPoolExecutor(2) as pool:
        ours_once = each(300, lambda: throttle.execute(name, int).result())
        theirs_once = each(300, lambda: pool.submit(int).result())
        # A round trip between two threads takes 25 us when they share a core and up to 100 us when they do
        # not, which is the kernel's choice, for minutes, and differs between the two sides. So: on one core.
        with one_core():
            ours, theirs = turns(ours_once, theirs_once, repeats=31)
        row("execute().result() / ThreadPoolExecutor, on one core", ours, theirs, 1.2)
        crowd_ours, crowd_theirs = turns(
            each_of(500, lambda: throttle.execute(name, int)),
            each_of(500, lambda: pool.submit(int)),
            repeats=5,
        )
        row("500 at once, each / ThreadPoolExecutor", crowd_ours, crowd_theirs, None)
    throttle.stop_lock(name)
    # On whatever cores the kernel chooses, so each repeat has new workers, for which it chooses anew.
    ours, theirs = turns(fresh_lock, fresh_pool, repeats=31)
    row("execute().result() / the same, new workers each time", ours, theirs, 1.2)


# -- large numbers -------------------------------------------------------------


async def _waiters(number: int) -> tuple[float, float, float]:
    """Microseconds to join the line, to leave it from the middle, and to be served, with so many waiting."""
    name = f"bench {number} waiters"
    throttle.new(name, 1)
    await throttle.aacquire(name)
    waiting = [throttle.execute(name, int) for _ in range(number)]
    began = time.perf_counter()
    waiting += [throttle.execute(name, int) for _ in range(500)]
    joined = (time.perf_counter() - began) / 500
    some = waiting[number // 2 : number // 2 + 500]
    began = time.perf_counter()
    for future in some:
        future.cancel()
    left = (time.perf_counter() - began) / len(some)
    began = time.perf_counter()
    throttle.release(name)
    for future in waiting[:500]:
        await future
    served = (time.perf_counter() - began) / 500
    throttle.stop_lock(name)
    return joined * 1e6, left * 1e6, served * 1e6


def scale() -> None:
    """The cost of an operation with 100,000 waiters is that with 1,000."""
    print("the cost of an operation with 100,000 waiters and with 1,000          100,000   1,000")
    few = [asyncio.run(_waiters(1_000)) for _ in range(5)]
    many = [asyncio.run(_waiters(100_000)) for _ in range(3)]
    for index, label in enumerate(("join the line", "leave its middle", "be served")):
        row(label, [min(run[index] for run in many)], [min(run[index] for run in few)], 1.5)


def memory() -> None:
    """Bytes a lock."""
    print("memory of 10,000 locks, kB each")
    throttle.new("bench warm", 1)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(10_000):
        throttle.new(f"bench {number}", 2)
    gc.collect()
    size = (tracemalloc.get_traced_memory()[0] - before) / 10_000 / 1000
    tracemalloc.stop()
    row("a lock, never used / 5 kB", [size], [5.0], 1.0, "kB")
    for number in range(10_000):
        throttle.stop_lock(f"bench {number}")
    throttle.stop_lock("bench warm")


SECTIONS: dict[str, Callable[[], Awaitable[None] | None]] = {
    section.__name__: section for section in (uncontended, contended, tasks, work, fairness, scale, memory)
}


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast locks are.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    for name in parser.parse_args().sections or SECTIONS:
        SECTIONS[name]()
    if broken:
        print(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
