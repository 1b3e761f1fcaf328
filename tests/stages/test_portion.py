"""How many children there are for one producer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout.stages.portion import Portion


@pytest.mark.parametrize(
    ("maximum", "minimum", "asked"),
    [(1, 0, [1, 1, 1]), (4, 2, [0, 2, 0, 2]), (4, 0, [0, 0, 0, 4]), (4, 3, [1, 1, 1])],
)
def test_more_is_asked_for_when_no_more_than_the_minimum_are_left(
    maximum: int, minimum: int, asked: list[int]
) -> None:
    portion = Portion(maximum, minimum)
    assert portion.came(maximum) == 0
    seen = []
    for _ in asked:
        portion.ended(1)
        seen.append(portion.ask())
        portion.came(seen[-1])
    assert seen == asked


def test_events_that_nobody_asked_for_are_counted() -> None:
    portion = Portion(3, 1)
    assert portion.came(5) == 2
    assert portion.running == 5


@given(maximum=st.integers(1, 9), share=st.floats(0, 0.99), steps=st.lists(st.integers(1, 9), max_size=40))
def test_never_more_than_the_maximum_and_never_for_ever_less_than_the_minimum(
    maximum: int, share: float, steps: list[int]
) -> None:
    minimum = int(maximum * share)
    portion = Portion(maximum, minimum)
    coming = maximum
    for step in steps:
        if coming and step % 2:
            some = min(step, coming)
            assert portion.came(some) == 0
            coming -= some
        else:
            portion.ended(min(step, portion.running))
        coming += portion.ask()
        assert minimum < portion.running + coming <= maximum
