from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from resprout.actors import AlreadyRegistered, Bounded, GenServer, NoReply, Ok, Pid, Reply, process, telemetry
from resprout.registry import EventsLost, Registered, Registry, Unregistered

from .user_id import UserId

Start = Callable[..., Any]
WATCHDOG = 30.0


def events(count: int) -> list[Any]:
    """The next events of this process."""
    return [
        process.receive(lambda each: isinstance(each, (Registered, Unregistered)), timeout=WATCHDOG)
        for _ in range(count)
    ]


def listen(start_registry: Start, **options: Any) -> str:
    me = process.current()
    process.register(me, "events")
    name: str = start_registry(listeners=["events"], **options)
    process.unregister("events")
    # Found by name for each event, so it may come and go.
    process.register(me, "events")
    return name


def forget() -> None:
    process.unregister("events")


def test_listeners_hear_what_happens_in_order(start_registry: Start, owner: Start, end: Start) -> None:
    name = listen(start_registry)
    pid = owner()
    pid.call(lambda: Registry.register(name, "a", 1))
    pid.call(lambda: Registry.register(name, UserId(1), 2))
    pid.call(lambda: Registry.unregister(name, "a"))
    pid.call(lambda: Registry.register(name, "b", 3))
    end(pid)
    assert events(6) == [
        Registered(name, "a", pid, 1),
        Registered(name, UserId(1), pid, 2),
        Unregistered(name, "a", pid),
        Registered(name, "b", pid, 3),
        Unregistered(name, UserId(1), pid),
        Unregistered(name, "b", pid),
    ]
    forget()


def test_what_fails_is_no_event(start_registry: Start, owner: Start) -> None:
    name = listen(start_registry)
    pid = owner()
    pid.call(lambda: Registry.register(name, "a"))
    for _ in range(3):
        try:
            Registry.register(name, "a")
        except AlreadyRegistered:
            pass
        Registry.unregister(name, "a")
    pid.call(lambda: Registry.unregister(name, "a"))
    Registry.register(name, "last")
    assert events(3) == [
        Registered(name, "a", pid, None),
        Unregistered(name, "a", pid),
        Registered(name, "last", process.current(), None),
    ]
    forget()


def test_duplicate_keys_have_events_too(start_registry: Start, owner: Start, end: Start) -> None:
    name = listen(start_registry, keys="duplicate")
    pid = owner()
    pid.call(lambda: Registry.register(name, "t", 1))
    pid.call(lambda: Registry.register(name, "t", 2))
    end(pid)
    gone = Unregistered(name, "t", pid)
    assert events(4) == [Registered(name, "t", pid, 1), Registered(name, "t", pid, 2), gone, gone]
    forget()


def test_events_wait_for_a_registry_that_is_restarted(
    start_registry: Start, owner: Start, end: Start
) -> None:
    name = listen(start_registry)
    pid = owner()
    end(process.whereis(name))
    pid.call(lambda: Registry.register(name, "a"))
    end(pid)
    assert Registry.statistics(name).untold == 2
    start_registry(name=name, listeners=["events"])
    assert events(2) == [Registered(name, "a", pid, None), Unregistered(name, "a", pid)]
    forget()


def test_a_listener_that_is_gone_disturbs_nobody(start_registry: Start, owner: Start) -> None:
    name = listen(start_registry)
    forget()
    me = Registry.register(name, "a")
    assert Registry.lookup(name, "a") == [(me, None)]
    assert Registry.statistics(name).untold == 0


def test_many_events_come_in_order_and_none_twice(start_registry: Start, owner: Start, end: Start) -> None:
    name = listen(start_registry)
    pid = owner()
    for number in range(1000):
        pid.call(lambda: Registry.register(name, number))  # noqa: B023  # called at once
    end(pid)
    assert [event.key for event in events(1000)] == list(range(1000))
    heard = events(1000)
    assert [event.key for event in heard] == list(range(1000))
    assert {type(event) for event in heard} == {Unregistered}
    forget()


