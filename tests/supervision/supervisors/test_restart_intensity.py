from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout.supervision.supervisors.restart_intensity import RestartWindow


@pytest.mark.parametrize("max_restarts", [0, 1, 3])
def test_one_restart_more_than_allowed_is_too_many(max_restarts: int) -> None:
    window = RestartWindow(max_restarts, 5.0)
    assert [window.add(0.0) for _ in range(max_restarts + 1)] == [True] * max_restarts + [False]


def test_restarts_older_than_the_window_do_not_count() -> None:
    window = RestartWindow(1, 5.0)
    assert [window.add(at) for at in (0.0, 5.1, 10.3)] == [True, True, True]
    assert window.add(10.4) is False


def test_a_restart_exactly_as_old_as_the_window_counts() -> None:
    window = RestartWindow(1, 5.0)
    assert [window.add(at) for at in (0.0, 5.0)] == [True, False]


def test_the_window_holds_no_more_than_what_is_in_it() -> None:
    window = RestartWindow(10**9, 1.0)
    for number in range(10_000):
        assert window.add(number / 100)
    assert len(window) <= 101


@given(
    st.lists(st.floats(0, 2, allow_nan=False), max_size=40),
    st.integers(0, 5),
    st.floats(0.01, 10, allow_nan=False),
)
def test_the_window_counts_like_a_list_of_all_times(
    gaps: list[float], max_restarts: int, length: float
) -> None:
    window, now, times = RestartWindow(max_restarts, length), 0.0, []
    for gap in gaps:
        now += gap
        times.append(now)
        assert window.add(now) == (sum(time >= now - length for time in times) <= max_restarts)
