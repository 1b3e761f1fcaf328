"""Who gets the events of a producer with the partition dispatcher: the consumer of their partition."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from resprout.stages.dispatchers.partition import Partition, PartitionDispatcher

from .consumers import Sub

A, B, C = Sub("a"), Sub("b"), Sub("c")


def odd_or_even(event: int) -> str:
    return "odd" if event % 2 else "even"


def dispatcher() -> PartitionDispatcher:
    made = Partition(["odd", "even"], odd_or_even).make()
    made.subscribe({"partition": "odd"}, A)
    made.subscribe({"partition": "even"}, B)
    return made


def test_each_event_goes_to_its_partition() -> None:
    made = dispatcher()
    made.ask(5, A)
    made.ask(5, B)
    assert made.wanted == 10
    outcome = made.dispatch([1, 2, 3, 4, 6])
    assert outcome.deliveries == [(A, [1, 3]), (B, [2, 4, 6])]
    assert outcome.leftover == []


def test_what_a_partition_has_not_asked_for_waits_for_it() -> None:
    made = dispatcher()
    made.ask(4, A)
    made.ask(2, B)
    assert made.dispatch([2, 4, 6, 8, 1, 3]).deliveries == [(B, [2, 4]), (A, [1, 3])]
    assert made.wanted == 0
    assert made.ask(5, B).deliveries == [(B, [6, 8])]
    assert made.wanted == 5


def test_what_nobody_has_asked_for_is_left() -> None:
    made = dispatcher()
    assert made.dispatch([1, 2]).leftover == [1, 2]
    made.ask(1, A)
    outcome = made.dispatch([2, 1])
    assert (outcome.deliveries, outcome.leftover) == ([], [1])


def test_the_events_of_a_dead_consumer_wait_for_the_next() -> None:
    made = dispatcher()
    made.ask(4, A)
    made.dispatch([2, 4])
    made.cancel(B)
    made.dispatch([6])
    made.subscribe({"partition": "even"}, C)
    assert made.ask(9, C).deliveries == [(C, [2, 4, 6])]


def test_nothing_is_wanted_for_the_dead() -> None:
    made = dispatcher()
    made.ask(4, A)
    made.ask(6, B)
    made.cancel(A)
    assert made.wanted == 6


def test_the_hash_function_may_put_another_event_in_the_place_of_one() -> None:
    made = Partition(2, lambda event: (event * 10, event % 2)).make()
    made.subscribe({"partition": 1}, A)
    made.ask(5, A)
    assert made.dispatch([3]).deliveries == [(A, [30])]


def test_partitions_may_be_pairs() -> None:
    made = Partition([("a", 1), ("b", 2)], lambda event: event).make()
    made.subscribe({"partition": ("b", 2)}, A)
    made.ask(1, A)
    assert made.dispatch([("b", 2)]).deliveries == [(A, [("b", 2)])]


def test_the_hash_function_may_drop_an_event_and_another_one_is_wanted() -> None:
    made = Partition(2, lambda event: None if event < 0 else 0).make()
    made.subscribe({"partition": 0}, A)
    made.ask(3, A)
    assert made.dispatch([-1, 5, -2]).deliveries == [(A, [5])]
    assert made.wanted == 2
    assert made.dispatch([6, 7, 8]).leftover == [8]


def test_an_event_for_no_partition_is_an_error_that_changes_nothing() -> None:
    made = dispatcher()
    made.ask(3, A)
    broken = Partition(2, lambda event: event).make()
    broken.subscribe({"partition": 0}, A)
    broken.ask(3, A)
    with pytest.raises(ValueError, match=r"one of the partitions \(0, 1\).*got: 7 for the event 7"):
        broken.dispatch([0, 7])
    assert broken.dispatch([0, 0, 0]).deliveries == [(A, [0, 0, 0])]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "expected partition= in the subscription, got none; the partitions are: 'odd', 'even'"),
        ({"partition": "prime"}, "expected partition to be one of the producer's, got: 'prime'"),
        ({"partition": "odd"}, "the partition 'odd' is already taken by a"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(options: dict[str, str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        dispatcher().subscribe(options, C)


@pytest.mark.parametrize("wrong", [0, [], "ab", None, [1, 1], [None], 1.5])
def test_partitions_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        Partition(wrong, hash)


def test_names_need_a_hash_function() -> None:
    with pytest.raises(ValueError, match="expected a hash function beside partitions with names"):
        Partition(["odd", "even"])
    assert Partition(range(3)).make() is not None


def test_a_message_is_due_when_every_queue_has_passed_it() -> None:
    made = dispatcher()
    assert made.put_behind("at once").due == ("at once",)
    made.ask(1, A)
    made.ask(1, B)
    made.dispatch([2, 4])
    assert made.put_behind("later").due == ()
    assert made.ask(1, B).due == ["later"]


def test_what_was_made_for_a_consumer_that_has_gone_is_not_asked_for_again() -> None:
    made = Partition(2, lambda event: 0).make()
    for number in range(300):
        sub = Sub("x", number)
        made.subscribe({"partition": 1}, sub)
        made.ask(10, sub)
        if made.wanted:
            made.dispatch([0] * made.wanted)
        made.cancel(sub)
    assert made.kept == 10


class Model(RuleBasedStateMachine):
    """Each partition by itself, as a demand and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.made = PartitionDispatcher(range(3), lambda event: None if event == 3 else event)
        self.subs: dict[int, Sub] = {}
        self.demands = dict.fromkeys(range(3), 0)
        self.queues: dict[int, deque[int]] = {name: deque() for name in range(3)}
        self.number = 0

    @precondition(lambda self: len(self.subs) < 3)
    @rule(data=st.data())
    def subscribe(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name in range(3) if name not in self.subs]))
        self.number += 1
        self.subs[name] = Sub("x", self.number)
        self.made.subscribe({"partition": name}, self.subs[name])

    @precondition(lambda self: self.subs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.subs)))
        self.demands[name] = 0
        assert self.made.cancel(self.subs.pop(name)).deliveries == ()

    @precondition(lambda self: self.subs)
    @rule(data=st.data(), demand=st.integers(1, 6))
    def ask(self, data: st.DataObject, demand: int) -> None:
        name = data.draw(st.sampled_from(list(self.subs)))
        queue = self.queues[name]
        some = [queue.popleft() for _ in range(min(demand, len(queue)))]
        self.demands[name] += demand - len(some)
        outcome = self.made.ask(demand, self.subs[name])
        assert outcome.deliveries == ([(self.subs[name], some)] if some else [])

    @invariant()
    def as_much_is_wanted_as_was_asked_for_less_what_is_kept(self) -> None:
        kept = sum(map(len, self.queues.values()))
        assert self.made.kept == kept
        assert self.made.wanted == max(0, sum(self.demands.values()) - kept)

    @rule(events=st.lists(st.integers(0, 3), min_size=1, max_size=12))
    def dispatch(self, events: list[int]) -> None:
        left = deque(events)
        wanted = self.made.wanted
        expected: dict[Sub, list[int]] = {}
        while wanted and left:
            event = left.popleft()
            if event == 3:
                continue
            wanted -= 1
            if self.demands[event]:
                self.demands[event] -= 1
                expected.setdefault(self.subs[event], []).append(event)
            else:
                self.queues[event].append(event)
        outcome = self.made.dispatch(events)
        assert outcome.leftover == list(left)
        assert dict(outcome.deliveries) == expected
        assert self.made.wanted == wanted


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, deadline=None)
