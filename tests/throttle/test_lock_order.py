"""Two locks taken in different orders are reported, naming both places."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout import throttle
from resprout.throttle.lock_order import Orders, Place


@pytest.fixture
def mode() -> Iterator[Callable[[Any], None]]:
    before = throttle.lock_order("off")
    yield lambda wanted: (throttle.lock_order(wanted), None)[1]
    throttle.lock_order(before)


def test_an_order_and_its_opposite_are_told_once() -> None:
    orders = Orders()
    here, there = Place("a.py", 1), Place("b.py", 2)
    assert orders.note("one", "two", here) is None
    assert orders.note("one", "two", there) is None
    assert orders.note("two", "one", there) == here
    assert orders.note("two", "one", there) is None


def test_a_circle_of_more_than_two_is_seen() -> None:
    orders = Orders()
    here, there = Place("a.py", 1), Place("b.py", 2)
    assert orders.note("one", "two", here) is None
    assert orders.note("two", "three", there) is None
    assert orders.note("three", "one", there) == here


def test_a_warning_names_both_places(
    lock: Callable[..., str], mode: Callable[[Any], None], caplog: pytest.LogCaptureFixture
) -> None:
    one, two = lock(1), lock(1)
    mode("warn")
    for _ in range(2):
        with throttle.slot(one), throttle.slot(two):
            pass
        with throttle.slot(two):
            throttle.acquire(one)
            throttle.release(one)
    (text,) = [record.getMessage() for record in caplog.records if "is wanted while" in record.getMessage()]
    assert f"lock {one!r} is wanted while {two!r} is held" in text
    assert text.count("test_lock_order.py:") == 2


def test_an_error_is_raised_before_anything_is_taken(
    lock: Callable[..., str], mode: Callable[[Any], None]
) -> None:
    one, two = lock(1), lock(1)
    mode("error")
    with throttle.slot(one), throttle.slot(two):
        pass
    with throttle.slot(two):
        for _ in range(2):
            with pytest.raises(throttle.LockOrderError, match="the other way round"):
                throttle.acquire(one)
        assert throttle.lock_state(one).used == 0
    assert throttle.lock_state(two).used == 0


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="expected mode to be 'off', 'warn' or 'error'"):
        throttle.lock_order("loud")  # type: ignore[arg-type]  # on purpose
