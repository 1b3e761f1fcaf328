"""The life of a job, step by step: who gets it, what comes of it, and what becomes of it if nothing comes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import job_queue.table as table_module
from job_queue.executor import DIED, execute
from job_queue.job import Cancel, Discard, Job, Snooze, Unique, Worker
from job_queue.mails import Unsubscribed
from job_queue.proof import Proof, is_right
from job_queue.queue import Queue
from job_queue.table import LOST, Table
from resprout import GenServer, Ok, Shutdown, process
from resprout import sys as resprout_sys
from resprout.stages import Consumer, subscribe

from ..waiting import WATCHDOG, down_of


class Anything(Worker):
    """Does what its test says."""

    max_attempts = 3
    outcome: Any = None

    def perform(self, job: Job) -> Any:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def backoff(self, attempt: int) -> float:
        return 0.0


class Once(Anything):
    unique = Unique()


class OncePerNumber(Anything):
    unique = Unique(keys=("n",))


class OncePerHour(Anything):
    unique = Unique(period=3600.0, states=("available", "completed", "discarded"))


class OnceInNoTime(Anything):
    unique = Unique(period=0.0)


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = str(tmp_path / "jobs.db")
    Table(path).create()
    return path


@pytest.fixture
def table(database: str) -> Table:
    table = Table(database)
    table.give_sign_of_life("here")
    return table


@pytest.fixture
def perform(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take the one job that is due and have it carried out."""

    def perform(outcome: object) -> Job:
        monkeypatch.setattr(Anything, "outcome", outcome)
        table = Table(database)
        table.stage()
        (job,) = table.fetch(10, "here")
        execute(job, database)
        return only(table)

    return perform


def only(table: Table) -> Job:
    (job,) = table.jobs()
    return job


# Unique jobs


def test_jobs_are_not_unique_unless_their_worker_says_so(table):
    assert table.insert(Anything, {"n": 1}).id != table.insert(Anything, {"n": 1}).id


def test_a_unique_job_is_inserted_once_and_its_second_insertion_is_a_conflict(table):
    first, second = table.insert(Once, {"n": 1, "m": 2}), table.insert(Once, {"m": 2, "n": 1})
    assert (first.conflict, second.conflict) == (False, True)
    assert second.id == first.id == only(table).id


def test_other_arguments_and_other_workers_make_another_job(table):
    jobs = [table.insert(Once, {"n": 1}), table.insert(Once, {"n": 2}), table.insert(OncePerHour, {"n": 1})]
    assert len({job.id for job in jobs}) == 3


def test_only_the_arguments_that_are_keys_count(table):
    jobs = [table.insert(OncePerNumber, {"n": n, "m": m}) for n, m in [(1, 1), (1, 2), (2, 1)]]
    assert [job.conflict for job in jobs] == [False, True, False]


def test_a_job_is_unique_for_its_period_and_in_its_states_only(table):
    assert not table.insert(OnceInNoTime, {}).conflict
    assert not table.insert(OnceInNoTime, {}).conflict
    assert not table.insert(OncePerHour, {}).conflict
    assert table.insert(OncePerHour, {}).conflict
    for job in table.fetch(10, "here"):
        table.give_up(job, Cancel("no"))
    assert not table.insert(OncePerHour, {}).conflict


def test_of_many_who_insert_a_unique_job_at_once_one_does(table):
    start, inserted = threading.Barrier(8), []

    def insert() -> None:
        start.wait(WATCHDOG)
        inserted.append(table.insert(Once, {}))

    run_all([threading.Thread(target=insert) for _ in range(8)])
    assert sorted(job.conflict for job in inserted) == [False] + [True] * 7
    assert {job.id for job in inserted} == {only(table).id}


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WATCHDOG)


# Taking them


def test_a_job_is_taken_once_however_many_want_it(table):
    for number in range(40):
        table.insert(Anything, {"n": number})
    start, taken = threading.Barrier(8), []

    def take() -> None:
        start.wait(WATCHDOG)
        while jobs := table.fetch(3, "here"):
            taken.extend(jobs)

    run_all([threading.Thread(target=take) for _ in range(8)])
    assert sorted(job.args["n"] for job in taken) == list(range(40))
    assert table.counts() == {"executing": 40}


def test_a_job_that_is_scheduled_is_available_when_its_time_has_come(table):
    table.insert(Anything, {}, schedule_in=3600.0)
    table.insert(Anything, {}, schedule_in=-1.0)
    assert table.fetch(10, "here") == []
    table.stage()
    assert [job.id for job in table.fetch(10, "here")] == [2]
    assert table.counts() == {"scheduled": 1, "executing": 1}


# What comes of them


