"""What a process costs: a call, a cast, a life, a place in memory."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resprout.actors import GenServer, NoReply, Ok, Pid, Reply, process

from ..rows import Bar, Effort, Measure, Peer, Room, Row, Section
from ..timing import atimed, each, resident, stopwatch, timed


class Pooled(GenServer):
    """A server that may block: a thread hop each way."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply(state)


class Inline(Pooled):
    """A server that never blocks: no hop."""

    blocking = False


class Async(GenServer):
    """A server whose callbacks are coroutine functions, which wait for the loop if they are told so."""

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "wait":
            await asyncio.sleep(0)
        return Reply(message, state)

    async def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply(state)


class Elsewhere(Async):
    """The same, on the runtime's loop wherever it is started."""

    loop = "runtime"


class Ring(GenServer):
    """One of a ring: passes a number on until it is 0."""

    blocking = False

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_cast(self, message: Any, state: Any) -> Any:
        neighbours, index, done = state
        if message:
            neighbours[(index + 1) % len(neighbours)].cast(message - 1)
        else:
            done.set()
        return NoReply(state)


def start_and_stop() -> None:
    """A whole life."""
    GenServer.stop(Inline.start())


def end(pids: list[Pid]) -> None:
    """All of them."""
    for pid in pids:
        process.exit(pid, "shutdown")


# Sides --------------------------------------------------------------------------------------------


