"""How fast supervisors are, against bars and, where `elixir` is on PATH, against a real OTP supervisor.

    python benchmarks/supervision.py [--large] [--minute SECONDS]

Prints one row a bar: what was measured, the bar, and the ratio of the two (below 1 is within it). `--large`
adds trees of 100,000 children; `--minute` is how long crashes are handled at 2,000 a second (60 by default, 0
leaves it out). A thread wake-up costs between 10 and 40 us on a shared machine, depending on the hour:
compare rows of one run.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from resprout.actors import GenServer, NoProcess, NoReply, Reply, ServerExit, process, telemetry
from resprout.supervision import ChildSpec, Supervisor, tree

HERE = pathlib.Path(__file__).parent
ROUNDS = 400
within = True


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


def row(what: str, measured: float, bar: float, unit: str) -> None:
    """One line of the report."""
    global within
    within = within and measured <= bar
    verdict = "ok" if measured <= bar else "OVER"
    figures = f"{measured:>10.3f} {unit:<3} bar {bar:>8.3f}  ratio {measured / bar:5.2f}  {verdict}"
    print(f"{what:<64} {figures}", flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that some work takes, and its result."""
    gc.collect()
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


# Crash to serving again ---------------------------------------------------------------------------


def serving_again(kind: type[GenServer]) -> float:
    """The median of microseconds from a call that crashes the server to the first answer of its successor."""
    spec = ChildSpec("a", (kind.start_link, (), {"name": "served"}))
    supervisor = Supervisor.start_link([spec], max_restarts=10**9)
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        try:
            GenServer.call("served", "crash")
        except ServerExit:
            pass
        while True:
            try:
                GenServer.call("served", "ping")
                break
            except (NoProcess, ServerExit):
                time.sleep(2e-5)  # lets the threads run that bring it back
        taken.append((time.perf_counter() - began) * 1e6)
    Supervisor.stop(supervisor)
    return statistics.median(taken)