def test_a_job_whose_worker_returns_is_completed(table, perform):
    table.insert(Anything, {})
    job = perform("whatever")
    assert (job.state, job.attempt, job.errors) == ("completed", 1, ())


def test_a_job_that_raises_is_retryable_until_its_last_attempt_and_then_discarded(table, perform):
    table.insert(Anything, {})
    seen = [perform(ValueError(f"attempt {number}")) for number in (1, 2, 3)]
    assert [job.state for job in seen] == ["retryable", "retryable", "discarded"]
    assert [job.attempt for job in seen] == [1, 2, 3]
    assert seen[-1].errors == ("ValueError: attempt 1", "ValueError: attempt 2", "ValueError: attempt 3")
    table.stage()
    assert table.fetch(10, "here") == []


def test_a_job_that_is_snoozed_has_lost_no_attempt(table, perform):
    table.insert(Anything, {})
    for _ in range(5):
        assert perform(Snooze(0.0)).state == "scheduled"
    assert perform(ValueError("no")).state == "retryable"
    assert perform(None).state == "completed"


@pytest.mark.parametrize(("outcome", "state"), [(Cancel("no"), "cancelled"), (Discard("no"), "discarded")])
def test_a_job_that_is_given_up_is_not_attempted_again(table, perform, outcome, state):
    table.insert(Anything, {})
    job = perform(outcome)
    assert (job.state, job.attempt, job.errors) == (state, 1, ("no",))


def test_a_job_whose_worker_is_gone_has_failed(database, table):
    table.insert(type("Gone", (Worker,), {}), {})
    Worker.known.pop("Gone")
    execute(*table.fetch(1, "here"), database)
    assert "there is no worker 'Gone'" in only(table).errors[0]


@pytest.mark.parametrize("attempt", [1, 5, 1024, 10**6])
def test_the_time_before_another_attempt_is_a_minute_at_most(attempt):
    assert 0.02 <= Worker().backoff(attempt) <= 60.0


class BackoffFails(Anything):
    outcome = ValueError("no")

    def backoff(self, attempt: int) -> float:
        return 1.0 / (attempt - 1)


def test_a_worker_whose_backoff_fails_fails_no_more_than_its_job(database, table, caplog):
    table.insert(BackoffFails, {})
    execute(*table.fetch(1, "here"), database)
    job = only(table)
    assert (job.state, job.errors) == ("retryable", ("ValueError: no",))
    assert "BackoffFails.backoff(1) has failed" in caplog.text


# What becomes of them when their process or their program is gone


@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown("another day")])
def test_an_attempt_whose_process_ends_in_good_order_has_failed(database, table, monkeypatch, reason):
    monkeypatch.setattr(Anything, "perform", lambda self, job: process.exit(reason))
    table.insert(Anything, {})
    _, ref = process.spawn_monitor(execute, *table.fetch(1, "here"), database)
    assert down_of(ref).reason == reason
    job = only(table)
    assert (job.state, job.errors) == ("retryable", (DIED,))


def test_an_attempt_whose_process_is_started_again_has_failed(database, table, perform):
    table.insert(Anything, {})
    (job,) = table.fetch(1, "here")
    assert table.begin(job)
    execute(job, database)
    again = only(table)
    assert (again.state, again.errors) == ("retryable", (DIED,))
    assert perform(None).state == "completed"


def test_what_a_silent_node_had_taken_is_attempted_again_up_to_max_attempts(table):
    table.insert(Anything, {})
    for attempt in (1, 2, 3):
        (job,) = table.fetch(1, "a killed program")
        assert job.attempt == attempt
        assert table.rescue(silence=1.0) == 1
    job = only(table)
    assert (job.state, job.attempt, job.errors) == ("discarded", 3, (LOST,) * 3)


def test_what_a_node_with_signs_of_life_has_taken_is_left_alone(table):
    table.insert(Anything, {})
    table.fetch(1, "here")
    assert table.rescue(silence=3600.0) == 0
    assert table.rescue(silence=0.0) == 1
    assert only(table).state == "available"


@pytest.mark.parametrize("set_by", [60, -3600])
def test_a_clock_that_is_set_makes_nobody_dead_or_alive(table, monkeypatch, set_by):
    table.insert(Anything, {})
    table.fetch(1, "here")
    for name in ("NOW", "FAIL"):
        of_a_clock = getattr(table_module, name).replace("'now'", f"'now', '{set_by} seconds'")
        monkeypatch.setattr(table_module, name, of_a_clock)
    assert table.rescue(silence=30.0) == 0
    uptime = table_module.time.monotonic
    monkeypatch.setattr(table_module, "time", SimpleNamespace(monotonic=lambda: uptime() + 31.0))
    assert table.rescue(silence=30.0) == 1


