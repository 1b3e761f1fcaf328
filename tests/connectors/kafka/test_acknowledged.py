"""Up to where all messages of a partition were acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from resprout.connectors.kafka.acknowledged import Acknowledged


def test_nothing_is_done_before_the_first_message_is() -> None:
    offsets = Acknowledged()
    for offset in (5, 6, 9):
        offsets.gave(offset)
    offsets.ack(9)
    offsets.ack(6)
    assert (offsets.position, offsets.open) == (None, 1)
    offsets.ack(5)
    assert (offsets.position, offsets.open) == (10, 0)


def test_what_was_not_given_out_or_is_done_is_no_news() -> None:
    offsets = Acknowledged()
    offsets.ack(1)
    for offset in (3, 5):
        offsets.gave(offset)
    for offset in (3, 3, 4, 7):
        offsets.ack(offset)
    assert (offsets.position, offsets.open) == (4, 1)


@given(some.lists(some.integers(0, 30), unique=True, min_size=1).map(sorted), some.randoms())
def test_the_position_is_behind_the_longest_beginning_that_is_done(given: list[int], chance: object) -> None:
    offsets = Acknowledged()
    for offset in given:
        offsets.gave(offset)
    order = list(given)
    chance.shuffle(order)  # type: ignore[attr-defined]
    done: set[int] = set()
    for offset in order:
        offsets.ack(offset)
        done.add(offset)
        beginning = 0
        while beginning < len(given) and given[beginning] in done:
            beginning += 1
        assert offsets.position == (given[beginning - 1] + 1 if beginning else None)
        assert offsets.open == len(given) - len(done)
