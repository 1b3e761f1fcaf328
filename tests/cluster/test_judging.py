"""How histories of locks are judged: some that can have been, and some that can not."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from .judging import Interval, Stop, intervals, why_not_linearizable


def hold(token: int, asked: float, begin: float, end: float) -> Interval:
    return Interval(token, begin, end, asked)


@pytest.mark.parametrize(
    ("slots", "history"),
    [
        (1, []),
        (1, [hold(1, 0, 1, 2), hold(2, 0, 2, 3), hold(3, 5, 5, 6)]),
        # One comes in the moment another leaves.
        (1, [hold(1, 0, 0, 4), hold(2, 1, 4, 5)]),
        # Told late: the one that was granted first began after the second had left.
        (2, [hold(1, 0, 2, 3), hold(2, 0, 1, 1.5)]),
    ],
)
def test_what_a_lock_can_have_done_is_linearizable(slots: int, history: list[Interval]) -> None:
    assert why_not_linearizable(history, slots) is None


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ([hold(1, 0, 1, 3), hold(2, 0, 2, 4)], "2 held 1 slots at once"),
        ([hold(1, 0, 1, 2), hold(1, 2, 3, 4)], "the token 1 was given twice"),
        ([hold(2, 0, 1, 2), hold(1, 3, 4, 5)], "the token 1 was asked for after a later one was there"),
        # They did not work at once; but by its token, the first had the slot before the second came.
        ([hold(1, 0, 3, 4), hold(2, 0, 1, 2)], "2 held 1 slots at once"),
    ],
)
def test_what_a_lock_of_one_slot_can_not_have_done_is_not(history: list[Interval], why: str) -> None:
    assert why_not_linearizable(history, 1) == why


def possible(history: list[Interval], slots: int) -> bool:
    """The same by trying: at every order of acquires and releases that keeps what came after what."""
    acquires = [("acquire", each.token, each.asked, each.begin) for each in history]
    releases = [("release", each.token, each.end, float("inf")) for each in history]
    for order in itertools.permutations(acquires + releases):
        now, held, last, fits = float("-inf"), 0, 0, True
        for kind, token, first, latest in order:
            now = max(now, first)
            held += 1 if kind == "acquire" else -1
            fits = fits and now <= latest and held <= slots and (kind == "release" or token > last)
            last = token if kind == "acquire" else last
        if fits:
            return True
    return not history


def test_the_judge_agrees_with_trying_every_order() -> None:
    numbers = random.Random(7)
    verdicts = []
    for _ in range(300):
        history = []
        for token in numbers.sample(range(1, 10), 3):
            asked, begin, end = sorted(numbers.sample(range(20), 3))
            history.append(hold(token, asked, begin, end))
        slots = numbers.choice([1, 2])
        verdicts.append(possible(history, slots))
        assert (why_not_linearizable(history, slots) is None) == verdicts[-1], history
    assert 30 < sum(verdicts) < 270


def test_a_hold_of_a_program_that_stood_still_counts_until_then(tmp_path: Path) -> None:
    lines = ["begin 1 1.0 0.5", "begin 2 1.5 1.0", "lost 1 8.1", "end 2 8.1", "begin 3 8.1 2.0", "lost 3 8.2"]
    lines += ["begin 4 8.1 8.05", "end 4 9.0", "begin 5 9.5 9.0"]
    file = tmp_path / "one"
    file.write_text("\n".join(lines), encoding="ascii")
    found = intervals([file], {"one": 12.0}, 20.0, [Stop("one", 4.0, 8.0), Stop("other", 2.0, 12.0)])
    assert found == [
        hold(1, 0.5, 1, 4),
        hold(2, 1.0, 1.5, 4),
        hold(3, 2.0, 8.1, 8.1),
        hold(4, 8.05, 8.1, 9),
        hold(5, 9.0, 9.5, 12),
    ]