@contextmanager
def idle(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Many processes, in memory that nobody has touched."""
    count = effort(200_000)
    pauses: list[float] = [0.0]
    watches: list[Any] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            watches.append(stopwatch("ms"))
        elif watches:
            pauses.append(watches.pop()())

    def measure() -> Mapping[str, float]:
        gc.collect()
        before = resident()
        gc.callbacks.append(watch)
        elapsed = stopwatch()
        alive: list[Pid] = [Inline.start() for _ in range(count)]
        started = elapsed() / count
        gc.callbacks.remove(watch)
        memory = (resident() - before) / count
        ended = timed(lambda: end(alive)) / count
        return {"start": started, "pause": max(pauses), "memory": memory, "end": ended}

    yield {"idle": measure}


@contextmanager
def starts(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Few processes: a thousand are alive at the end of a repeat."""
    count = effort(1_000)

    def measure() -> float:
        alive: list[Pid] = []
        took = timed(lambda: alive.append(Inline.start()), count)
        end(alive)
        return took

    yield {"start": measure}


@contextmanager
def calls(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Calls, from a thread and from a task."""
    inline, pooled = Inline.start(), Pooled.start()
    awaited = effort(5_000)
    yield {
        "inline": each(effort(10_000), lambda: inline.call(1)),
        "pooled": each(effort(1_000), lambda: pooled.call(1)),
        "awaited": lambda: asyncio.run(atimed(lambda: GenServer.acall(inline, 1), awaited)),
    }
    GenServer.stop(inline)
    GenServer.stop(pooled)


@contextmanager
def casts(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Casts until all of them are handled."""
    inline, pooled = Inline.start(), Pooled.start()
    count = effort(5_000)

    def flood() -> None:
        for _ in range(count):
            pooled.cast(1)
        pooled.call(1)

    yield {
        "inline": each(effort(20_000), lambda: inline.cast(1)),
        "pooled": lambda: timed(flood) / count,
    }
    GenServer.stop(inline)
    GenServer.stop(pooled)


async def queues(times: int) -> float:
    """A round trip between two tasks with a queue each way: what asyncio itself has."""
    there: asyncio.Queue[int] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def echo() -> None:
        while True:
            await back.put(await there.get())

    async def ask() -> None:
        await there.put(1)
        await back.get()

    echoing = asyncio.ensure_future(echo())
    took = await atimed(ask, times)
    echoing.cancel()
    return took


async def with_server(measure: Callable[[Pid], Awaitable[float]]) -> float:
    """What is measured of a server of this loop."""
    pid = await Async.astart()
    took = await measure(pid)
    await GenServer.astop(pid)
    return took


@contextmanager
def same_loop(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A question and its answer within one loop."""
    times = effort(3_000)

    def asking(message: object) -> Measure:
        return lambda: asyncio.run(
            with_server(lambda pid: atimed(lambda: GenServer.acall(pid, message), times))
        )

    yield {
        "at once": asking("at once"),
        "waits": asking("wait"),
        "two asyncio.Queues": lambda: asyncio.run(queues(times)),
    }


@contextmanager
def same_loop_casts(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Casts within one loop until all of them are handled."""
    count = effort(20_000)

    async def flood(pid: Pid) -> float:
        elapsed = stopwatch()
        for _ in range(count):
            GenServer.acast(pid, 1)
        await GenServer.acall(pid, 1)
        return elapsed() / count

    yield {"acast": lambda: asyncio.run(with_server(flood))}


@contextmanager
def two_loops(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A question to a server of another loop, and a coroutine that is run in another loop and awaited."""
    times = effort(500)

    async def echo() -> int:
        return 1

    async def ours() -> float:
        pid = await Elsewhere.astart()
        took = await atimed(lambda: GenServer.acall(pid, 1), times)
        await GenServer.astop(pid)
        return took

    def theirs() -> float:
        other = asyncio.new_event_loop()
        thread = threading.Thread(target=other.run_forever)
        thread.start()
        took = asyncio.run(
            atimed(lambda: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(echo(), other)), times)
        )
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()
        return took

    yield {"acall": lambda: asyncio.run(ours()), "asyncio.run_coroutine_threadsafe": theirs}


@contextmanager
def idle_on_a_loop(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Many servers of one loop that have nothing to do."""
    count = effort(100_000)

    async def measure() -> Mapping[str, float]:
        gc.collect()
        before, elapsed = resident(), stopwatch()
        alive: list[Any] = [await Async.astart() for _ in range(count)]
        started = elapsed() / count
        memory = (resident() - before) / count
        end(alive)
        return {"start": started, "memory": memory}

    yield {"idle": lambda: asyncio.run(measure())}


@contextmanager
def lives(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Starts and stops."""
    yield {"inline": each(effort(3_000), start_and_stop)}


@contextmanager
def ring(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A number that goes round."""
    hops, done = effort(100_000), threading.Event()
    neighbours: list[Pid] = []
    neighbours.extend(Ring.start((neighbours, index, done)) for index in range(effort(1_000)))

    def round_it_goes() -> None:
        done.clear()
        neighbours[0].cast(hops)
        done.wait()

    yield {"hop": lambda: timed(round_it_goes) / hops}
    for pid in neighbours:
        GenServer.stop(pid)


@contextmanager
def crowd(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """The same operations with few processes around, and then among many, which must not slow them down.

    Few and many are processes of one interpreter, so a repeat makes them, measures and ends them.
    """

    def among(count: int) -> Measure:
        def measure() -> Mapping[str, float]:
            alive = [Inline.start() for _ in range(count)]
            timers = [process.send_after(pid, "late", 3600.0) for pid in alive]
            for pid in alive:
                process.link(pid)
            one = alive[count // 2]

            def relink() -> None:
                process.unlink(one)
                process.link(one)

            figures = {
                "call": timed(lambda: one.call(1), effort(5_000)),
                "life": timed(start_and_stop, effort(1_000)),
                "timer": timed(
                    lambda: process.cancel_timer(process.send_after(one, "late", 3600.0)), effort(3_000)
                ),
                "link": timed(relink, effort(3_000)),
            }
            for timer in timers:
                process.cancel_timer(timer)
            for pid in alive:
                process.unlink(pid)
            end(alive)
            return figures

        return measure

    yield {"among 100,000": among(effort(100_000)), "among 100": among(100)}


# Rows ---------------------------------------------------------------------------------------------


def beam(operation: str, label: str, times: int) -> Peer:
    """The same on the BEAM, in every third repeat."""
    return Peer("beam", operation, f"{label} on the BEAM", times, every=3)


def beside(label: str, figure: str, *peers: Peer) -> list[Row]:
    """The same row beside each of several peers."""
    return [Row(label, figure, peer) for peer in peers]


ROOM = Room(
    "actors",
    "docs/actors.md",
    [
        Section(
            "idle",
            "Many processes that do nothing.",
            idle,
            [
                Row(
                    "start, one of 200,000",
                    "idle: start",
                    beside={"idle: pause": "ms, the longest pause of the gc"},
                ),
                Row("memory of an idle process, of 200,000", "idle: memory", unit="bytes"),
                Row("exit signal to an idle process", "idle: end"),
            ],
            repeats=1,
        ),
        Section("start", "A process more.", starts, [Row("start, blocking = False", "start")]),
        Section(
            "call",
            "A question and its answer.",
            calls,
            [
                Row(
                    "call, blocking = False", "inline", Peer("pykka", "call", "ask of a pykka.ThreadingActor")
                ),
                *beside(
                    "call, blocking = True",
                    "pooled",
                    Peer("pykka", "call", "ask of a pykka.ThreadingActor"),
                    Peer("genserver", "call", "call of a genserver.GenServer"),
                ),
                *beside(
                    "acall, blocking = False",
                    "awaited",
                    Peer("fauxtp", "call", "call of a fauxtp.GenServer"),
                    Peer("casty", "call", "ask of a casty actor"),
                    Peer("xoscar", "call", "method of a Xoscar actor"),
                ),
                Row(
                    "call, blocking = False", "inline", beam("call", "GenServer.call", 20_000), Bar(ratio=1.0)
                ),
            ],
        ),
        Section(
            "cast",
            "A flood of casts to one process, until all of them are handled.",
            casts,
            [
                Row("cast, blocking = False", "inline"),
                *beside(
                    "cast, blocking = True",
                    "pooled",
                    Peer("pykka", "cast", "tell of a pykka.ThreadingActor", 5_000),
                    Peer("genserver", "cast", "cast of a genserver.GenServer"),
                ),
                *beside(
                    "cast, blocking = False",
                    "inline",
                    Peer("fauxtp", "cast", "cast of a fauxtp.GenServer"),
                    Peer("casty", "cast", "tell of a casty actor", 5_000),
                    Peer("xoscar", "cast", "tell of a Xoscar actor"),
                ),
            ],
        ),
        Section(
            "same loop",
            "A question and its answer between two coroutines of one loop.",
            same_loop,
            [
                Row("acall, same loop", "at once", "two asyncio.Queues", Bar(ratio=0.7)),
                Row(
                    "acall, same loop, the callback waits for the loop",
                    "waits",
                    "two asyncio.Queues",
                    Bar(ratio=1.5),
                ),
            ],
            repeats=31,
        ),
        Section(
            "same loop casts",
            "A flood of casts to a server of the same loop, until all of them are handled.",
            same_loop_casts,
            [Row("acast, same loop", "acast", bar=Bar(best=2.0))],
        ),
        Section(
            "two loops",
            "A question and its answer between two coroutines of two loops.",
            two_loops,
            [Row("acall, the runtime's loop", "acall", "asyncio.run_coroutine_threadsafe", Bar(ratio=0.78))],
            repeats=31,
        ),
        Section(
            "idle on a loop",
            "Many servers of one loop that do nothing.",
            idle_on_a_loop,
            [
                Row("start, one of 100,000 of a loop", "idle: start"),
                Row(
                    "memory of an idle server of a loop, of 100,000",
                    "idle: memory",
                    bar=Bar(figure=2_500),
                    unit="bytes",
                ),
            ],
            repeats=1,
        ),
        Section(
            "life",
            "A process starts and stops.",
            lives,
            [
                *beside(
                    "start + stop, blocking = False",
                    "inline",
                    Peer("pykka", "start_stop", "a pykka.ThreadingActor", 200),
                    Peer("genserver", "start_stop", "a genserver.GenServer", 200),
                    Peer("fauxtp", "start_stop", "a fauxtp.GenServer", 200),
                    Peer("xoscar", "start_stop", "a Xoscar actor", 200),
                ),
                Row(
                    "start + stop, blocking = False",
                    "inline",
                    beam("start_stop", "a GenServer", 5_000),
                    Bar(ratio=2.0),
                ),
            ],
        ),
        Section(
            "ring",
            "A number goes round a ring of 1,000 processes.",
            ring,
            [Row("a hop in a ring of 1,000, 100,000 hops", "hop")],
            repeats=5,
        ),
        Section(
            "crowd",
            "What does not depend on how many processes there are.",
            crowd,
            [
                Row("call, among 100,000", "among 100,000: call", "among 100: call"),
                Row("start + stop, among 100,000", "among 100,000: life", "among 100: life"),
                Row("timer, among 100,000", "among 100,000: timer", "among 100: timer"),
                Row("link + unlink, among 100,000", "among 100,000: link", "among 100: link"),
            ],
            repeats=5,
        ),
    ],
)