def otp_serving_again() -> float | None:
    """The same on OTP; None where there is no `elixir`."""
    elixir = shutil.which("elixir")
    if elixir is None:
        return None
    command = [elixir, str(HERE / "supervision.exs"), str(ROUNDS)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def crash_to_serving() -> None:
    """A caller sees a crashed server serve again."""
    theirs = otp_serving_again()
    for kind in (Inline, Blocking):
        ours = serving_again(kind)
        bar = 300.0 if theirs is None else 2 * theirs
        beside = "" if theirs is None else f" (OTP: {theirs:.0f} us)"
        row(f"crash to serving again, {kind.__name__.lower()}{beside}", ours, bar, "us")


# Trees --------------------------------------------------------------------------------------------


def specs(kind: type[GenServer], count: int) -> list[ChildSpec]:
    """So many children."""
    return [ChildSpec(number, (kind.start_link, (number,))) for number in range(count)]


def start_and_stop(kind: type[GenServer], count: int) -> float:
    """Seconds to start and stop a tree, the better of two."""
    children = specs(kind, count)

    def once() -> None:
        Supervisor.stop(Supervisor.start_link(children))

    return min(timed(once)[0] for _ in range(2))


def one_for_all(kind: type[GenServer], count: int) -> float:
    """Seconds from the crash of the middle child until the last one runs again."""
    supervisor = Supervisor.start_link(specs(kind, count), strategy="one_for_all")
    done = threading.Event()

    def started(event: Any, measurements: Any, metadata: Any) -> None:
        if metadata["event"].id == count - 1:
            done.set()

    telemetry.attach("benchmark", ("resprout", "supervisor", "child_started"), started)
    middle: Any = Supervisor.which_children(supervisor)[count // 2].pid

    def restart() -> None:
        middle.cast("crash")
        done.wait()

    seconds = timed(restart)[0]
    telemetry.detach("benchmark")
    Supervisor.stop(supervisor)
    return seconds


def trees(large: bool) -> None:
    """Starting, stopping and restarting many children."""
    for kind, bar in ((Inline, 1.0), (Blocking, 2.0)):
        name = kind.__name__.lower()
        small = start_and_stop(kind, 10_000)
        row(f"start and stop 10,000 {name} children", small, bar, "s")
        row(f"one_for_all restarts 10,000 {name} children", one_for_all(kind, 10_000), 1.5, "s")
        if large:
            # Linear: ten times as many take ten times as long, half as much again for the garbage collector.
            row(f"start and stop 100,000 {name} children", start_and_stop(kind, 100_000), 15 * small, "s")


# Steady crashes -----------------------------------------------------------------------------------


def steady_crashes(seconds: float) -> None:
    """2,000 crashes a second, each restarted: all handled, and nothing of the dead is kept."""
    supervisor = Supervisor.start_link(specs(Inline, 20), max_restarts=10**9)
    crashed = 0

    def crash_for(length: float) -> None:
        nonlocal crashed
        began = time.perf_counter()
        goal = crashed + int(length * 2000)
        base = crashed
        while crashed < goal:
            for child in tree(supervisor).children:
                if child.pid is not None and child.pid.alive and crashed < goal:
                    child.pid.cast("crash")
                    crashed += 1
            due = began + (crashed - base) / 2000
            time.sleep(max(0.0005, due - time.perf_counter()))

    def restarts() -> int:
        return sum(child.restarts for child in tree(supervisor).children)

    def settled() -> tuple[int, int]:
        while restarts() < crashed:
            time.sleep(0.01)
        gc.collect()
        return len(gc.get_objects()), len(process.processes())

    crash_for(min(2.0, seconds))
    objects, processes = settled()
    counted, began = crashed, time.perf_counter()
    crash_for(seconds)
    rate = (crashed - counted) / (time.perf_counter() - began)
    more_objects, more_processes = settled()
    row(f"{crashed - counted} crashes at {rate:.0f}/s: 2,000/s over this", 2000 / rate, 1.05, "")
    row("objects kept a crash", (more_objects - objects) / (crashed - counted), 0.01, "")
    row("processes kept", float(more_processes - processes), 0.5, "")
    row("restarts that were not counted", float(crashed - restarts()), 0.5, "")
    Supervisor.stop(supervisor)


# Being busy ---------------------------------------------------------------------------------------


def busy_supervisors() -> None:
    """A snapshot while a slow child starts; the stop of a child that hangs in C code."""
    gate = threading.Event()
    supervisor = Supervisor.start_link([*specs(Inline, 100), ChildSpec("idle", Inline.start_link)])
    process.spawn(Supervisor.start_child, supervisor, ChildSpec("slow", lambda: gate.wait(10) and None))
    while len(tree(supervisor).children) < 102:
        time.sleep(0)
    seconds = timed(lambda: tree(supervisor))[0]
    row("tree() of a supervisor that is starting a slow child", seconds * 1e3, 10.0, "ms")
    gate.set()
    Supervisor.stop(supervisor)

    class InC(GenServer):
        trap_exit = True

        def handle_cast(self, message: Any, state: Any) -> Any:
            time.sleep(1.0)
            return NoReply(state)

    supervisor = Supervisor.start_link([ChildSpec("c", InC.start_link, shutdown=0.2)])
    stuck: Any = Supervisor.which_children(supervisor)[0].pid
    stuck.cast("sleep")
    seconds = timed(lambda: Supervisor.stop(supervisor))[0]
    row("stop of a child that sits in C code for 1 s, shutdown 0.2", seconds, 0.3, "s")


def main() -> int:
    """All of it; the exit status says whether the bars hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--minute", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    # Both sides write the reports that they write by default; they are formatted, and then thrown away.
    logging.getLogger("resprout").addHandler(logging.StreamHandler(open(os.devnull, "w")))  # noqa: SIM115
    logging.getLogger("resprout").propagate = False
    crash_to_serving()
    trees(options.large)
    busy_supervisors()
    if options.minute:
        steady_crashes(options.minute)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
