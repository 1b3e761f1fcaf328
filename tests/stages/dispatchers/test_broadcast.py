"""Who gets the events of a producer with the broadcast dispatcher: everybody, as fast as the slowest."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from resprout.stages.dispatchers.broadcast import Broadcast, BroadcastDispatcher
from resprout.stages.dispatchers.dispatcher import AlreadySubscribed

from .consumers import Consumers, Sub

A, B = Sub("a"), Sub("b")


def dispatcher(*subs: Sub) -> BroadcastDispatcher:
    made = Broadcast().make()
    for sub in subs:
        made.subscribe({}, sub)
    return made


def test_as_much_is_wanted_as_everybody_has_asked_for() -> None:
    made = dispatcher(A, B)
    wanted = []
    for sub, demand in ((A, 10), (B, 4), (B, 8)):
        made.ask(demand, sub)
        wanted.append(made.wanted)
    assert wanted == [0, 4, 10]


def test_everybody_gets_every_event_in_a_list_of_their_own() -> None:
    made = dispatcher(A, B)
    made.ask(3, A)
    made.ask(2, B)
    outcome = made.dispatch([1, 2, 3])
    assert outcome.deliveries == [(A, [1, 2]), (B, [1, 2])]
    assert outcome.deliveries[0][1] is not outcome.deliveries[1][1]
    assert outcome.leftover == [3]


def test_nothing_goes_to_anybody_until_the_new_one_asks() -> None:
    made = dispatcher(A)
    made.ask(5, A)
    made.subscribe({}, B)
    assert made.dispatch([1, 2]).leftover == [1, 2]
    made.ask(5, B)
    assert made.dispatch([1, 2]).deliveries == [(A, [1, 2]), (B, [1, 2])]


def test_the_end_of_the_slowest_brings_demand() -> None:
    made = dispatcher(A, B)
    made.ask(10, A)
    made.ask(2, B)
    assert made.wanted == 2
    made.cancel(B)
    assert made.wanted == 10


def test_a_selector_chooses_and_the_rest_counts_as_handled() -> None:
    made = BroadcastDispatcher()
    made.subscribe({"selector": lambda event: event % 2}, A)
    made.subscribe({}, B)
    made.ask(4, A)
    made.ask(4, B)
    outcome = made.dispatch([1, 2, 3, 4])
    assert outcome.deliveries == [(A, [1, 3]), (B, [1, 2, 3, 4])]
    assert outcome.ask_again == [(A, 2)]


def test_who_wants_none_of_the_events_gets_no_message() -> None:
    made = BroadcastDispatcher()
    made.subscribe({"selector": lambda event: False}, A)
    made.ask(4, A)
    outcome = made.dispatch([1, 2])
    assert (outcome.deliveries, outcome.ask_again) == ([], [(A, 2)])


def test_a_selector_that_raises_changes_nothing() -> None:
    made = BroadcastDispatcher()
    made.subscribe({"selector": lambda event: 1 / event}, A)
    made.ask(4, A)
    with pytest.raises(ZeroDivisionError):
        made.dispatch([1, 0])
    assert made.dispatch([1, 2, 3, 4]).deliveries == [(A, [1, 2, 3, 4])]


def test_a_process_is_reached_once() -> None:
    made = dispatcher(A)
    with pytest.raises(AlreadySubscribed, match="a is subscribed already"):
        made.subscribe({}, Sub(A.pid, 1))
    with pytest.raises(ValueError, match="expected selector to be a function"):
        made.subscribe({"selector": "key"}, B)


class Model(Consumers):
    """Each consumer's demand by itself; nobody gets more, and everybody the same."""

    most = 4

    def __init__(self) -> None:
        super().__init__()
        self.made = BroadcastDispatcher()

    @rule(count=st.integers(1, 20))
    def dispatch(self, count: int) -> None:
        events = list(range(count))
        now = min(count, self.made.wanted)
        outcome = self.made.dispatch(events)
        assert list(outcome.deliveries) == ([(sub, events[:now]) for sub in self.demands] if now else [])
        assert outcome.leftover == events[now:]
        for sub in self.demands:
            self.demands[sub] -= now

    @invariant()
    def the_slowest_decides(self) -> None:
        assert self.made.wanted == min(self.demands.values(), default=0)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, deadline=None)
