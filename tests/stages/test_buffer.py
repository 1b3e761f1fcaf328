"""The buffer of a stage, against lists."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from resprout.stages.buffer import Buffer, Keep, Stored, Taken


@pytest.mark.parametrize(
    ("keep", "there", "new", "left", "dropped"),
    [
        ("last", [], [1, 2], [1, 2], 0),
        ("last", [1, 2], [3], [1, 2, 3], 0),
        ("last", [1, 2], [3, 4], [2, 3, 4], 1),
        ("last", [1, 2, 3], [4, 5, 6, 7], [5, 6, 7], 4),
        ("first", [1, 2], [3, 4], [1, 2, 3], 1),
        ("first", [1, 2, 3], [4, 5, 6, 7], [1, 2, 3], 4),
        ("first", [], [1, 2, 3, 4], [1, 2, 3], 1),
    ],
)
def test_a_full_buffer_keeps_the_first_or_the_last_and_counts_the_rest(
    keep: Keep, there: list[int], new: list[int], left: list[int], dropped: int
) -> None:
    buffer = Buffer(3, keep)
    buffer.store(there)
    assert buffer.store(new) == Stored(dropped, [])
    assert buffer.dropped == dropped
    assert buffer.take(10) == Taken(left)


def test_a_buffer_without_a_limit_drops_nothing() -> None:
    buffer = Buffer()
    assert buffer.store(list(range(100_000))) == Stored(0, [])
    assert buffer.size == 100_000


def test_a_buffer_of_size_0_drops_all() -> None:
    buffer = Buffer(0)
    assert buffer.store([1, 2]) == Stored(2, [])
    assert buffer.take(5) == Taken([])


def test_a_message_in_an_empty_buffer_is_due_at_once() -> None:
    assert not Buffer().put_behind("now")


def test_a_message_is_due_behind_the_events_that_were_there() -> None:
    buffer = Buffer()
    buffer.store([1, 2])
    assert buffer.put_behind("first")
    assert buffer.put_behind("second")
    buffer.store([3])
    assert buffer.take(1) == Taken([1])
    assert buffer.take(5) == Taken([2], ["first", "second"])
    assert buffer.take(5) == Taken([3])


def test_a_message_is_due_when_the_events_before_it_are_dropped() -> None:
    buffer = Buffer(2, "last")
    buffer.store([1, 2])
    buffer.put_behind("behind 2")
    assert buffer.store([3]) == Stored(1, [])
    assert buffer.store([4]) == Stored(1, ["behind 2"])


def test_what_is_put_back_stands_in_front_with_its_messages() -> None:
    buffer = Buffer()
    buffer.store([1, 2])
    buffer.put_behind("message")
    buffer.store([3])
    taken = buffer.take(9)
    buffer.put_back(taken.events[1:], taken.due)
    assert buffer.take(9) == Taken([2], ["message"])
    assert buffer.take(9) == Taken([3])


class BufferAsAList(RuleBasedStateMachine):
    """The same operations on a list of events and messages."""

    @initialize(limit=st.none() | st.integers(0, 6), keep=st.sampled_from(["first", "last"]))
    def begin(self, limit: int | None, keep: Keep) -> None:
        self.buffer = Buffer(limit, keep)
        self.entries: list[tuple[str, Any]] = []
        self.number = 0
        self.dropped = 0

    def _numbers(self, count: int) -> list[int]:
        self.number += count
        return list(range(self.number - count, self.number))

    def _due(self) -> list[Any]:
        due = []
        while self.entries and self.entries[0][0] == "message":
            due.append(self.entries.pop(0)[1])
        return due

    @rule(count=st.integers(0, 9))
    def store(self, count: int) -> None:
        new = self._numbers(count)
        dropped, due = 0, []
        for event in new:
            if self.buffer.limit is not None and self._size() >= self.buffer.limit:
                dropped += 1
                if self.buffer.keep == "first" or not self.buffer.limit:
                    continue
                self.entries.pop(0)
                due += self._due()
            self.entries.append(("event", event))
        self.dropped += dropped
        assert self.buffer.store(new) == Stored(dropped, due)

    @rule()
    def put_behind(self) -> None:
        (message,) = self._numbers(1)
        assert self.buffer.put_behind(message) is bool(self.entries)
        if self.entries:
            self.entries.append(("message", message))

    @rule(most=st.integers(0, 9), put_back=st.integers(0, 9))
    def take(self, most: int, put_back: int) -> None:
        before = list(self.entries)
        events, due = [], []
        while self._size() and len(events) < most and not due:
            events.append(self.entries.pop(0)[1])
            due = self._due()
        taken = self.buffer.take(most)
        assert taken == Taken(events, due)
        if 0 < put_back <= len(events):
            self.buffer.put_back(events[-put_back:], taken.due)
            self.entries = before[len(events) - put_back :]

    def _size(self) -> int:
        return sum(kind == "event" for kind, _ in self.entries)

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "buffer"):
            assert self.buffer.size == self._size()
            assert self.buffer.dropped == self.dropped


TestBufferAsAList = BufferAsAList.TestCase
TestBufferAsAList.settings = settings(max_examples=50, deadline=None)
