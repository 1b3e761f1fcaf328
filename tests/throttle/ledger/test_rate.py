"""Rates: the pure meter, and locks that have one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout import throttle
from resprout.actors import CallTimeout
from resprout.throttle.ledger.rate import Meter, Rate


@pytest.mark.parametrize(
    ("given_rate", "rate"),
    [
        ("100/s", Rate(100.0, 10)),
        ("30/m", Rate(0.5, 1)),
        ("3600/h", Rate(1.0, 1)),
        ("100/s burst 20", Rate(100.0, 20)),
        (50, Rate(50.0, 5)),
        (0.5, Rate(0.5, 1)),
        (Rate(3.0, 2), Rate(3.0, 2)),
        (None, None),
    ],
)
def test_rates_are_read(given_rate: Any, rate: Rate | None) -> None:
    assert Rate.of(given_rate) == rate


@pytest.mark.parametrize(
    "bad",
    [
        "fast",
        "0/s",
        "-1/s",
        0,
        -1,
        True,
        float("inf"),
        float("nan"),
        1e-320,
        "9" * 400 + "/s",
        pytest.param(10**400, id="too large for a float"),
        pytest.param(10**5000, id="of many digits"),
        Rate(10**400),
        Rate("fast"),  # type: ignore[arg-type]
        Rate(1.0, "many"),  # type: ignore[arg-type]
        [],
        Rate(1.0, 0),
    ],
)
def test_bad_rates_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="expected rate to be grants per second"):
        Rate.of(bad)
    with pytest.raises(ValueError, match="expected rate"):
        throttle.new("bad", 1, rate=bad)


@pytest.mark.parametrize("burst", [str(2**53 + 1), "9" * 5000], ids=["large", "of many digits"])
def test_a_burst_that_nobody_can_reckon_with_is_refused(burst: str) -> None:
    with pytest.raises(
        ValueError, match=r"expected the burst of rate to be at most 2\*\*53, got: '1/s burst 9"
    ):
        Rate.of(f"1/s burst {burst}")


def test_a_burst_comes_at_once_and_the_rest_evenly() -> None:
    meter = Meter(Rate(10.0, 3))
    for _ in range(3):
        assert meter.wait(1, 5.0) == 0.0
        meter.spend(1, 5.0)
    assert meter.wait(1, 5.0) == pytest.approx(0.1)
    assert meter.wait(1, 5.1) == 0.0
    meter.spend(1, 5.1)
    assert meter.wait(1, 5.1) == pytest.approx(0.1)


def test_a_weight_counts_as_often_as_it_says_and_may_exceed_the_burst() -> None:
    meter = Meter(Rate(10.0, 2))
    assert meter.wait(5, 0.0) == 0.0
    meter.spend(5, 0.0)
    assert meter.wait(1, 0.0) == pytest.approx(0.4)
    meter.refund(5)
    assert meter.wait(1, 0.0) == 0.0


@given(
    st.floats(0.5, 1000.0),
    st.integers(1, 20),
    st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60),
)
def test_in_any_stretch_of_time_no_more_is_granted_than_the_rate_and_a_burst(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    meter = Meter(Rate(per_second, burst))
    now = 0.0
    granted: list[float] = []
    for pause in pauses:
        now += pause
        if meter.wait(1, now) == 0.0:
            meter.spend(1, now)
            granted.append(now)
    for first, start in enumerate(granted):
        for last in range(first, len(granted)):
            most = (granted[last] - start) * per_second + burst
            assert last - first + 1 <= most + 1e-6


def test_a_lock_with_a_rate_lets_waiters_in_as_the_rate_allows(lock: Callable[..., str]) -> None:
    name = lock(5, rate="200/s burst 2")
    began = time.monotonic()
    for _ in range(12):
        with throttle.slot(name):
            pass
    assert time.monotonic() - began >= 10 / 200 - 0.002
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_attempt_and_timeouts_heed_the_rate(lock: Callable[..., str]) -> None:
    name = lock(5, rate="1/h")
    assert throttle.attempt(name) is not None
    throttle.release(name)
    assert throttle.attempt(name) is None
    with pytest.raises(CallTimeout):
        throttle.acquire(name, timeout=0.01)
