"""The registry's bars: what a lookup, a registration, a key, a death and a dispatch cost.

Run it with ``python benchmarks/registry.py``; exit status 1 when a bar is missed. ``--quick`` leaves out
the million keys. Where ``elixir`` is on PATH, Elixir's own Registry does the same in the same run, on the
same machine, for comparison.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from resprout.actors import Down, GenServer, NoReply, process
from resprout.registry import Registry

REPEATS = 7
ROUNDS = 40
# All of it in a module: at the top level it would be interpreted.
ELIXIR = r"""
defmodule Bench do
  def run do
    {:ok, _} = Registry.start_link(keys: :unique, name: U)
    {:ok, _} = Registry.start_link(keys: :duplicate, name: D)
    {:ok, _} = Registry.register(U, "key", 1)
    lookup = per(5_000, fn -> Registry.lookup(U, "key") end)
    pair = per(1_000, fn ->
      Registry.register(U, "other", 1)
      Registry.unregister(U, "other")
    end)
    for n <- 1..10_000, do: Registry.register(D, "topic", n)
    each = fn entries -> Enum.each(entries, fn {_, _} -> :ok end) end
    dispatch = per(1, fn -> Registry.dispatch(D, "topic", each) end) / 10_000
    IO.puts("#{lookup} #{pair} #{dispatch} #{median(for _ <- 1..5, do: death())}")
  end
  def per(n, fun) do
    Enum.min(for _ <- 1..40 do
      {us, _} = :timer.tc(fn -> loop(n, fun) end)
      us / n
    end)
  end
  def loop(0, _), do: :ok
  def loop(n, fun) do
    fun.()
    loop(n - 1, fun)
  end
  def median(list), do: Enum.at(Enum.sort(list), div(length(list), 2))
  def death do
    me = self()
    pid = spawn(fn ->
      for n <- 1..10_000, do: Registry.register(U, {:k, n}, 1)
      send(me, :ready)
      Process.sleep(:infinity)
    end)
    receive do :ready -> :ok end
    {us, _} = :timer.tc(fn -> down(pid); gone({:k, 10_000}) end)
    us / 1000
  end
  def down(pid) do
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    receive do {:DOWN, ^ref, _, _, _} -> :ok end
  end
  def gone(key), do: if(Registry.lookup(U, key) == [], do: :ok, else: gone(key))
end
Bench.run()
"""


class Owner(GenServer):
    """Runs the functions that are cast to it."""

    blocking = False

    def handle_cast(self, message: Callable[[], object], state: object) -> NoReply:
        message()
        return NoReply(state)

    def handle_info(self, message: object, state: object) -> NoReply:
        return NoReply(state)


class Table:
    """Prints measurements as they come, and remembers which missed their bar."""

    def __init__(self) -> None:
        self.missed: list[str] = []
        print(f"{'':48}{'measured':>14}{'bar':>10}{'elixir':>10}{'ratio':>8}")

    def row(
        self, what: str, value: float, unit: str, bar: float | None = None, elixir: float | None = None
    ) -> None:
        """One line; a bar is an upper limit."""
        limit = "" if bar is None else f"<= {bar:g}"
        other = "" if elixir is None else f"{elixir:.2f}"
        ratio = "" if not elixir else f"{value / elixir:.2f}"
        miss = bar is not None and value > bar
        verdict = "  MISSED" if miss else ""
        print(f"{what:48}{f'{value:.2f} {unit}':>14}{limit:>10}{other:>10}{ratio:>8}{verdict}")
        if miss:
            self.missed.append(what)


def microseconds(function: Callable[[], object], number: int) -> float:
    """The time of one call without the loop around it, in the best of many short rounds.

    The best, since a round that another program interrupts says nothing; Elixir's are chosen in the same way.
    """
    calls, loops = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in itertools.repeat(None, number):
            function()
        middle = time.perf_counter()
        for _ in itertools.repeat(None, number):
            nothing()
        calls.append(middle - start)
        loops.append(time.perf_counter() - middle)
    return (min(calls) - min(loops)) / number * 1e6


def nothing() -> None:
    """What the loop costs."""


def elixir() -> list[float]:
    """Elixir's numbers for lookup, register + unregister, dispatch, death; empty where it is missing."""
    if shutil.which("elixir") is None:
        return []
    done = subprocess.run(["elixir", "-e", ELIXIR], capture_output=True, text=True, timeout=300, check=True)
    return [float(number) for number in done.stdout.split()]