def test_what_was_taken_before_the_machine_was_started_is_attempted_again(table, monkeypatch):
    table.insert(Anything, {})
    table.fetch(1, "here")
    monkeypatch.setattr(table_module, "time", SimpleNamespace(monotonic=lambda: 0.5))
    table.give_sign_of_life("another")
    assert table.rescue(silence=30.0) == 1


def test_a_node_that_is_silent_is_forgotten(table):
    table.rescue(silence=3600.0)
    assert len(table._read("SELECT * FROM nodes")) == 1
    table.rescue(silence=0.0)
    assert table._read("SELECT * FROM nodes") == []


class Idle(Consumer):
    """Asks for jobs, of which there are none."""

    def init(self, arg: object) -> Ok:
        return Ok(arg)


def test_a_queue_looks_no_more_often_when_more_workers_subscribe(database, monkeypatch):
    signs = []
    monkeypatch.setattr(Table, "give_sign_of_life", lambda self, node: signs.append(node))
    queue = Queue.start({"database": database, "poll": 3600.0, "drain": False})
    workers = [Idle.start() for _ in range(3)]
    for worker in workers:
        subscribe(worker, queue, cancel="temporary")
    resprout_sys.get_state(queue)  # so it has handled all before
    resprout_sys.get_state(queue)
    assert len(signs) == 2  # when it began, and at its first look
    for pid in (*workers, queue):
        GenServer.stop(pid)


@pytest.mark.parametrize(
    "late",
    [
        lambda table, job: table.begin(job),
        lambda table, job: table.complete(job),
        lambda table, job: table.fail(job, "no", 0.0),
        lambda table, job: table.snooze(job, Snooze(0.0)),
        lambda table, job: table.give_up(job, Cancel("no")),
    ],
)
def test_whoever_comes_late_changes_nothing(table, late):
    table.insert(Anything, {})
    (first,) = table.fetch(1, "a killed program")
    table.rescue(silence=1.0)
    rescued = only(table)
    assert not late(table, first)
    assert only(table) == rescued
    (second,) = table.fetch(1, "here")
    assert not late(table, first)
    assert late(table, second)


# The proof


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"attempt": 3, "errors": ("a", "b")}, True),
        ({"attempt": 3, "errors": ("a",), "max_attempts": 21}, True),
        ({"state": "available", "attempt": 0}, True),
        ({"state": "discarded"}, False),
        ({"attempt": 2}, False),
        ({"errors": ("a",)}, False),
    ],
)
def test_a_job_is_right_when_it_ended_as_it_should_and_each_attempt_is_accounted_for(change, right):
    good = {"id": 1, "worker": "Newsletter", "args": {}, "state": "completed", "attempt": 1}
    job = Job(**{**good, "max_attempts": 20, "errors": (), **change})
    assert is_right(job) is right


def mails(table: Table, numbers: range) -> list[Job]:
    return [table.insert(Unsubscribed, {"number": number, "seconds": 0.0}) for number in numbers]


def test_jobs_of_earlier_runs_are_among_those_that_there_should_be(database: str, table: Table) -> None:
    mails(table, range(20, 50))
    proof = Proof(database, twenties=1)
    assert (proof.progress().done, proof.progress().total) == (0, 30)
    assert "0 of 30 jobs have ended, each is there once" in proof.summary()


def test_what_was_not_done_yet_is_told(database: str, table: Table) -> None:
    proof = Proof(database, twenties=1)
    mails(table, range(5))
    for job in table.fetch(2, "here"):
        table.begin(job)
        table.give_up(job, Cancel("unsubscribed"))
    assert "2 of 20 jobs have ended, each is there once: 3 available, 2 cancelled" in proof.summary()
    assert (proof.report()["wrong"], proof.report()["ended_before"]) == ([], 0)


def test_a_run_that_has_found_nothing_left_to_do_says_so(database: str, table: Table) -> None:
    mails(table, range(20))
    for job in table.fetch(20, "here"):
        table.give_up(job, Cancel("unsubscribed"))
    for twenties in (0, 1):
        assert Proof(database, twenties).summary() == "nothing left to do: all 20 jobs had ended before"
    assert "20 of 40 jobs have ended" in Proof(database, twenties=2).summary()


def test_a_run_without_jobs_says_so(database: str) -> None:
    assert Proof(database, twenties=0).summary() == "nothing to do: there are no jobs"


def test_a_negative_number_of_jobs_is_refused(database: str) -> None:
    with pytest.raises(ValueError, match="expected twenties to be 0 or more, got: -3"):
        Proof(database, twenties=-3)
