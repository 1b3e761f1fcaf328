"""How fast processes are, against Pykka and, where `elixir` is on PATH, against the BEAM, in one run.

    python benchmarks/actors.py [--idle N]

Prints one row an operation: microseconds (the best of the repeats, interleaved with the other side's) and
the ratio. A thread wake-up costs between 10 and 40 us on a shared machine, depending on the hour: compare
ratios within a run, not rows of two runs.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka

from resprout import GenServer, NoReply, Ok, Pid, Reply, process

HERE = pathlib.Path(__file__).parent
REPEATS = 15


class Theirs(pykka.ThreadingActor):
    """Pykka's own actor."""

    def on_receive(self, message: Any) -> Any:
        return message


class Pooled(GenServer):
    """A server that may block: a thread hop each way."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        return NoReply(state)


class Inline(Pooled):
    """A server that never blocks: no hop."""

    blocking = False


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


def us(times: int, operation: Callable[[], object]) -> float:
    """Microseconds of one operation, from one run of many."""
    began = time.perf_counter()
    for _ in range(times):
        operation()
    return (time.perf_counter() - began) / times * 1e6


def interleaved(**sides: tuple[int, Callable[[], object]]) -> dict[str, float]:
    """The best run of each side; the sides take turns, so that a slow moment of the machine hits all of
    them.
    """
    runs: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(REPEATS):
        for name, (times, operation) in sides.items():
            runs[name].append(us(times, operation))
    return {name: min(values) for name, values in runs.items()}


def row(what: str, value: float, unit: str, note: str = "") -> None:
    print(f"{what:<52} {value:>12,.2f} {unit:<10} {note}", flush=True)


def calls(beam: dict[str, float]) -> None:
    theirs, inline, pooled = Theirs.start(), Inline.start(), Pooled.start()
    got = interleaved(
        pykka=(1000, lambda: theirs.ask(1)),
        inline=(10000, lambda: inline.call(1)),
        pooled=(1000, lambda: pooled.call(1)),
    )
    theirs.stop()
    GenServer.stop(inline)
    GenServer.stop(pooled)
    row("pykka.ThreadingActor, ask", got["pykka"], "us")
    row("call, blocking = False", got["inline"], "us", f"Pykka / this = {got['pykka'] / got['inline']:.1f}")
    row("call, blocking = True", got["pooled"], "us", f"this / Pykka = {got['pooled'] / got['pykka']:.2f}")
    if "call" in beam:
        ratio = got["inline"] / beam["call"]
        row("GenServer.call on the BEAM", beam["call"], "us", f"call without hop / this = {ratio:.2f}")


def casts() -> None:
    server = Inline.start()
    one = min(us(20000, lambda: server.cast(1)) for _ in range(REPEATS))
    GenServer.stop(server)
    row("cast flood to one process", 1e6 / one, "casts/s")


def lives(beam: dict[str, float]) -> None:
    def start_and_stop() -> None:
        GenServer.stop(Inline.start())

    def theirs() -> None:
        Theirs.start().stop()

    got = interleaved(ours=(3000, start_and_stop), pykka=(200, theirs))
    ratio = got["pykka"] / got["ours"]
    row("start + stop, blocking = False", 1e6 / got["ours"], "per s", f"Pykka / this = {ratio:.1f}")
    if "start_stop" in beam:
        row("start + stop on the BEAM", 1e6 / beam["start_stop"], "per s")


def starts() -> None:
    """What one start costs, among few: a thousand are alive at the end of a run."""

    def one_run() -> float:
        began = time.perf_counter()
        alive = [Inline.start() for _ in range(1000)]
        took = (time.perf_counter() - began) / 1000 * 1e6
        for pid in alive:
            process.exit(pid, "shutdown")
        return took

    row("start, blocking = False", min(one_run() for _ in range(REPEATS)), "us")


def resident() -> int:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096


def idle(count: int) -> None:
    pauses: list[float] = []
    began_at: list[float] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            began_at.append(time.perf_counter())
        elif began_at:
            pauses.append(time.perf_counter() - began_at.pop())

    gc.collect()
    before = resident()
    gc.callbacks.append(watch)
    began = time.perf_counter()
    alive: list[Pid] = [Inline.start() for _ in range(count)]
    took = time.perf_counter() - began
    gc.callbacks.remove(watch)
    pause = max(pauses, default=0.0) * 1e3
    row(f"start, one of {count:,}", took / count * 1e6, "us", f"longest gc pause {pause:,.0f} ms")
    row(f"memory of an idle process, of {count:,}", (resident() - before) / count, "bytes")
    began = time.perf_counter()
    for pid in alive:
        process.exit(pid, "shutdown")
    row("exit signal to an idle process", (time.perf_counter() - began) / count * 1e6, "us")


def ring(size: int = 1000, hops: int = 100_000) -> None:
    done = threading.Event()
    neighbours: list[Pid] = []
    neighbours.extend(Ring.start((neighbours, index, done)) for index in range(size))
    runs = []
    for _ in range(5):
        done.clear()
        began = time.perf_counter()
        neighbours[0].cast(hops)
        done.wait()
        runs.append((time.perf_counter() - began) / hops * 1e6)
    for pid in neighbours:
        GenServer.stop(pid)
    row(f"a hop in a ring of {size:,}, {hops:,} hops", min(runs), "us")


def flat() -> None:
    """The cost of an operation among few and among many."""
    costs: dict[str, list[float]] = {"call": [], "start + stop": [], "timer": [], "link + unlink": []}
    for count in (100, 100_000):
        crowd = [Inline.start() for _ in range(count)]
        timers = [process.send_after(pid, "late", 3600.0) for pid in crowd]
        for pid in crowd:
            process.link(pid)
        one = crowd[count // 2]
        measured = interleaved(
            call=(5000, lambda one=one: one.call(1)),
            life=(1000, lambda: GenServer.stop(Inline.start())),
            timer=(3000, lambda one=one: process.cancel_timer(process.send_after(one, "late", 3600.0))),
            link=(3000, lambda one=one: (process.unlink(one), process.link(one))),
        )
        for name, value in zip(costs, measured.values(), strict=True):
            costs[name].append(value)
        for timer in timers:
            process.cancel_timer(timer)
        for pid in crowd:
            process.unlink(pid)
            process.exit(pid, "shutdown")
    for name, (few, many) in costs.items():
        row(f"{name}, among 100,000", many, "us", f"among 100,000 / among 100 = {many / few:.2f}")


def on_the_beam() -> dict[str, float]:
    if shutil.which("elixir") is None:
        return {}
    ran = subprocess.run(["elixir", str(HERE / "actors.exs")], capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in (line.split() for line in ran.stdout.splitlines())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--idle", type=int, default=200_000, help="how many idle processes to make")
    options = parser.parse_args()
    print(f"CPython {sys.version.split()[0]}, Pykka {importlib.metadata.version('pykka')}")
    beam = on_the_beam()
    if not beam:
        print("elixir is not on PATH: no rows of the BEAM")
    # First, while the memory is untouched.
    idle(options.idle)
    starts()
    calls(beam)
    casts()
    lives(beam)
    ring()
    flat()


if __name__ == "__main__":
    main()
