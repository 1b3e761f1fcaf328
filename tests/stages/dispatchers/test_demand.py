"""Who gets the events of a producer with the demand dispatcher."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from resprout.stages.dispatchers.demand import Demand, DemandDispatcher

from .consumers import Consumers, Sub

A, B, C = Sub("a"), Sub("b"), Sub("c")


def dispatcher(*demands: tuple[Sub, int], **options: Any) -> DemandDispatcher:
    made = DemandDispatcher(**options)
    for sub, _ in demands:
        made.subscribe({}, sub)
    for sub, demand in demands:
        if demand:
            made.ask(demand, sub)
    return made


def test_as_much_is_wanted_as_all_have_asked_for() -> None:
    made = dispatcher((A, 10), (B, 5))
    assert made.wanted == 15
    made.dispatch([1, 2, 3])
    assert made.wanted == 12
    made.cancel(B)
    assert made.wanted == 7


def test_events_go_to_the_biggest_demand_first() -> None:
    made = dispatcher((A, 2), (B, 3), max_demand=10)
    outcome = made.dispatch([1, 2, 3, 4])
    assert outcome.deliveries == [(B, [1, 2, 3]), (A, [4])]
    assert outcome.leftover == []


def test_among_equals_the_first_is_first() -> None:
    made = dispatcher((A, 3), (B, 3))
    assert made.dispatch([1]).deliveries == [(A, [1])]
    assert made.dispatch([2]).deliveries == [(B, [2])]
    assert made.dispatch([3]).deliveries == [(A, [3])]


def test_what_nobody_asked_for_is_left() -> None:
    made = dispatcher((A, 2))
    outcome = made.dispatch([1, 2, 3])
    assert (outcome.deliveries, outcome.leftover) == ([(A, [1, 2])], [3])
    assert dispatcher().dispatch([1]).leftover == [1]


def test_a_greedy_consumer_is_told_of() -> None:
    made = dispatcher((A, 5), (B, 0))
    warning = made.ask(6, B).warning
    assert warning is not None
    assert "at most 5" in warning
    assert "b asked for 6" in warning
    assert dispatcher((A, 0), max_demand=6).ask(6, A).warning is None


def test_the_order_is_shuffled_before_the_first_events_and_not_after() -> None:
    shuffled = []

    def reverse(rows: list[Any]) -> None:
        shuffled.append(len(rows))
        rows.reverse()

    made = dispatcher((A, 3), (B, 3), (C, 3), shuffle=reverse)
    assert made.dispatch([1]).deliveries == [(C, [1])]
    assert made.dispatch([2]).deliveries == [(B, [2])]
    assert shuffled == [3]


def test_a_shuffle_puts_nobody_who_wants_nothing_in_front() -> None:
    made = dispatcher((A, 3), (B, 0), shuffle=lambda rows: rows.reverse())
    assert made.dispatch([1]).deliveries == [(A, [1])]


def test_each_stage_has_a_dispatcher_of_its_own() -> None:
    spec = Demand(max_demand=3, shuffle=True)
    assert spec.make() is not spec.make()
    assert spec.make().max_demand == 3


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "3"])
def test_a_maximum_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected max_demand to be a positive integer"):
        Demand(max_demand=wrong)


class Model(Consumers):
    """Demands in a dict, of which always the biggest one is served."""

    def __init__(self) -> None:
        super().__init__()
        self.made = DemandDispatcher(max_demand=1000)

    @rule(count=st.integers(1, 20))
    def dispatch(self, count: int) -> None:
        events = list(range(count))
        wanted = sum(self.demands.values())
        outcome = self.made.dispatch(events)
        assert [event for _, some in outcome.deliveries for event in some] + outcome.leftover == events
        assert len(outcome.leftover) == max(0, count - wanted)
        for sub, some in outcome.deliveries:
            assert self.demands[sub] == max(self.demands.values())
            assert 0 < len(some) <= self.demands[sub]
            self.demands[sub] -= len(some)

    @invariant()
    def sums_up(self) -> None:
        assert self.made.wanted == sum(self.demands.values())


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, deadline=None)
