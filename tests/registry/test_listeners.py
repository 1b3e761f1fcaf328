from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

from resprout.actors import AlreadyRegistered, Bounded, GenServer, NoReply, Pid, process, telemetry
from resprout.registry import Registered, Registry, Unregistered

Start = Callable[..., Any]
WATCHDOG = 30.0


@attrs.frozen
class UserId:
    number: int


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