def single(table: Table, other: list[float]) -> None:
    """One key at a time."""
    lookup, pair = (other + [None, None])[:2]  # type: ignore[operator,list-item]
    Registry.register("bench", "key", 1)
    table.row("lookup", microseconds(lambda: Registry.lookup("bench", "key"), 5_000), "us", 0.5, lookup)
    table.row("whereis", microseconds(lambda: Registry.whereis("bench", "key"), 5_000), "us", 0.5, lookup)

    def both() -> None:
        Registry.register("bench", "other", 1)
        Registry.unregister("bench", "other")

    table.row("register + unregister", microseconds(both, 1_000), "us", 5.0, pair)

    def both_compound() -> None:
        Registry.register("bench", ("user", 7), 1)
        Registry.unregister("bench", ("user", 7))

    table.row("the same with a tuple as key", microseconds(both_compound, 1_000), "us")
    Registry.unregister("bench", "key")


def death(table: Table, other: list[float]) -> None:
    """The end of an owner with 10,000 keys, and the longest pause that somebody else sees in it."""
    times, pauses = [], []
    for _ in range(REPEATS):
        pid = Owner.start()
        pid.cast(lambda: [Registry.register("bench", number) for number in range(10_000)])
        assert Registry.count("bench") == 10_000
        ref = process.monitor(pid)
        stop, ready, worst = threading.Event(), threading.Event(), [0.0]

        def watch(
            stop: threading.Event = stop, ready: threading.Event = ready, worst: list[float] = worst
        ) -> None:
            before = time.perf_counter()
            while not stop.is_set():
                Registry.register("bench", "mine")
                Registry.lookup("bench", 7)
                Registry.unregister("bench", "mine")
                now = time.perf_counter()
                if ready.is_set():
                    worst[0] = max(worst[0], now - before)
                ready.set()
                before = now

        watcher = threading.Thread(target=watch)
        watcher.start()
        ready.wait()
        start = time.perf_counter()
        process.exit(pid, "kill")
        process.receive(lambda each: isinstance(each, Down) and each.ref is ref)  # noqa: B023  # called at once
        times.append((time.perf_counter() - start) * 1e3)
        stop.set()
        watcher.join()
        pauses.append(worst[0] * 1e3)
        assert not Registry.lookup("bench", 0)
    table.row("death of an owner with 10,000 keys", statistics.median(times), "ms", 20.0, *other[3:4])
    table.row("longest pause of another caller meanwhile", statistics.median(pauses), "ms", 15.0)


def dispatch(table: Table, other: list[float]) -> None:
    """10,000 subscribers of one topic."""
    Registry.start_link(keys="duplicate", name="topics")
    pids = [Owner.start() for _ in range(10_000)]
    for pid in pids:
        pid.cast(lambda: Registry.register("topics", "topic"))

    def each(entries: list[tuple[object, object]]) -> None:
        for _, _ in entries:
            pass

    cost = microseconds(lambda: Registry.dispatch("topics", "topic", each), 1) / 10_000
    table.row("dispatch, per subscriber of 10,000", cost, "us", 1.0, *other[2:3])

    def send(entries: list[tuple[object, object]]) -> None:
        for pid, _ in entries:
            pid.send("news")  # type: ignore[attr-defined]

    cost = microseconds(lambda: Registry.dispatch("topics", "topic", send), 1) / 10_000
    table.row("the same, and each handles a message", cost, "us")
    for pid in pids:
        process.exit(pid, "kill")
    Registry.stop("topics")


