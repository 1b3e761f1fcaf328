"""Celery: tasks on the threads of a worker, more of them than there are slots."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging

from resprout import throttle

MakeRoom = Callable[[int], Any]
SOON = 20.0
CONCURRENCY = 8
CROWD = 30


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(
        broker_transport_options={"polling_interval": 0.005},
        worker_redirect_stdouts=False,
    )
    # With somebody else in charge of logging, Celery leaves the levels and handlers of all others alone.
    setup_logging.connect(leave_alone)
    yield app
    setup_logging.disconnect(leave_alone)


def leave_alone(**_: Any) -> None:
    """Set nothing up."""


@contextmanager
def worker_of(app: Celery) -> Iterator[None]:
    """A worker of so many threads, which knows the tasks that the application has by now."""
    with start_worker(app, pool="threads", concurrency=CONCURRENCY, perform_ping_check=False) as worker:
        try:
            yield
        finally:
            # A warm shutdown; what start_worker does by itself leaves the threads of the pool.
            app.control.shutdown()
            worker.pool.executor.shutdown()


def results_of(calls: list[Any]) -> list[Any]:
    return [call.get(timeout=SOON, interval=0.005, propagate=False) for call in calls]


def block(room: Any) -> Callable[..., str]:
    def task(self: Any) -> str:
        with throttle.slot(room.name):
            return room.work()

    return task


def limited(room: Any) -> Callable[..., str]:
    @throttle.limited(room.name)
    def task(self: Any) -> str:
        return room.work()

    return task


def coroutine(room: Any) -> Callable[..., str]:
    async def work() -> str:
        async with throttle.slot(room.name):
            return await room.awork()

    def task(self: Any) -> str:
        return asyncio.run(work())

    return task


@pytest.mark.parametrize("form", [block, limited, coroutine])
def test_a_worker_with_more_threads_than_slots_has_as_many_tasks_at_work_as_there_are_slots(
    room: MakeRoom, app: Celery, form: Callable[[Any], Callable[..., str]]
) -> None:
    db = room(2)
    task = app.task(bind=True, name=f"{form.__name__} of {db.name}")(form(db))
    with worker_of(app):
        calls = [task.delay() for _ in range(CROWD)]
        asyncio.run(db.until(lambda: db.state.waiting == CONCURRENCY - 2 and db.inside == 2))
        db.open.set()
        assert results_of(calls) == ["done"] * CROWD
    assert db.most == 2
    assert db.visits == CROWD
    assert db.empty


def test_what_a_task_calls_is_nested_in_its_slot(room: MakeRoom, app: Celery) -> None:
    db = room(1)
    db.open.set()
    task = app.task(name=f"nested in {db.name}")
    by_coroutine = coroutine(db)

    @task
    @throttle.limited(db.name)
    def work() -> list[Any]:
        return [throttle.run(db.name, db.work), by_coroutine(None), db.state.used]

    with worker_of(app):
        assert results_of([work.delay() for _ in range(CROWD)]) == [["done", "done", 1]] * CROWD
    assert db.most == 1
    assert db.empty


def test_a_limited_task_keeps_its_name_and_takes_its_arguments(room: MakeRoom, app: Celery) -> None:
    db = room(1)

    @app.task
    @throttle.limited(db.name)
    def add(first: int, second: int = 2) -> int:
        return first + second

    assert add.name == f"{__name__}.add"
    with worker_of(app):
        *sums, error = results_of([add.delay(1), add.delay(1, second=1), add.delay()])
    assert sums == [3, 2]
    assert isinstance(error, TypeError)
    assert db.empty


def test_tasks_that_fail_and_tasks_that_are_retried_give_their_slots_back(
    room: MakeRoom, app: Celery
) -> None:
    db = room(1)
    tries: list[int] = []
    guard = threading.Lock()

    @app.task(bind=True, max_retries=2)
    @throttle.limited(db.name)
    def work(self: Any, number: int) -> int:
        with db.entered(), guard:
            tries.append(number)
        if number % 2:
            raise ValueError(number)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return number

    with worker_of(app):
        results = results_of([work.delay(number) for number in range(6)])
    assert [result if isinstance(result, int) else str(result) for result in results] == [
        0, "1", 2, "3", 4, "5",
    ]  # fmt: skip
    assert sorted(tries) == [0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5]
    assert db.most == 1
    assert db.empty
