"""What a lookup, a registration, a key, a death and a dispatch cost."""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from resprout.actors import Down, GenServer, NoReply, Pid, process
from resprout.registry import Registry

from ..rows import Bar, Effort, Measure, Peer, Room, Row, Section
from ..timing import each, resident, stopwatch, timed


class Owner(GenServer):
    """Runs the functions that are cast to it."""

    blocking = False

    def handle_cast(self, message: Callable[[], object], state: object) -> NoReply:
        message()
        return NoReply(state)

    def handle_info(self, message: object, state: object) -> NoReply:
        return NoReply(state)


def register(name: str, key: object = "extra") -> Callable[[], object]:
    """A registration, and its end."""

    def both() -> None:
        Registry.register(name, key)
        Registry.unregister(name, key)

    return both


def look(name: str) -> Callable[[], object]:
    """A lookup, of keys that both registries have."""
    keys = itertools.cycle(range(0, 1000, 7))
    return lambda: Registry.lookup(name, next(keys))


def own(pid: Pid, name: str, keys: range) -> None:
    """Have a process register keys."""
    pid.cast(lambda: [Registry.register(name, key) for key in keys])


# Sides --------------------------------------------------------------------------------------------


@contextmanager
def single(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """One key at a time."""
    Registry.start_link(keys="unique", name="bench")
    Registry.register("bench", "key", 1)
    looks, pairs = effort(5_000), effort(1_000)
    yield {
        "lookup": each(looks, lambda: Registry.lookup("bench", "key")),
        "whereis": each(looks, lambda: Registry.whereis("bench", "key")),
        "register": each(pairs, register("bench", "other")),
        "compound": each(pairs, register("bench", ("user", 7))),
    }
    Registry.stop("bench")


@contextmanager
def death(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """The end of an owner of many keys, and the longest pause that somebody else sees in it."""
    process.trap_exit(True)
    Registry.start_link(keys="unique", name="bench")
    keys = range(effort(10_000))

    def measure() -> Mapping[str, float]:
        pid = Owner.start()
        own(pid, "bench", keys)
        assert Registry.count("bench") == len(keys)
        ref = process.monitor(pid)
        stop, ready, worst = threading.Event(), threading.Event(), [0.0]

        def watch() -> None:
            mine, now = register("bench", "mine"), stopwatch("ms")
            before = now()
            while not stop.is_set():
                mine()
                Registry.lookup("bench", 7)
                after = now()
                if ready.is_set():
                    worst[0] = max(worst[0], after - before)
                ready.set()
                before = after

        watcher = threading.Thread(target=watch)
        watcher.start()
        ready.wait()
        elapsed = stopwatch("ms")
        process.exit(pid, "kill")
        process.receive(lambda message: isinstance(message, Down) and message.ref is ref)
        died = elapsed()
        stop.set()
        watcher.join()
        assert not Registry.lookup("bench", 0)
        return {"time": died, "pause": worst[0]}

    yield {"death": measure}
    Registry.stop("bench")


@contextmanager
def dispatch(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Many subscribers of one topic."""
    Registry.start_link(keys="duplicate", name="topics")
    pids = [Owner.start() for _ in range(effort(10_000))]
    for pid in pids:
        pid.cast(lambda: Registry.register("topics", "topic"))

    def look_at(entries: list[tuple[Any, object]]) -> None:
        for _, _ in entries:
            pass

    def send_to(entries: list[tuple[Any, object]]) -> None:
        for pid, _ in entries:
            pid.send("news")

    def one(tell: Callable[[list[tuple[Any, object]]], None]) -> Measure:
        return lambda: timed(lambda: Registry.dispatch("topics", "topic", tell)) / len(pids)

    yield {"dispatch": one(look_at), "handled": one(send_to)}
    for pid in pids:
        process.exit(pid, "kill")
    Registry.stop("topics")


@contextmanager
def listening(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """Registries whose events are told, and whose owners are few and many threads."""
    listener = Owner.start(name="listener")
    gate = threading.Event()
    threads: list[threading.Thread] = []

    def owned_by(number: int) -> str:
        name = f"{number} threads"
        Registry.start_link(keys="unique", name=name, listeners=["listener"])
        ready = threading.Barrier(number + 1)

        def keep(key: int) -> None:
            Registry.register(name, -key)
            ready.wait()
            gate.wait()

        owners = [threading.Thread(target=keep, args=(1 + key,)) for key in range(number)]
        threads.extend(owners)
        for thread in owners:
            thread.start()
        ready.wait()
        return name

    names = [owned_by(512), owned_by(8)]
    yield {name: each(effort(3_000), register(name)) for name in names}
    gate.set()
    for thread in threads:
        thread.join()
    for name in names:
        Registry.stop(name)
    GenServer.stop(listener)


@contextmanager
def many(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A million keys of 100,000 owners beside a thousand of a hundred."""
    process.trap_exit(True)
    Registry.start_link(keys="unique", name="many")
    Registry.start_link(keys="unique", name="few")
    owners = [Owner.start() for _ in range(effort(100_000))]
    count = 10 * len(owners)
    keys = list(range(count))  # which the owner of a key has anyway
    gc.collect()
    before = resident()
    for number, pid in enumerate(owners):
        ten = keys[10 * number : 10 * number + 10]
        pid.cast(lambda ten=ten: [Registry.register("many", key) for key in ten])
    gc.collect()
    memory = (resident() - before) / count
    for number, pid in enumerate(owners[:100]):
        own(pid, "few", range(10 * number, 10 * number + 10))
    times = effort(1_000)
    yield {
        "memory": lambda: memory,
        "1,000,000 keys": lambda: {
            "lookup": timed(look("many"), times),
            "register": timed(register("many"), times),
        },
        "1,000 keys": lambda: {
            "lookup": timed(look("few"), times),
            "register": timed(register("few"), times),
        },
        "snapshot": each(1, lambda: Registry.snapshot("many"), "ms"),
    }
    assert len(Registry.snapshot("many")) >= count
    for pid in owners:
        process.exit(pid, "kill")
    assert Registry.count("many") == 0
    Registry.stop("few")
    Registry.stop("many")


# Rows ---------------------------------------------------------------------------------------------


LOOKUP = Peer("beam", "lookup", "Registry.lookup of Elixir", 5_000, every=5)

ROOM = Room(
    "registry",
    "docs/registry.md",
    [
        Section(
            "single",
            "One key at a time.",
            single,
            [
                Row("lookup", "lookup", LOOKUP, Bar(best=0.5)),
                Row("whereis", "whereis", LOOKUP, Bar(best=0.5)),
                Row(
                    "register + unregister",
                    "register",
                    Peer("beam", "register", "the Registry of Elixir", 1_000, every=5),
                    Bar(best=5.0),
                ),
                Row("register + unregister of a tuple", "compound"),
            ],
            repeats=40,
        ),
        Section(
            "death",
            "An owner of 10,000 keys dies.",
            death,
            [
                Row(
                    "death of an owner of 10,000 keys",
                    "death: time",
                    Peer("beam", "owner_death", "the Registry of Elixir", 10_000, every=5),
                    Bar(figure=20.0),
                    "ms",
                ),
                Row(
                    "longest pause of another caller meanwhile",
                    "death: pause",
                    bar=Bar(figure=15.0),
                    unit="ms",
                ),
            ],
        ),
        Section(
            "dispatch",
            "10,000 subscribers of one topic, each.",
            dispatch,
            [
                Row(
                    "dispatch, a subscriber of 10,000",
                    "dispatch",
                    Peer("beam", "dispatch", "the Registry of Elixir", 10_000, every=5),
                    Bar(best=1.0),
                ),
                Row("dispatch, and each handles a message", "handled"),
            ],
        ),
        Section(
            "listening",
            "What is told of a registration does not cost more with more owners.",
            listening,
            [Row("told registration, owners 512 threads", "512 threads", "8 threads", Bar(ratio=1.5))],
        ),
        Section(
            "many",
            "A million keys of 100,000 owners, beside 1,000 keys of 100.",
            many,
            [
                Row("memory of a key, of a million", "memory", bar=Bar(figure=500.0), unit="bytes"),
                Row("lookup, 1,000,000 keys", "1,000,000 keys: lookup", "1,000 keys: lookup", Bar(ratio=1.5)),
                Row(
                    "register + unregister, 1,000,000 keys",
                    "1,000,000 keys: register",
                    "1,000 keys: register",
                    Bar(ratio=1.5),
                ),
                Row("snapshot of a million keys", "snapshot", unit="ms"),
            ],
            repeats=25,
        ),
    ],
)
