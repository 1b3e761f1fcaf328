from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import user_sync
from resprout import Application, GenServer, Pid, process, sys
from resprout.stages import Ask, Events, From, Subscribe, demand
from user_sync import backlog as backlog_module
from user_sync import job, worker
from user_sync.backlog import Again, Backlog, Done, PutBack
from user_sync.job import NotExact, SyncJob
from user_sync.ledger import Ledger, Visit, overlaps
from user_sync.requests import Request, make_requests

from ..waiting import await_end, down_of

TREE = Path(user_sync.__file__).parents[1] / "tree.yaml"
WATCHDOG = 30.0


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of the test's own, as that of a run begins."""
    ours = Ledger()
    for module in (backlog_module, job, worker):
        monkeypatch.setattr(module, "ledger", ours)
    return ours


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


@pytest.mark.parametrize("count", [0, 1])
def test_with_nothing_to_do_or_hardly_anything_the_tree_ends_in_peace(count: int, ours: Ledger) -> None:
    application = Application.load(TREE, {"count": str(count)})
    application.start()
    assert application.wait(WATCHDOG) == "shutdown"
    assert ours.is_finished()
    assert ours.done() == count
    assert ("nothing to do" in application.job.summary()) is (count == 0)


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
    demand(pid, "forward")
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
    syncs = SyncJob(1, 50)
    assert syncs.progress().total == 50
    report = syncs.report()
    assert report["asked"] == 50
    assert report["overlaps"] == 0
    assert "of 50 syncs" in syncs.summary()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("wrong_counts", 3, "3 users were not synced as often as they were asked for"),
        ("overlaps", 1, "1 times two workers were at work on the same user at once"),
    ],
)
def test_each_promise_is_checked(field: str, value: int, reason: str) -> None:
    good = SyncJob(1, 50).result()
    good.check()
    with pytest.raises(NotExact, match=reason):
        attrs.evolve(good, **{field: value}).check()


@pytest.mark.parametrize(
    ("asked", "finished", "wrong"),
    [([1], True, 2), ([1], False, 1), ([2, 2, 3], False, 0), ([2, 2, 3], True, 2)],
)
def test_what_is_not_done_yet_is_wrong_only_when_the_backlog_says_that_all_is(
    monkeypatch: pytest.MonkeyPatch, ours: Ledger, asked: list[int], finished: bool, wrong: int
) -> None:
    ours.carry_out(Request(0, 2, 0.0, None))
    if finished:
        ours.finish()
    requests = [Request(number, user, 0.0, None) for number, user in enumerate(asked)]
    monkeypatch.setattr(job, "make_requests", lambda seed, count: requests)
    assert SyncJob(1, 1).result().wrong_counts == wrong


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="expected count to be 0 or more, got: -5"):
        SyncJob(1, -5)
