from __future__ import annotations

from collections.abc import Iterator

import pytest

from resprout import GenServer, Pid, process, sys
from resprout.stages import Ask, Events, From, Subscribe
from user_sync.backlog import Again, Backlog, Done, PutBack
from user_sync.job import SyncJob
from user_sync.ledger import Ledger, Visit, overlaps
from user_sync.requests import Request, make_requests

from ..waiting import await_end, down_of

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


class Worker:
    """The calling thread as a consumer that asks for one request at a time."""

    def __init__(self, backlog: Pid) -> None:
        self._backlog = backlog
        self._me = From(process.current(), process.monitor(backlog))
        backlog.send(Subscribe(self._me, {"max_demand": 1, "min_demand": 0, "cancel": "permanent"}))

    def ask(self) -> None:
        self._backlog.send(Ask(self._me, 1))

    def get(self) -> Request:
        [request] = process.receive(lambda message: isinstance(message, Events), timeout=WATCHDOG).events
        assert isinstance(request, Request)
        return request

    def take(self) -> Request:
        self.ask()
        return self.get()


@pytest.fixture
def backlog() -> Iterator[Pid]:
    pid = Backlog.start({"seed": 1, "count": 3})
    yield pid
    if pid.alive:
        await_end(pid)


def test_the_backlog_ends_when_all_is_done(backlog: Pid) -> None:
    ref = process.monitor(backlog)
    worker = Worker(backlog)
    for number in range(3):
        request = worker.take()
        assert request.number == number
        GenServer.cast(backlog, Done(request))
    assert down_of(ref).reason == "normal"


def test_a_worker_gets_what_it_asks_for_and_no_more(backlog: Pid) -> None:
    worker = Worker(backlog)
    assert worker.take().number == 0
    assert [request.number for request in sys.get_state(backlog).lent] == [0]
    assert [request.number for request in sys.get_state(backlog).queue] == [1, 2]


def test_what_a_dead_worker_had_goes_back_on_the_queue(backlog: Pid) -> None:
    taken: list[Request] = []
    _, ref = process.spawn_monitor(lambda: taken.append(Worker(backlog).take()))
    down_of(ref)
    worker = Worker(backlog)
    numbers = [worker.take().number for _ in range(3)]
    assert [request.number for request in taken] == [0]
    assert numbers == [1, 2, 0]


def test_what_a_worker_had_not_even_looked_at_goes_back_as_well(backlog: Pid) -> None:
    _, ref = process.spawn_monitor(lambda: Worker(backlog).ask())
    down_of(ref)
    worker = Worker(backlog)
    assert [worker.take().number for _ in range(3)] == [1, 2, 0]


def test_the_demand_of_a_worker_that_died_while_it_waited_takes_no_request_along(backlog: Pid) -> None:
    first = Worker(backlog)
    for _ in range(3):
        request = first.take()
    _, ref = process.spawn_monitor(lambda: Worker(backlog).ask())
    down_of(ref)
    backlog.send(Again(request))
    assert first.take() == request


def test_what_is_put_back_comes_up_when_its_time_has_come(backlog: Pid) -> None:
    worker = Worker(backlog)
    first = worker.take()
    GenServer.cast(backlog, PutBack(first))
    assert [worker.take().number for _ in range(2)] == [1, 2]
    # Nothing is on the queue now: the answer comes with the clock's message.
    worker.ask()
    assert sys.get_state(backlog).demand == 1
    backlog.send(Again(first))
    assert worker.get() == first


def test_an_answer_that_came_too_late_is_not_counted(backlog: Pid) -> None:
    stranger = Request(1, 1, 0.0, None)
    GenServer.cast(backlog, Done(stranger))
    worker = Worker(backlog)
    assert len([worker.take() for _ in range(3)]) == 3


def test_the_job_compares_what_was_asked_with_what_was_done() -> None:
    job = SyncJob("1", "50")
    assert job.progress().total == 50
    report = job.report()
    assert report["asked"] == 50
    assert report["overlaps"] == 0
    assert "of 50 syncs" in job.summary()
