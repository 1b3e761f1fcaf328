"""What a lock on PostgreSQL or on Redis costs, in round trips of the same driver.

Needs servers of which RESPROUT_POSTGRES and RESPROUT_REDIS have the URLs, and the extras postgres and redis;
what is not there is left out.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from resprout import GenServer, Registry, cluster, process, throttle

from ..rows import Bar, Effort, Figures, Measure, Room, Row, Section
from ..timing import atimed, each, timed

NAME = "bench"
PROCESSES = 4


POSTGRES = "RESPROUT_POSTGRES"
REDIS = "RESPROUT_REDIS"


def url(server: str = POSTGRES) -> str:
    """Where a server is."""
    return os.environ[server]


def is_there(server: str = POSTGRES, library: str = "psycopg") -> bool:
    """Whether there is one."""
    return server in os.environ and importlib.util.find_spec(library) is not None


@contextmanager
def engine(slots: int, server: str = POSTGRES) -> Iterator[None]:
    """A lock on a server, while it is used."""
    pid = cluster.Engine.start_link(url(server), name="bench_engine")
    throttle.new(NAME, slots, engine="bench_engine")
    throttle.run(NAME, int)
    yield
    throttle.stop_lock(NAME)
    process.unlink(pid)
    GenServer.stop(pid)


@contextmanager
def one_thread(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Acquire and release a free slot."""
    import psycopg

    times = effort(500)
    with psycopg.connect(url(), autocommit=True) as connection, engine(2):
        connection.execute("set synchronous_commit = off")
        connection.execute("create temporary table one (n bigint)")
        connection.execute("insert into one values (0)")

        def update() -> None:
            connection.execute("update one set n = n + 1")

        yield {**sides(times), "committing one UPDATE": each(times, update)}


