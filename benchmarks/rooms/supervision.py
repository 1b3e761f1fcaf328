"""What a crash costs until somebody serves again, and what trees of many children cost."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import attrs

from resprout import throttle
from resprout.actors import GenServer, NoProcess, NoReply, Placement, Reply, ServerExit, process, telemetry
from resprout.registry import Registry
from resprout.supervision import ChildSpec, Supervisor, tree

from ..rows import Bar, Effort, Measure, Peer, Room, Row, Section
from ..timing import stopwatch, timed


class Inline(GenServer):
    """Runs on the sender's thread."""

    blocking = False

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        return Reply(process.current(), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        return NoReply(state)


class Blocking(Inline):
    """Runs on a thread of the pool."""

    blocking = True


class Async(GenServer):
    """Runs on an event loop."""

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        return Reply(process.current(), state)


class InC(GenServer):
    """Sits in C code for a second."""

    trap_exit = True

    def handle_cast(self, message: Any, state: Any) -> Any:
        time.sleep(1.0)
        return NoReply(state)


@attrs.frozen
class Slots:
    """Take a slot of the tree's lock so many times, and say how long one takes."""

    times: int


@attrs.frozen
class Keys:
    """Register a key in the tree's registry so many times, and say how long it takes each time."""

    times: int


def take_slot() -> None:
    """Takes a slot of a lock of the tree, from wherever this runs, and gives it back."""
    with throttle.slot("placement"):
        pass


def take_key() -> None:
    """Registers a key in a registry of the tree, from wherever this runs, and gives it back."""
    Registry.register("placement_keys", 42)
    Registry.unregister("placement_keys", 42)


class Placed(GenServer):
    """Runs in another OS process, or in this one beside it."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        if message == "process":
            return Reply(os.getpid(), state)
        if isinstance(message, Slots):
            return Reply(timed(take_slot, message.times), state)
        if isinstance(message, Keys):
            return Reply(timed(take_key, message.times), state)
        return Reply(sum(number & 1 for number in range(message)), state)


def throw_reports_away() -> None:
    """Both sides write the reports that they write by default; ours are formatted, and then thrown away."""
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # to the end of the interpreter
    logging.getLogger("resprout").addHandler(logging.StreamHandler(nowhere))
    logging.getLogger("resprout").propagate = False


def specs(kind: type[GenServer], count: int) -> list[ChildSpec]:
    """So many children."""
    return [ChildSpec(number, (kind.start_link, (number,))) for number in range(count)]


def first_pid(supervisor: Any, number: int = 0) -> Any:
    """The process of a child."""
    return Supervisor.which_children(supervisor)[number].pid


def collected(work: Callable[[], object], unit: str) -> float:
    """How long some work takes that begins with no garbage."""
    gc.collect()
    return timed(work, unit=unit)


# Sides --------------------------------------------------------------------------------------------


@contextmanager
def serving_again(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A caller crashes a server, and calls until its successor answers; the median of many such rounds."""
    rounds = effort(400)

    def crash_and_call() -> None:
        try:
            GenServer.call("served", "crash")
        except ServerExit:
            pass
        while True:
            try:
                GenServer.call("served", "ping")
                return
            except (NoProcess, ServerExit):
                time.sleep(2e-5)  # lets the threads run that bring it back

    def of(kind: type[GenServer]) -> Measure:
        def measure() -> float:
            spec = ChildSpec("a", (kind.start_link, (), {"name": "served"}))
            supervisor = Supervisor.start_link([spec], max_restarts=10**9)
            middle = statistics.median(timed(crash_and_call) for _ in range(rounds))
            Supervisor.stop(supervisor)
            return middle

        return measure

    throw_reports_away()
    yield {"inline": of(Inline), "blocking": of(Blocking)}


@contextmanager
def serving_again_on_a_loop(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """The same of a server and a caller of one loop."""
    rounds = effort(400)

    async def crash_and_call() -> float:
        elapsed = stopwatch()
        try:
            await GenServer.acall("served", "crash")
        except ServerExit:
            pass
        while True:
            try:
                await GenServer.acall("served", "ping")
                return elapsed()
            except (NoProcess, ServerExit):
                await asyncio.sleep(2e-5)  # lets the threads run that bring it back

    async def measure() -> float:
        spec = ChildSpec("a", (Async.start_link, (), {"name": "served"}))
        supervisor = await Supervisor.astart_link([spec], max_restarts=10**9)
        middle = statistics.median([await crash_and_call() for _ in range(rounds)])
        await Supervisor.astop(supervisor)
        return middle

    throw_reports_away()
    yield {"async": lambda: asyncio.run(measure())}


def trees(kind: type[GenServer]) -> Callable[[Effort], AbstractContextManager[Mapping[str, Measure]]]:
    """Starts and stops of trees of one kind of children."""

    def of(count: int) -> Measure:
        children = specs(kind, count)
        return lambda: collected(lambda: Supervisor.stop(Supervisor.start_link(children)), "s")

    return lambda effort: nullcontext({"10,000": of(effort(10_000)), "100,000": of(effort(100_000))})


@contextmanager
def restarts(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """From the crash of the middle child until the last one runs again."""
    count = effort(10_000)

    def of(kind: type[GenServer]) -> Measure:
        def measure() -> float:
            done = threading.Event()
            supervisor = Supervisor.start_link(specs(kind, count), strategy="one_for_all")

            def started(event: Any, measurements: Any, metadata: Any) -> None:
                if metadata["event"].id == count - 1:
                    done.set()

            telemetry.attach("benchmark", ("resprout", "supervisor", "child_started"), started)
            middle = first_pid(supervisor, count // 2)

            def restart() -> None:
                middle.cast("crash")
                done.wait()

            seconds = collected(restart, "s")
            telemetry.detach("benchmark")
            Supervisor.stop(supervisor)
            return seconds

        return measure

    throw_reports_away()
    yield {"inline": of(Inline), "blocking": of(Blocking)}


@contextmanager
def busy(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A supervisor that is starting a slow child, and one that stops a child which cannot be stopped."""

    def snapshot() -> float:
        gate = threading.Event()
        supervisor = Supervisor.start_link([*specs(Inline, 100), ChildSpec("idle", Inline.start_link)])
        process.spawn(Supervisor.start_child, supervisor, ChildSpec("slow", lambda: gate.wait(10) and None))
        while len(tree(supervisor).children) < 102:
            time.sleep(0)
        took = collected(lambda: tree(supervisor), "ms")
        gate.set()
        Supervisor.stop(supervisor)
        return took

    def stop() -> float:
        supervisor = Supervisor.start_link([ChildSpec("c", InC.start_link, shutdown=0.2)])
        first_pid(supervisor).cast("sleep")
        return collected(lambda: Supervisor.stop(supervisor), "s")

    throw_reports_away()
    yield {"snapshot": snapshot, "stop": stop}


@contextmanager
def steady(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """2,000 crashes a second for a minute, each restarted: all handled, and nothing of the dead is kept."""
    seconds = effort.share * 60.0
    throw_reports_away()
    supervisor = Supervisor.start_link(specs(Inline, 20), max_restarts=10**9)
    crashed = 0

    def crash_for(length: float) -> float:
        """How many crashes a second it came to."""
        nonlocal crashed
        since, base = stopwatch("s"), crashed
        goal = crashed + int(length * 2000)
        while crashed < goal:
            for child in tree(supervisor).children:
                if child.pid is not None and child.pid.alive and crashed < goal:
                    child.pid.cast("crash")
                    crashed += 1
            time.sleep(max(0.0005, (crashed - base) / 2000 - since()))
        return (crashed - base) / since()

    def restarted() -> int:
        return sum(child.restarts for child in tree(supervisor).children)

    def settled() -> tuple[int, int]:
        while restarted() < crashed:
            time.sleep(0.01)
        gc.collect()
        return len(gc.get_objects()), len(process.processes())

    def measure() -> Mapping[str, float]:
        crash_for(min(2.0, seconds))
        objects, processes = settled()
        counted = crashed
        rate = crash_for(seconds)
        more_objects, more_processes = settled()
        return {
            "lag": 2000 / rate,
            "rate": rate,
            "crashes": float(crashed - counted),
            "objects": (more_objects - objects) / (crashed - counted),
            "processes": float(more_processes - processes),
            "uncounted": float(crashed - restarted()),
        }

    yield {"steady": measure}
    Supervisor.stop(supervisor)


# Rows ---------------------------------------------------------------------------------------------

OTP = Peer("beam", "crash", "a supervisor of OTP", 400)


@contextmanager
def placement(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A server in an OS process of its own: a call, its death, and two at work at once."""
    throw_reports_away()

    def spec(name: str, where: Placement) -> ChildSpec:
        return ChildSpec(name, (Placed.start_link, (), {"name": name}), placement=where)

    supervisor = Supervisor.start_link(
        [spec("far", "process"), spec("other far", "process"), spec("near", "local"), spec("next", "local")],
        strategy="one_for_one",
        max_restarts=10**9,
    )

    def call() -> float:
        return timed(lambda: GenServer.call("far", 0), effort(2_000))

    throttle.new("placement", 1)
    registry = Registry.start_link(keys="unique", name="placement_keys")

    def key() -> float:
        taken: float = GenServer.call("far", Keys(effort(2_000)), 60.0)
        return taken

    def slot() -> float:
        taken: float = GenServer.call("far", Slots(effort(2_000)), 60.0)
        return taken

    def again() -> float:
        victim = GenServer.call("far", "process")
        elapsed = stopwatch("ms")
        os.kill(victim, signal.SIGKILL)
        while True:
            try:
                if GenServer.call("far", "process") != victim:
                    return elapsed()
            except (NoProcess, ServerExit):
                process.sleep(0.0)

    def at_once(*names: str) -> float:
        elapsed = stopwatch("s")
        for answer in [GenServer.send_request(name, effort(3_000_000)) for name in names]:
            answer.result(60.0)
        return elapsed()

    yield {
        "call": call,
        "slot": slot,
        "key": key,
        "again": again,
        "two OS processes": lambda: at_once("far", "other far"),
        "one": lambda: at_once("near", "next"),
    }
    Supervisor.stop(supervisor)
    throttle.stop_lock("placement")
    process.unlink(registry)
    GenServer.stop(registry)


ROOM = Room(
    "supervision",
    "docs/supervision.md",
    [
        Section(
            "crash",
            "A caller sees a crashed server serve again.",
            serving_again,
            [
                Row("crash to serving again, blocking = False", "inline", OTP, Bar(ratio=2.0, alone=300.0)),
                Row("crash to serving again, blocking = True", "blocking", OTP, Bar(ratio=2.0, alone=300.0)),
            ],
            repeats=5,
        ),
        Section(
            "crash on a loop",
            "A caller sees a crashed server of the same loop serve again.",
            serving_again_on_a_loop,
            [Row("crash to serving again, coroutines", "async", OTP, Bar(figure=150.0))],
            repeats=5,
        ),
        *(
            Section(
                f"{word} trees",
                "Trees start and stop; ten times as many may cost half as much again for the collector.",
                trees(kind),
                [
                    Row(f"start and stop 10,000 {word} children", "10,000", bar=Bar(best=best), unit="s"),
                    Row(f"start and stop 100,000 {word} children", "100,000", "10,000", Bar(ratio=15.0), "s"),
                ],
                repeats=3,
            )
            for word, kind, best in (("inline", Inline, 1.0), ("blocking", Blocking, 2.0))
        ),
        Section(
            "restarts",
            "One of 10,000 children crashes under one_for_all.",
            restarts,
            [
                Row("one_for_all restarts 10,000 inline children", "inline", bar=Bar(figure=1.5), unit="s"),
                Row(
                    "one_for_all restarts 10,000 blocking children", "blocking", bar=Bar(figure=1.5), unit="s"
                ),
            ],
            repeats=3,
        ),
        Section(
            "busy",
            "Supervisors whose children take their time.",
            busy,
            [
                Row(
                    "tree() of a supervisor that is starting a slow child",
                    "snapshot",
                    bar=Bar(figure=10.0),
                    unit="ms",
                ),
                Row(
                    "stop of a child that sits in C code for 1 s, shutdown 0.2",
                    "stop",
                    bar=Bar(figure=0.3),
                    unit="s",
                ),
            ],
            repeats=3,
        ),
        Section(
            "placement",
            "Servers in OS processes of their own (`placement: process`).",
            placement,
            [
                Row("call and reply, another OS process", "call", bar=Bar(best=200.0)),
                Row("a slot of the tree's lock there, to a call", "slot", "call", Bar(ratio=2.5)),
                Row("a key of the tree's registry there, to a call", "key", "call"),
                Row("kill -9 to serving again", "again", bar=Bar(best=30.0), unit="ms"),
                Row(
                    "two servers at work on a processor each",
                    "two OS processes",
                    "one",
                    Bar(ratio=0.75),
                    "s",
                ),
            ],
            repeats=5,
        ),
        Section(
            "steady",
            "2,000 crashes a second, each restarted, for a minute.",
            steady,
            [
                Row(
                    "2,000 crashes a second, to those that were handled",
                    "steady: lag",
                    bar=Bar(figure=1.05),
                    unit="x",
                    beside={"steady: crashes": "crashes", "steady: rate": "a second"},
                ),
                Row("objects kept of a crash", "steady: objects", bar=Bar(figure=0.01), unit="objects"),
                Row("processes kept", "steady: processes", bar=Bar(figure=0.5), unit="processes"),
                Row(
                    "restarts that were not counted",
                    "steady: uncounted",
                    bar=Bar(figure=0.5),
                    unit="restarts",
                ),
            ],
            repeats=1,
        ),
    ],
)
