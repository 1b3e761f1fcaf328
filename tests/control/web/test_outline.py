"""What a page shows of a tree, and of a lock over time."""

from __future__ import annotations

import pytest

from resprout import throttle
from resprout.control.system import RunningSystem
from resprout.control.web.lock_history import POINTS, LockHistory
from resprout.control.web.outline import Rates, outline


def test_a_rate_is_what_was_handled_since_the_last_look() -> None:
    rates = Rates()
    assert rates.take({"<0.1>": 100, "<0.2>": None}, 10.0) == {"<0.1>": None, "<0.2>": None}
    assert rates.take({"<0.1>": 150, "<0.3>": 7}, 12.0) == {"<0.1>": 25.0, "<0.3>": None}
    assert rates.take({"<0.1>": 150}, 12.0) == {"<0.1>": None}


def test_a_look_beyond_the_end_shows_the_last_row(system: RunningSystem) -> None:
    told = outline(system.application.root, Rates(), offset=10**6, limit=10)
    assert (told["total"], told["offset"], told["order"]) == (9, 8, ["pool"])


def test_there_is_nothing_to_show_before_the_start_and_after_the_end() -> None:
    assert outline(None, Rates(), offset=5, limit=10) == {"total": 0, "offset": 5, "order": [], "rows": {}}


def test_when_a_process_was_started_does_not_change_with_the_time_of_looking(system: RunningSystem) -> None:
    first, second = (outline(system.application.root, Rates(), offset=0, limit=10)["rows"] for _ in range(2))
    assert [row["since"] for row in first.values()] == [row["since"] for row in second.values()]


@pytest.fixture
def history(system: RunningSystem) -> LockHistory:
    made = LockHistory()
    made.watch("kafka")
    yield made
    made.leave("kafka")


def test_a_lock_has_so_many_points_and_no_more(history: LockHistory) -> None:
    for moment in range(POINTS + 10):
        points = history.points("kafka", float(moment))
    assert (len(points), next(iter(points))) == (POINTS, "11")


def test_points_are_taken_once_though_several_look(history: LockHistory) -> None:
    assert history.points("kafka", 1.0) == history.points("kafka", 1.1)
    assert len(history.points("kafka", 1.3)) == 2


def test_a_point_tells_how_many_and_how_long(history: LockHistory) -> None:
    history.points("kafka", 1.0)
    for _ in range(3):
        with throttle.slot("kafka"):
            pass
    point = history.points("kafka", 2.0)["2"]
    assert (point[3], point[6]) == (3, 3)
    assert all(0 <= seconds < 5 for seconds in (*point[4:6], *point[7:9]))
    assert history.points("kafka", 3.0)["3"][3:] == [0, None, None, 0, None, None]


def test_a_lock_that_is_gone_has_the_points_that_it_had(history: LockHistory) -> None:
    history.points("kafka", 1.0)
    history.watch("gone")
    assert history.points("gone", 1.0) == {}
    history.leave("gone")
    assert history.points("gone", 2.0) == {}
    assert list(history.points("kafka", 1.0)) == ["1"]
