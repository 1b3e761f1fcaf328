"""The events of the locks: ex_sleeplock's four with its measurements and metadata, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import attrs
import pytest

from resprout import throttle
from resprout.actors import CallTimeout, QueueFull, telemetry

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


@attrs.frozen
class Event:
    kind: str
    measurements: dict[str, Any]
    metadata: dict[str, Any]


@pytest.fixture
def events() -> Iterator[list[Event]]:
    """All events of locks, as they come."""
    heard: list[Event] = []

    def hear(event: tuple[str, ...], measurements: Any, metadata: Any) -> None:
        heard.append(Event(event[-1], dict(measurements), dict(metadata)))

    telemetry.attach("test of the events", ("resprout", "throttle"), hear)
    yield heard
    telemetry.detach("test of the events")


EX_SLEEPLOCK = ("lock_created", "lock_acquired", "lock_waiting", "lock_released")


def of_ex_sleeplock(events: list[Event], name: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (event.kind, event.measurements)
        for event in events
        if event.kind in EX_SLEEPLOCK and event.metadata["name"] == name
    ]


def test_acquire_and_release_emit_what_ex_sleeplock_emits(lock: Lock, events: list[Event]) -> None:
    name = lock(1)
    with throttle.slot(name), throttle.slot(name):
        pass
    assert of_ex_sleeplock(events, name) == [
        ("lock_created", {"value": 1}),
        ("lock_acquired", {"running": 1, "waiting": 0}),
        ("lock_released", {"running": 0, "waiting": 0}),
    ]
    assert all(
        event.metadata == {"name": name, "num_slots": 1} for event in events if event.metadata["name"] == name
    )


def test_a_hand_over_is_a_release_and_then_an_acquire(
    lock: Lock, in_thread: InThread, line: Any, events: list[Event]
) -> None:
    name = lock(1)
    watch = line(name)
    throttle.acquire(name)
    waiting = in_thread(throttle.run, name, lambda: None)
    watch.until_waiting(1)
    throttle.release(name)
    waiting.result(SOON)
    watch.until(lambda: len(of_ex_sleeplock(events, name)) == 6)
    assert of_ex_sleeplock(events, name)[1:] == [
        ("lock_acquired", {"running": 1, "waiting": 0}),
        ("lock_waiting", {"running": 1, "waiting": 1}),
        ("lock_released", {"running": 0, "waiting": 0}),
        ("lock_acquired", {"running": 1, "waiting": 0}),
        ("lock_released", {"running": 0, "waiting": 0}),
    ]


def test_times_sheds_timeouts_and_changes_are_told(
    lock: Lock, in_thread: InThread, line: Any, events: list[Event]
) -> None:
    name = lock(1, max_waiting=1)
    watch = line(name)
    throttle.acquire(name)
    waiting = in_thread(throttle.acquire, name, timeout=0.02)
    watch.until_waiting(1)
    with pytest.raises(QueueFull):
        in_thread(throttle.acquire, name).result(SOON)
    with pytest.raises(CallTimeout):
        waiting.result(SOON)
    throttle.release(name)
    throttle.resize(name, 4)
    throttle.stop_lock(name)
    by_kind = {event.kind: event for event in events if event.metadata["name"] == name}
    assert {"shed", "timeout", "wait", "hold", "resized", "stopped"} <= set(by_kind)
    assert by_kind["timeout"].measurements["seconds"] >= 0.02
    assert by_kind["hold"].measurements["seconds"] >= 0.02
    assert by_kind["shed"].measurements == {"running": 1, "waiting": 1, "used": 1}
    assert by_kind["resized"].metadata == {"name": name, "num_slots": 4}


def test_a_dead_holder_is_a_release(lock: Lock, in_thread: InThread, line: Any, events: list[Event]) -> None:
    name = lock(1)
    watch = line(name)
    in_thread(throttle.acquire, name).result(SOON)
    watch.until(lambda: [kind for kind, _ in of_ex_sleeplock(events, name)][-1] == "lock_released")


def test_who_listens_later_hears_of_locks_in_use_from_then_on(
    lock: Lock, in_thread: InThread, quiet_line: Any
) -> None:
    name = lock(1)
    watch = quiet_line(name)
    throttle.acquire(name)
    waiter = in_thread(throttle.run, name, str)
    watch.until_waiting(1)
    heard: list[str] = []

    def hear(event: Any, measurements: Any, metadata: Any) -> None:
        if metadata["name"] == name:
            heard.append(event[-1])

    telemetry.attach("late", ("resprout", "throttle"), hear)
    try:
        throttle.release(name)
        waiter.result(SOON)
        watch.until(lambda: heard.count("lock_released") == 2)
    finally:
        telemetry.detach("late")
    throttle.run(name, str)
    assert heard == ["lock_released", "hold", "lock_acquired", "wait", "lock_released", "hold"]


def test_a_handler_may_use_the_lock_that_it_hears_of(lock: Lock) -> None:
    name = lock(2)
    states: list[throttle.LockState] = []

    def hear(event: Any, measurements: Any, metadata: Any) -> None:
        if event[-1] == "lock_acquired" and not states:
            states.append(throttle.lock_state(name))
            throttle.attempt(name)
            throttle.release(name)

    telemetry.attach("curious", ("resprout", "throttle", "lock_acquired"), hear)
    try:
        with throttle.slot(name):
            pass
    finally:
        telemetry.detach("curious")
    assert states == [throttle.LockState(1, 0, 1)]
    assert throttle.lock_state(name).used == 0
