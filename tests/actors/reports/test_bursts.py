from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resprout.actors.engine import Bursts, Summary


def test_the_first_of_a_kind_is_told_and_the_rest_of_a_burst_counted() -> None:
    bursts = Bursts(quiet_for=5.0)
    assert [bursts.tell("a", now) for now in (0.0, 1.0, 4.9)] == [0, None, None]
    assert bursts.tell("b", 4.9) == 0
    assert bursts.tell("a", 5.0) == 2


def test_what_was_held_back_is_told_by_a_flush() -> None:
    bursts = Bursts()
    for kind in "aabaab":
        bursts.tell(kind, 0.0)
    assert bursts.flush() == [Summary("a", 3), Summary("b", 1)]
    assert bursts.flush() == []


def test_only_so_many_kinds_are_remembered() -> None:
    bursts = Bursts(kinds=2)
    for kind in "ab":
        bursts.tell(kind, 0.0)
    assert not bursts.overfull()
    bursts.tell("c", 0.0)
    assert bursts.overfull()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3, allow_nan=False)), max_size=60))
def test_no_report_is_lost_from_the_sum(reports: list[tuple[str, float]]) -> None:
    bursts, now, total = Bursts(quiet_for=5.0), 0.0, 0
    for kind, gap in reports:
        now += gap
        held = bursts.tell(kind, now)
        total += 0 if held is None else 1 + held
    total += sum(summary.count for summary in bursts.flush())
    assert total == len(reports)
