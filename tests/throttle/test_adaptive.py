"""Locks that find their own number of slots."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import telemetry
from resprout.throttle.adaptive import Aimd, Gradient, adaptive_of
from resprout.throttle.ledger import Ledger


def service(slots: int, capacity: int) -> float:
    """How long a request takes of a service that does so many at once in 10 ms each."""
    return 0.01 * max(1.0, slots / capacity)


def test_aimd_grows_by_one_while_it_is_used_and_shrinks_by_a_factor() -> None:
    limit = Aimd(min=2, max=12, timeout=1.0).limit(10)
    assert limit.released(0.1, 1) == 10
    assert limit.released(0.1, 8) == 11
    assert limit.released(5.0, 8) == 9
    for _ in range(50):
        slots = limit.released(5.0, 8)
    assert slots == 2
    for _ in range(50):
        slots = limit.released(0.1, slots)
    assert slots == 12


def test_the_gradient_finds_about_what_a_service_can_do() -> None:
    limit = Gradient(min=1, max=200).limit(4)
    slots = 4
    for _ in range(300):
        slots = limit.released(service(slots, 20), slots)
    # Between the point of saturation and what the tolerance and the probing add.
    assert 20 <= slots <= 60
    before = slots
    for _ in range(40):
        slots = limit.released(service(slots, 5), slots)
    assert slots < before


def test_an_idle_lock_does_not_grow() -> None:
    limit = Gradient().limit(10)
    assert {limit.released(0.01, 1) for _ in range(100)} == {10}


@pytest.mark.parametrize(
    "bad",
    ["fast", 5, {"aimd": {"maximum": 3}}, {"other": {}}, {"aimd": {}, "gradient": {}}],
)
def test_what_adapts_is_checked(bad: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        adaptive_of(bad, 2)


@pytest.mark.parametrize("options", [{"min": 0}, {"max": True}, {"timeout": 0}, {"backoff": 1.0}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Aimd(**options)


def test_num_slots_must_be_between_min_and_max() -> None:
    with pytest.raises(ValueError, match="between the min 5 and the max 10"):
        throttle.new("bad", 2, adaptive=Aimd(min=5, max=10))
    assert adaptive_of({"gradient": {"max": 50}}, 2) == Gradient(max=50)
    assert adaptive_of("aimd", 2) == Aimd()


def test_a_lock_follows_its_limit_and_tells(lock: Callable[..., str]) -> None:
    name = lock(2, adaptive=Aimd(min=1, max=4, timeout=10.0))
    heard: list[int] = []
    telemetry.attach(
        "adapted", ("resprout", "throttle", "adapted"), lambda e, m, _: heard.append(m["num_slots"])
    )
    try:
        for _ in range(10):
            with throttle.slot(name):
                pass
    finally:
        telemetry.detach("adapted")
    assert throttle.lock_info(name).num_slots == 3
    assert heard == [3]


def test_a_waiter_heavier_than_what_is_left_of_the_slots_is_let_in_alone(lock: Callable[..., str]) -> None:
    ledger = Ledger("lock", 4)
    ledger.limit = Aimd(max=4, timeout=1.0).limit(4)
    ledger.adopt(0.0)
    nobody: Any = None
    hold = ledger.take(nobody, 1, 4, 0.0)
    assert hold is not None
    ledger.release(hold, 5.0)
    assert ledger.num_slots == 3
    name = lock(2, adaptive=Aimd(max=4))
    assert throttle.acquire(name, weight=4).token > 0
    throttle.release(name)
    with pytest.raises(ValueError, match="expected weight to be at most"):
        throttle.acquire(name, weight=5)
