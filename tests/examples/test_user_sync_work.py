from __future__ import annotations

from typing import Any

import pytest

from resprout import GenServer, process
from user_sync.backlog import Again, Backlog, Done, PutBack, Take
from user_sync.job import SyncJob
from user_sync.ledger import Ledger, Visit, overlaps
from user_sync.requests import Request, make_requests

from ..waiting import down_of

WATCHDOG = 30.0


def test_the_same_seed_asks_for_the_same() -> None:
    assert make_requests(1, 100) == make_requests(1, 100)
    assert make_requests(1, 100) != make_requests(2, 100)
    assert [request.number for request in make_requests(1, 100)] == list(range(100))


def test_users_are_asked_for_again_and_again() -> None:
    users = [request.user for request in make_requests(1, 2000)]
    assert len(set(users)) < 300
    assert max(users.count(user) for user in set(users)) > 10


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ([], 0),
        ([Visit(1, 0, 1), Visit(1, 1, 2), Visit(2, 0, 2)], 0),
        ([Visit(1, 0, 2), Visit(1, 1, 3)], 1),
        ([Visit(1, 1, 3), Visit(1, 0, 2)], 1),
        ([Visit(1, 0, 9), Visit(1, 1, 2), Visit(1, 3, 4)], 2),
    ],
)
def test_overlaps_of_a_user_are_found(visits: list[Visit], expected: int) -> None:
    assert len(overlaps(visits)) == expected


def test_the_ledger_notes_a_visit_that_crashed() -> None:
    ledger = Ledger()
    with pytest.raises(ZeroDivisionError), ledger.visit(7):
        _ = 1 // 0
    assert [visit.user for visit in ledger.visits()] == [7]


def test_a_request_is_new_only_once() -> None:
    ledger = Ledger()
    request = Request(1, 7, 0.0, None)
    assert ledger.is_first(request)
    assert not ledger.is_first(request)
    assert not ledger.is_done(request)
    ledger.carry_out(request)
    ledger.carry_out(request)
    assert ledger.is_done(request)
    assert ledger.syncs() == {7: 1}


# The backlog, with this thread as its worker


@pytest.fixture
def backlog() -> Any:
    pid = Backlog.start({"seed": 1, "count": 3})
    yield pid
    if pid.alive:
        ref = process.monitor(pid)
        process.exit(pid, "kill")
        down_of(ref)


def test_the_backlog_ends_when_all_is_done(backlog: Any) -> None:
    ref = process.monitor(backlog)
    for number in range(3):
        request = GenServer.call(backlog, Take())
        assert request.number == number
        GenServer.cast(backlog, Done(request))
    down = down_of(ref)
    assert down.reason == "normal"


def test_what_a_dead_worker_had_goes_back_on_the_queue(backlog: Any) -> None:
    taken: list[Request] = []
    _, ref = process.spawn_monitor(lambda: taken.append(GenServer.call(backlog, Take())))
    down_of(ref)
    numbers = [GenServer.call(backlog, Take()).number for _ in range(3)]
    assert [request.number for request in taken] == [0]
    assert numbers == [1, 2, 0]


def test_what_is_put_back_comes_up_when_its_time_has_come(backlog: Any) -> None:
    first = GenServer.call(backlog, Take())
    GenServer.cast(backlog, PutBack(first))
    assert [GenServer.call(backlog, Take()).number for _ in range(2)] == [1, 2]
    # Nothing is on the queue now: the answer comes with the clock's message.
    waiting = GenServer.send_request(backlog, Take())
    assert not waiting.done()
    backlog.send(Again(first))
    assert waiting.result(WATCHDOG) == first


def test_an_answer_that_came_too_late_is_not_counted(backlog: Any) -> None:
    stranger = Request(1, 1, 0.0, None)
    GenServer.cast(backlog, Done(stranger))
    assert len([GenServer.call(backlog, Take()) for _ in range(3)]) == 3


def test_the_job_compares_what_was_asked_with_what_was_done() -> None:
    job = SyncJob("1", "50")
    assert job.progress().total == 50
    report = job.report()
    assert report["asked"] == 50
    assert report["overlaps"] == 0
    assert "of 50 syncs" in job.summary()