def listening(table: Table) -> None:
    """Whether telling an event costs more with 512 threads among the owners than with 8."""
    listener = Owner.start(name="listener")
    gate = threading.Event()
    threads = []
    for name, number in (("8 threads", 8), ("512 threads", 512)):
        Registry.start_link(keys="unique", name=name, listeners=["listener"])
        ready = threading.Barrier(number + 1)

        def own(key: int, name: str = name, ready: threading.Barrier = ready) -> None:
            Registry.register(name, -key)
            ready.wait()
            gate.wait()

        threads += [threading.Thread(target=own, args=(1 + key,)) for key in range(number)]
        for thread in threads[-number:]:
            thread.start()
        ready.wait()
    ratio = slower(register("8 threads"), register("512 threads"))
    table.row("told registration, owners 512 threads to 8", ratio, "x", 1.5)
    gate.set()
    for thread in threads:
        thread.join()
    Registry.stop("8 threads")
    Registry.stop("512 threads")
    GenServer.stop(listener)


def resident() -> int:
    """Bytes of memory that this program occupies."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def many(table: Table) -> None:
    """1,000,000 keys of 100,000 owners: memory, and whether anything is slower than with 1,000 keys."""
    owners = [Owner.start() for _ in range(100_000)]
    keys = list(range(1_000_000))
    gc.collect()
    before = resident()
    batches = iter(range(0, 1_000_000, 10))
    for pid in owners:
        first = next(batches)
        pid.cast(lambda first=first: [Registry.register("bench", key) for key in keys[first : first + 10]])
    gc.collect()
    table.row("memory of a key (a million, of 100,000 owners)", (resident() - before) / 1e6, "B", 500.0)
    Registry.start_link(keys="unique", name="few")
    for number, pid in enumerate(owners[:100]):
        first = 10 * number
        pid.cast(lambda first=first: [Registry.register("few", key) for key in keys[first : first + 10]])
    for what, times in (("lookup", look), ("register + unregister", register)):
        table.row(f"{what}, 1,000,000 keys to 1,000", slower(times("few"), times("bench")), "x", 1.5)
    Registry.stop("few")
    start = time.perf_counter()
    snapshot = Registry.snapshot("bench")
    table.row("a snapshot of a million keys", (time.perf_counter() - start) * 1e3, "ms")
    assert len(snapshot) >= 1_000_000
    del snapshot
    for pid in owners:
        process.exit(pid, "kill")
    assert Registry.count("bench") == 0


def look(name: str) -> Callable[[], object]:
    """A lookup, of keys that both registries have."""
    keys = itertools.cycle(range(0, 1000, 7))
    return lambda: Registry.lookup(name, next(keys))


def register(name: str) -> Callable[[], object]:
    """A registration, and its end."""

    def both() -> None:
        Registry.register(name, "extra")
        Registry.unregister(name, "extra")

    return both


def slower(one: Callable[[], object], other: Callable[[], object]) -> float:
    """How many times as long the other takes; measured in turn, since the machine's own speed changes."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for which, function in enumerate((one, other)):
            start = time.perf_counter()
            for _ in itertools.repeat(None, 1_000):
                function()
            best[which] = min(best[which], time.perf_counter() - start)
    return best[1] / best[0]


def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser(description="The registry's bars.")
    parser.add_argument("--quick", action="store_true", help="leave out the million keys")
    quick = parser.parse_args().quick
    process.trap_exit(True)
    Registry.start_link(keys="unique", name="bench")
    other = elixir()
    table = Table()
    single(table, other)
    death(table, other)
    dispatch(table, other)
    listening(table)
    if not quick:
        many(table)
    Registry.stop("bench")
    print("all bars hold" if not table.missed else f"missed: {', '.join(table.missed)}")
    return 1 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
