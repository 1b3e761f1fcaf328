"""When a consumer asks again, against a count event by event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout.stages.subscription import Arrival, Batch, Inflow


def test_the_numbers_of_the_documentation() -> None:
    """GenStage's page, "Demand": 1000 and 750, and batches of 100."""
    inflow = Inflow(1000, 750)
    hundred = list(range(100))
    assert inflow.receive(hundred) == Arrival([Batch(hundred, 0)], 0)
    assert inflow.receive(hundred) == Arrival([Batch(hundred, 0)], 0)
    assert inflow.pending == 800
    assert inflow.receive(hundred) == Arrival([Batch(hundred, 300)], 0)
    assert inflow.pending == 1000


@pytest.mark.parametrize(
    ("maximum", "minimum", "events", "batches"),
    [
        (1, 0, 1, [(1, 1)]),
        (10, 5, 10, [(5, 5), (5, 5)]),
        (10, 5, 4, [(4, 0)]),
        (10, 0, 10, [(10, 10)]),
        (10, 9, 3, [(1, 1), (1, 1), (1, 1)]),
        (4, 2, 3, [(2, 2), (1, 0)]),
    ],
)
def test_what_comes_is_split_and_more_is_asked_for_at_the_minimum(
    maximum: int, minimum: int, events: int, batches: list[tuple[int, int]]
) -> None:
    arrival = Inflow(maximum, minimum).receive(list(range(events)))
    assert [(len(batch.events), batch.ask) for batch in arrival.batches] == batches
    assert [event for batch in arrival.batches for event in batch.events] == list(range(events))


def test_what_nobody_asked_for_is_handled_counted_and_not_asked_for_again() -> None:
    inflow = Inflow(4, 2)
    arrival = inflow.receive(list(range(7)))
    assert arrival.excess == 3
    assert sum(len(batch.events) for batch in arrival.batches) == 7
    assert sum(batch.ask for batch in arrival.batches) == 4
    assert inflow.pending == 4


@given(maximum=st.integers(1, 12), share=st.floats(0, 0.99), sizes=st.lists(st.integers(1, 12), max_size=20))
def test_never_more_than_the_maximum_is_on_its_way_and_never_less_than_the_minimum_stays(
    maximum: int, share: float, sizes: list[int]
) -> None:
    minimum = int(maximum * share)
    inflow = Inflow(maximum, minimum)
    on_their_way = maximum
    for size in sizes:
        some = list(range(min(size, on_their_way)))
        if not some:
            continue
        arrival = inflow.receive(some)
        assert arrival.excess == 0
        assert [event for batch in arrival.batches for event in batch.events] == some
        assert all(0 < len(batch.events) <= maximum - minimum for batch in arrival.batches)
        for batch in arrival.batches:
            on_their_way += batch.ask - len(batch.events)
            assert on_their_way <= maximum
        assert minimum < on_their_way == inflow.pending