@contextmanager
def one_thread_on_redis(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Acquire and release a free slot."""
    import redis

    times = effort(1000)
    with redis.Redis.from_url(url(REDIS)) as client, engine(2, REDIS):
        ping: Callable[[], object] = client.ping

        def one() -> None:
            ping()

        yield {**sides(times), "a PING": each(times, one)}


def sides(times: int) -> Mapping[str, Measure]:
    """What is done with a slot."""

    def block() -> None:
        with throttle.slot(NAME):
            pass

    async def in_a_task() -> None:
        async with throttle.slot(NAME):
            pass

    def job() -> None:
        throttle.execute(NAME, int).result()

    return {
        "block": each(times, block),
        "task": lambda: asyncio.run(atimed(in_a_task, times)),
        "execute": each(times, job),
    }


@contextmanager
def open_elsewhere(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A transaction that is open in the same database keeps what the grants leave dead."""
    import psycopg

    times = effort(500)

    def block() -> None:
        with throttle.slot(NAME):
            pass

    def measure() -> float:
        """Milliseconds by which 1,000 grants make the next one dearer."""
        with psycopg.connect(url()) as other:
            other.execute("set transaction isolation level repeatable read")
            other.execute("select count(*) from resprout.claims")
            first = timed(block, times, "ms")
            timed(block, 8 * times)
            last = timed(block, times, "ms")
            other.rollback()
        with psycopg.connect(url(), autocommit=True) as cleaner:
            cleaner.execute("vacuum")
        return max(0.0, last - first) / (9 * times / 1000)

    with engine(2):
        yield {"grants": measure}


@contextmanager
def beside_an_engine(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """What is local costs nothing more because there is an engine."""
    times = effort(20_000)
    # It comes and goes.
    logging.getLogger("resprout.cluster").setLevel(logging.ERROR)
    throttle.new("bench_local", 2)
    registry = Registry.start_link(keys="unique", name="bench_keys")
    Registry.register(registry, "known")

    def block() -> None:
        with throttle.slot("bench_local"):
            pass

    def lookup() -> None:
        Registry.lookup("bench_keys", "known")

    def key() -> None:
        Registry.register("bench_keys", 42)
        Registry.unregister("bench_keys", 42)

    def with_an_engine(operation: Callable[[], object]) -> Measure:
        def measure() -> float:
            with engine(2):
                return timed(operation, times)

        return measure

    operations = {"block": block, "lookup": lookup, "key": key}
    yield {
        **{name: with_an_engine(operation) for name, operation in operations.items()},
        **{f"{name} alone": each(times, operation) for name, operation in operations.items()},
    }
    throttle.stop_lock("bench_local")
    process.unlink(registry)
    GenServer.stop(registry)


CROWD = """
import sys, threading, time
from resprout import cluster, throttle

url, slots, threads, seconds = sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4])
fairness = sys.argv[5]
cluster.Engine.start_link(url, name="bench_engine")
throttle.new("bench_crowd", slots, engine="bench_engine", fairness=fairness)
throttle.run("bench_crowd", int)
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + seconds
counts = [0] * threads

def work(number):
    while time.monotonic() < end:
        with throttle.slot("bench_crowd"):
            counts[number] += 1

crowd = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for thread in crowd:
    thread.start()
for thread in crowd:
    thread.join()
print(sum(counts), flush=True)
"""


def fight(server: str, slots: int, threads: int, fairness: str, seconds: float) -> Figures:
    """Processes of threads that do nothing with what they are granted."""
    arguments = [url(server), str(slots), str(threads), str(seconds), fairness]
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for program in crowd:
        assert program.stdout is not None
        program.stdout.readline()
    for program in crowd:
        # All of them begin before the first is waited for.
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.flush()
    counts = [int(program.communicate()[0]) for program in crowd]
    return {
        "us a grant": seconds * 1e6 / max(1, sum(counts)),
        "the mean, to the slowest": sum(counts) / PROCESSES / max(1, min(counts)),
    }


@contextmanager
def crowds(
    server: str, slots: int, threads: int, fairness: str, effort: Effort
) -> Iterator[Mapping[str, Measure]]:
    """Several processes that fight for slots."""
    seconds = 0.2 if effort.quick else 3.0
    yield {"crowd": lambda: fight(server, slots, threads, fairness, seconds)}


row = partial(Row, needs=is_there)
redis_row = partial(Row, needs=partial(is_there, REDIS, "redis"))


SERVERS = {POSTGRES: ("PostgreSQL", "", row), REDIS: ("Redis", " on Redis", redis_row)}


def fighting(
    server: str, slots: int, threads: int, bar: Bar | None = None, fairness: str = "strict"
) -> Section:
    """What a grant costs several processes of so many threads each."""
    title, on, row_of = SERVERS[server]
    fair = "" if fairness == "strict" else f", {fairness}"
    crowd = f"{PROCESSES} processes of {threads} threads on {slots} slots{fair}"
    lock = f"{slots} slots{on}{fair}"
    evenly = None if bar is None or fairness != "strict" else Bar(figure=1 / 0.9)
    return Section(
        lock,
        f"A grant on {title}, {crowd}; and how much more the mean process got than the slowest.",
        partial(crowds, server, slots, threads, fairness),
        (
            row_of(lock, "crowd: us a grant", bar=bar),
            row_of(
                f"{lock}: the mean, to the slowest", "crowd: the mean, to the slowest", bar=evenly, unit="x"
            ),
        ),
        repeats=3,
        warm_up=0,
    )


ROOM = Room(
    "cluster",
    "docs/cluster.md",
    (
        Section(
            "one thread",
            "A free slot on PostgreSQL, one thread.",
            one_thread,
            (
                row("acquire and release", "block", "committing one UPDATE", Bar(ratio=6)),
                row("async with slot(...)", "task", "committing one UPDATE", Bar(ratio=15)),
                row("a job of execute", "execute", "committing one UPDATE", Bar(ratio=15)),
            ),
            repeats=5,
        ),
        Section(
            "open elsewhere",
            "By how much 1,000 grants make the next one dearer while a transaction is open in that database.",
            open_elsewhere,
            (row("a transaction open elsewhere", "grants", bar=Bar(figure=0.06), unit="ms"),),
            repeats=3,
            warm_up=0,
        ),
        Section(
            "beside an engine",
            "What is local, in a program that has an engine, to the same without one.",
            beside_an_engine,
            tuple(
                row(f"{what}, beside an engine", side, f"{side} alone", Bar(ratio=1.1), label="without one")
                for what, side in (
                    ("with slot(...)", "block"),
                    ("lookup", "lookup"),
                    ("register + unregister", "key"),
                )
            ),
            repeats=9,
        ),
        fighting(POSTGRES, 4, 8, Bar(figure=500)),
        fighting(POSTGRES, 4, 8, None, "eventual"),
        fighting(POSTGRES, 64, 16, Bar(figure=200)),
        Section(
            "one thread on Redis",
            "A free slot on Redis, one thread.",
            one_thread_on_redis,
            (
                redis_row("acquire and release", "block", "a PING", Bar(ratio=15)),
                redis_row("async with slot(...)", "task", "a PING", Bar(ratio=37.5)),
                redis_row("a job of execute", "execute", "a PING", Bar(ratio=37.5)),
            ),
            repeats=5,
        ),
        fighting(REDIS, 4, 8, Bar(figure=200)),
        fighting(REDIS, 64, 16, Bar(figure=1e6 / 15_000)),
    ),
)