def test_a_fight_for_a_key_is_heard_as_a_sequence_of_reigns(start_registry: Start) -> None:
    name = listen(start_registry)
    rounds = 300

    def fight() -> None:
        won = 0
        while won < rounds:
            try:
                Registry.register(name, "crown")
            except AlreadyRegistered:
                continue
            won += 1
            Registry.unregister(name, "crown")

    threads = [threading.Thread(target=fight) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    heard = events(2 * 3 * rounds)
    for begin, finish in zip(heard[::2], heard[1::2], strict=True):
        assert type(begin) is Registered
        assert finish == Unregistered(name, "crown", begin.pid)
    forget()


def test_events_are_telemetry_for_whoever_attaches(registry: str, owner: Start, end: Start) -> None:
    seen: list[Any] = []
    prefix = ("resprout", "registry")
    pid: Pid = owner()
    pid.call(lambda: Registry.register(registry, "before"))
    telemetry.attach("test", prefix, lambda event, _, about: seen.append((event[2], dict(about))))
    try:
        pid.call(lambda: Registry.register(registry, "key", 1))
        pid.call(lambda: Registry.unregister(registry, "key"))
        end(pid)
        wait_until_told(registry)
    finally:
        telemetry.detach("test")
    about = {"registry": registry, "pid": pid}
    assert seen == [
        ("registered", {**about, "key": "key", "value": 1}),
        ("unregistered", {**about, "key": "key"}),
        ("unregistered", {**about, "key": "before"}),
    ]


def wait_until_told(name: str) -> None:
    """Stop the registry: it tells everything first."""
    Registry.stop(name)


def test_a_listener_with_a_full_mailbox_does_not_stop_the_others(start_registry: Start) -> None:
    class Full(GenServer):
        mailbox = Bounded(1, on_full="reject")

        def handle_cast(self, message: threading.Event, state: Any) -> NoReply:
            message.wait(WATCHDOG)
            return NoReply(state)

        def handle_info(self, message: Any, state: Any) -> NoReply:
            return NoReply(state)

    gate = threading.Event()
    full = Full.start(name="full")
    me = process.current()
    process.register(me, "events")
    name = start_registry(listeners=["full", "events"])
    GenServer.cast(full, gate)
    for number in range(5):
        Registry.register(name, number)
    assert [event.key for event in events(5)] == list(range(5))
    gate.set()
    GenServer.stop(full)
    forget()


# Listeners whose mailbox is full


class Slow(GenServer):
    """Tells the test what it gets, and goes on when it is let; the test says how many messages may wait."""

    def init(self, arg: Slow.Gate) -> Ok:
        return Ok(arg)

    def handle_info(self, message: Any, state: Slow.Gate) -> NoReply:
        state.heard.put(message)
        assert state.go.acquire(timeout=WATCHDOG)
        return NoReply(state)

    class Gate:
        """Both ends of the string by which a test holds it."""

        def __init__(self) -> None:
            self.heard: SimpleQueue[Any] = SimpleQueue()
            self.go = threading.Semaphore(0)

        def next(self, count: int) -> list[Any]:
            """Let it go on after each message, and return the next ones that it gets."""
            found = []
            for _ in range(count):
                self.go.release()
                found.append(self.heard.get(timeout=WATCHDOG))
            return found


@pytest.fixture
def slow() -> Iterator[Callable[..., Slow.Gate]]:
    """Start a listener with the name "slow" that is at its first message, with no other in its mailbox."""
    started: list[tuple[Pid, Slow.Gate]] = []

    def start(bound: Bounded, *, blocking: bool = True) -> Slow.Gate:
        kind = type("Slow", (Slow,), {"mailbox": bound, "blocking": blocking})
        gate = Slow.Gate()
        pid = kind.start(gate, name="slow")
        started.append((pid, gate))
        pid.send("first")
        assert gate.heard.get(timeout=WATCHDOG) == "first"
        return gate

    yield start
    for pid, gate in started:
        gate.go.release(1000)
        if pid.alive:
            GenServer.stop(pid, timeout=WATCHDOG)


def keys_of(events: list[Any]) -> list[Any]:
    return [each.count if isinstance(each, EventsLost) else each.key for each in events]


@pytest.mark.parametrize("on_full", ["block", "reject", "drop_newest"])
def test_a_full_listener_loses_events_and_is_told_how_many(
    start_registry: Start, slow: Callable[..., Slow.Gate], on_full: Any
) -> None:
    gate = slow(Bounded(2, on_full=on_full))
    name = start_registry(listeners=["slow"])
    for number in range(7):
        Registry.register(name, number)
    assert Registry.statistics(name).untold == 0
    heard = gate.next(3)
    assert keys_of(heard) == [0, 1, 5]
    assert heard[2] == EventsLost(name, 5)
    Registry.register(name, "after")
    assert keys_of(gate.next(1)) == ["after"]


@pytest.fixture
def overfull(start_registry: Start, slow: Callable[..., Slow.Gate]) -> tuple[str, Slow.Gate]:
    """A registry of three keys, and its listener with room for one: it will hear of 0, and of two lost."""
    gate = slow(Bounded(1, on_full="block"))
    name = start_registry(listeners=["slow"])
    for number in range(3):
        Registry.register(name, number)
    return name, gate


def test_it_is_told_when_it_has_room_and_not_only_with_the_next_event(
    overfull: tuple[str, Slow.Gate],
) -> None:
    _, gate = overfull
    assert keys_of(gate.next(2)) == [0, 2]


def test_what_is_lost_is_told_before_the_next_event_even_with_room_for_one(
    overfull: tuple[str, Slow.Gate],
) -> None:
    name, gate = overfull
    assert keys_of(gate.next(1)) == [0]
    for number in range(3, 6):
        Registry.register(name, number)
    # One had room, and what was lost before it came before it; two were lost again.
    assert keys_of(gate.next(3)) == [2, 3, 2]


def test_a_mailbox_that_drops_its_oldest_hears_the_newest_and_of_no_loss(
    start_registry: Start, slow: Callable[..., Slow.Gate]
) -> None:
    gate = slow(Bounded(2, on_full="drop_oldest"))
    name = start_registry(listeners=["slow"])
    for number in range(5):
        Registry.register(name, number)
    assert keys_of(gate.next(2)) == [3, 4]


def test_nobody_who_registers_waits_for_a_full_listener(
    start_registry: Start, slow: Callable[..., Slow.Gate]
) -> None:
    slow(Bounded(1, on_full="block"))
    name = start_registry(listeners=["slow"])
    done: SimpleQueue[str] = SimpleQueue()

    def in_a_thread() -> None:
        for number in range(3):
            Registry.register(name, ("thread", number))
        done.put("thread")

    async def in_a_loop() -> None:
        for number in range(3):
            Registry.register(name, ("task", number))
        done.put("task")

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    assert done.get(timeout=WATCHDOG) == "thread"
    thread.join()
    asyncio.run(in_a_loop())
    assert done.get(timeout=WATCHDOG) == "task"
    assert Registry.statistics(name).restarts == 0


@pytest.mark.parametrize("blocking", [True, False])
def test_a_listener_that_registers_keys_itself_does_not_wait_for_itself(
    start_registry: Start, blocking: bool
) -> None:
    heard: SimpleQueue[Any] = SimpleQueue()

    class Selfish(GenServer):
        mailbox = Bounded(1, on_full="block")

        def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
            for number in range(6):
                Registry.register(name, number)
            return Reply("done", state)

        def handle_info(self, message: Any, state: Any) -> NoReply:
            heard.put(message)
            return NoReply(state)

    Selfish.blocking = blocking
    pid = Selfish.start(name="selfish")
    name = start_registry(listeners=["selfish"])
    assert GenServer.call(pid, "register", timeout=WATCHDOG) == "done"
    assert keys_of([heard.get(timeout=WATCHDOG) for _ in range(2)]) == [0, 5]
    GenServer.stop(pid)


def test_a_full_listener_delays_and_costs_the_others_nothing(
    start_registry: Start, slow: Callable[..., Slow.Gate]
) -> None:
    slow(Bounded(1, on_full="block"))
    process.register(process.current(), "events")
    name = start_registry(listeners=["slow", "events"])
    for number in range(5):
        Registry.register(name, number)
    assert keys_of(events(5)) == list(range(5))
    forget()


def test_a_crash_of_the_registry_forgets_no_loss(
    overfull: tuple[str, Slow.Gate], start_registry: Start, end: Start
) -> None:
    name, gate = overfull
    end(process.whereis(name))
    start_registry(name=name, listeners=["slow"])
    Registry.register(name, 3)
    assert keys_of(gate.next(2)) == [0, 3]


def test_the_successor_of_a_listener_is_not_told_what_that_one_has_lost(
    overfull: tuple[str, Slow.Gate], slow: Callable[..., Slow.Gate], end: Start
) -> None:
    name, _ = overfull
    end(process.whereis("slow"))
    successor = slow(Bounded(5, on_full="block"))
    Registry.register(name, "new")
    assert keys_of(successor.next(1)) == ["new"]


def test_a_registry_that_is_stopped_tells_what_was_lost(overfull: tuple[str, Slow.Gate]) -> None:
    name, gate = overfull
    Registry.stop(name)
    assert keys_of(gate.next(2)) == [0, 2]


def test_a_storm_is_heard_in_order_with_its_losses_counted_exactly(start_registry: Start) -> None:
    heard: SimpleQueue[Any] = SimpleQueue()

    class Hasty(GenServer):
        mailbox = Bounded(3, on_full="block")

        def handle_info(self, message: Any, state: Any) -> NoReply:
            heard.put(message)
            return NoReply(state)

    pid = Hasty.start(name="hasty")
    name = start_registry(listeners=["hasty"])
    rounds, threads = 500, 4

    over = threading.Event()

    def register(first: int) -> None:
        for number in range(rounds):
            Registry.register(name, (first, number))
        # The end of a thread would be more events.
        over.wait(WATCHDOG)

    workers = [threading.Thread(target=register, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    told, lost, last = 0, 0, dict.fromkeys(range(threads), -1)
    while told + lost < rounds * threads:
        event = heard.get(timeout=WATCHDOG)
        if isinstance(event, EventsLost):
            assert event.count > 0
            lost += event.count
        else:
            assert isinstance(event, Registered)
            told += 1
            first, number = event.key
            assert number > last[first]
            last[first] = number
    over.set()
    for worker in workers:
        worker.join()
    assert told + lost == rounds * threads
    GenServer.stop(pid)


def calls_of(function: Callable[[], object]) -> int:
    """How many calls of Python functions it takes."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("attached", [False, True])
def test_telling_an_event_costs_the_same_however_many_threads_are_owners(
    start_registry: Start, attached: bool
) -> None:
    name = listen(start_registry)
    over = threading.Event()
    registered: SimpleQueue[int] = SimpleQueue()

    def own(number: int) -> None:
        Registry.register(name, number)
        registered.put(number)
        over.wait(WATCHDOG)

    def both() -> None:
        Registry.register(name, "mine")
        Registry.unregister(name, "mine")

    if attached:
        telemetry.attach("test", ("resprout", "registry"), lambda *event: None)
    counts = []
    threads: list[threading.Thread] = []
    try:
        for owners in (1, 8, 64):
            while len(threads) < owners:
                threads.append(threading.Thread(target=own, args=(len(threads),)))
                threads[-1].start()
                registered.get(timeout=WATCHDOG)
            both()
            counts.append(calls_of(both))
    finally:
        telemetry.detach("test")
        over.set()
        for thread in threads:
            thread.join()
    assert counts == [counts[0]] * 3
    forget()
