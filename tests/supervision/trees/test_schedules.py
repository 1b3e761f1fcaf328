"""Functions that run again and again: the `every:` of a worker."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout.actors import process
from resprout.supervision import Application
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.schedules import Schedule
from resprout.testing import ManualClock, await_restart

MODULE = """
import asyncio
from queue import SimpleQueue
from resprout import process

begun = SimpleQueue()
may_end = SimpleQueue()

def work(what="run"):
    begun.put((what, process.current()))

async def awork():
    begun.put(("awork", asyncio.get_running_loop()))

def slow():
    begun.put("slow")
    may_end.get(timeout=10.0)

def failing():
    begun.put("failing")
    raise RuntimeError("no such table")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "schedmod.py").write_text(MODULE)
    import schedmod  # type: ignore[import-not-found]

    yield schedmod
    sys.modules.pop("schedmod", None)


@pytest.fixture
def start(module: Any) -> Iterator[Any]:
    """Starts a tree of one worker on a clock that stands still, and stops it in the end."""
    started: list[Application] = []

    def start(options: str) -> Application:
        Path("tree.yaml").write_text(f"children: [{{worker: w, {options}}}]")
        started.append(Application.load("tree.yaml"))
        started[-1].start()
        return started[-1]

    yield start
    for application in started:
        application.stop(timeout=10.0)


@pytest.fixture
def clock() -> Iterator[ManualClock]:
    with ManualClock() as clock:
        yield clock


def got(queue: SimpleQueue[Any]) -> Any:
    return queue.get(timeout=10.0)


class TestTimes:
    def test_runs_are_due_at_fixed_times(self) -> None:
        schedule = Schedule(every=10.0, first=3.0)
        assert [schedule.due(run, 0.0) for run in range(3)] == [3.0, 13.0, 23.0]
        # However late it begins or ends, the next one is on time.
        assert [schedule.next_run(0, elapsed) for elapsed in (3.0, 3.5, 12.9, 13.0)] == [1, 1, 1, 1]

    def test_a_run_whose_time_has_passed_is_left_out(self) -> None:
        schedule = Schedule(every=10.0, first=0.0)
        assert [schedule.next_run(0, elapsed) for elapsed in (10.1, 20.0, 35.0)] == [2, 2, 4]

    def test_jitter_delays_a_run_and_not_those_after_it(self) -> None:
        schedule = Schedule(every=10.0, first=5.0, jitter=4.0)
        assert [schedule.due(1, chance) for chance in (0.0, 0.5, 1.0)] == [15.0, 17.0, 19.0]

    @given(st.floats(0.001, 1e6), st.floats(0.0, 1e6), st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20))
    def test_numbers_rise_and_no_run_is_due_before_the_end_of_the_last(
        self, every: float, first: float, durations: list[float]
    ) -> None:
        schedule = Schedule(every, first)
        now, last = 0.0, -1
        for duration in durations:
            run = schedule.next_run(last, now)
            assert run > last
            assert schedule.due(run, 0.0) >= now - 1e-6 * max(1.0, now)
            now, last = max(now, schedule.due(run, 0.0)) + duration, run


class TestWorkers:
    def test_it_runs_first_after_its_time_and_then_again_and_again_in_one_process(
        self, module: Any, clock: ManualClock, start: Any
    ) -> None:
        start("run: 'schedmod:work', args: {what: x}, every: 5m, name: w")
        clock.advance(299.0)
        assert module.begun.empty()
        clock.advance(1.0)
        first = got(module.begun)
        assert first == ("x", process.whereis("w"))
        clock.advance(300.0)
        assert got(module.begun) == first

    def test_the_first_run_may_be_at_once(self, module: Any, start: Any) -> None:
        start("run: 'schedmod:work', every: 1h, first: 0")
        assert got(module.begun)[0] == "run"

    def test_a_coroutine_function_runs_on_an_event_loop(self, module: Any, start: Any) -> None:
        start("run: 'schedmod:awork', every: 10ms")
        first, second = got(module.begun), got(module.begun)
        assert first == second

    def test_it_has_no_thread_while_it_waits(self, module: Any, clock: ManualClock, start: Any) -> None:
        start("run: 'schedmod:work', every: 1h, replicas: 200")
        assert threading.active_count() < 100

    def test_runs_do_not_overlap_and_missed_ones_are_not_made_up(
        self, module: Any, clock: ManualClock, start: Any
    ) -> None:
        start("run: 'schedmod:slow', every: 10s, name: w")
        clock.advance(10.0)
        assert got(module.begun) == "slow"
        clock.advance(25.0)  # The runs of 20 s and 30 s are missed.
        module.may_end.put(None)
        clock.advance(4.0)
        assert module.begun.empty()
        clock.advance(1.0)
        assert got(module.begun) == "slow"
        module.may_end.put(None)

    def test_a_failure_restarts_it_and_its_schedule_begins_anew(
        self, module: Any, clock: ManualClock, start: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        start("run: 'schedmod:failing', every: 10s, name: w")
        before = process.whereis("w")
        clock.advance(10.0)
        assert got(module.begun) == "failing"
        await_restart(before)
        assert "no such table" in caplog.text
        clock.advance(9.0)
        assert module.begun.empty()
        clock.advance(1.0)
        assert got(module.begun) == "failing"

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ("run: 'schedmod:work', every: 0", "every: expected a time > 0, got: 0"),
            ("run: 'schedmod:work', every: often", "every: expected a time such as 5s"),
            (
                "run: 'schedmod:work', every: 5s, jitter: 5s",
                "jitter: expected less than every, 5 s, got: 5 s",
            ),
            ("run: 'schedmod:work', first: 5s", "first: expected it only together with every:"),
            ("run: 'schedmod:work', jitter: 5s", "jitter: expected it only together with every:"),
            ("start: 'schedmod:work', every: 5s", "every: expected it only together with run:"),
            (
                "run: 'schedmod:work', every: 5s, ready_timeout: 1s",
                "ready_timeout: expected none beside every:",
            ),
        ],
    )
    def test_mistakes_are_told_with_their_places(self, module: Any, options: str, expected: str) -> None:
        Path("tree.yaml").write_text(f"children: [{{worker: w, {options}}}]")
        with pytest.raises(InvalidTree) as raised:
            Application.load("tree.yaml")
        [line] = str(raised.value).splitlines()
        assert expected in line
