"""``execute``: work in the slot workers of a lock."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from logging.handlers import QueueHandler
from typing import Any

import pykka
import pytest

from resprout import throttle
from resprout.actors import CallTimeout, LockNotFound, Pid, QueueFull, ServerExit, process
from resprout.throttle.lock.table import cores

from .gate import Gate

Lock = Callable[..., str]
SOON = 20.0
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")


def test_execute_runs_the_function_in_a_worker_that_holds_the_slot(lock: Lock) -> None:
    name = lock(1)
    held = throttle.execute(name, lambda: (process.current(), throttle.holders(name))).result(SOON)
    worker, (holder,) = held
    assert holder.pid is worker
    assert worker is not process.current()
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_an_idle_worker_is_used_again(lock: Lock) -> None:
    name = lock(3)
    workers = {throttle.execute(name, process.current).result(SOON) for _ in range(20)}
    assert len(workers) == 1


@pytest.mark.parametrize("waits", [False, True])
def test_a_worker_that_stands_idle_twice_gets_one_job_at_a_time(lock: Lock, waits: bool) -> None:
    """As after an exception that cut its last step, which was then repeated."""
    name = lock(2)
    throttle.execute(name, int).result(SOON)
    idle_workers = cores[name].idle_workers
    assert idle_workers is not None
    idle_workers.append(idle_workers[0])
    meet = threading.Barrier(2)

    def work() -> Pid:
        meet.wait(SOON)
        return process.current()

    if waits:
        # The jobs are given to workers by whoever frees the slots.
        throttle.acquire(name, weight=2)
    futures = [throttle.execute(name, work) for _ in range(2)]
    if waits:
        throttle.release(name)
    assert len({future.result(SOON) for future in futures}) == 2
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_never_more_workers_than_slots(lock: Lock) -> None:
    name = lock(3)
    workers: set[Pid] = set()
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        workers.add(process.current())
        running.append(1)
        most.append(len(running))
        running.pop()

    for future in [throttle.execute(name, work) for _ in range(300)]:
        future.result(SOON)
    assert max(most) <= 3
    assert len(workers) <= 3


def test_jobs_are_done_in_order(lock: Lock) -> None:
    name = lock(1)
    done: list[int] = []
    futures = [throttle.execute(name, done.append, number) for number in range(50)]
    for future in futures:
        future.result(SOON)
    assert done == list(range(50))


def test_an_exception_goes_to_the_future_and_frees_the_slot(lock: Lock) -> None:
    name = lock(1)
    future = throttle.execute(name, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        future.result(SOON)
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"


def test_contextvars_go_along(lock: Lock) -> None:
    name = lock(1)

    async def look() -> str:
        await asyncio.sleep(0)
        return colour.get()

    token = colour.set("green")
    futures = [throttle.execute(name, colour.get), throttle.execute(name, look)]
    colour.reset(token)
    assert [future.result(SOON) for future in futures] == ["green", "green"]


def test_a_coroutine_function_is_awaited_and_holds_the_slot(lock: Lock) -> None:
    name = lock(1)

    async def work(number: int) -> tuple[int, bool]:
        await asyncio.sleep(0)
        (holder,) = throttle.holders(name)
        async with throttle.slot(name):
            return number, holder.pid is process.current()

    assert throttle.execute(name, work, 5).result(SOON) == (5, True)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)

    async def fail() -> None:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        throttle.execute(name, fail).result(SOON)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_the_future_can_be_awaited_gathered_and_wrapped(lock: Lock) -> None:
    name = lock(2)

    async def main() -> list[Any]:
        first = await throttle.execute(name, lambda: 1)
        second = await throttle.aexecute(name, lambda: 2)
        third = await asyncio.wrap_future(throttle.execute(name, lambda: 3).as_concurrent())
        return [first, second, third]

    assert asyncio.run(main()) == [1, 2, 3]
    assert pykka.get_all([throttle.execute(name, lambda: 4), throttle.execute(name, lambda: 5)]) == [4, 5]


def test_an_aexecute_that_is_cancelled_leaves_the_line_or_lets_what_runs_go_on(
    lock: Lock, gate: Gate
) -> None:
    name = lock(1)

    async def main() -> None:
        at_work = asyncio.ensure_future(throttle.aexecute(name, gate))
        await asyncio.to_thread(gate.reached.wait, SOON)
        waits = asyncio.ensure_future(throttle.aexecute(name, lambda: pytest.fail("it was cancelled")))
        await asyncio.sleep(0)
        assert throttle.lock_state(name) == throttle.LockState(1, 1, 1)
        for each in (waits, at_work):
            each.cancel()
            with pytest.raises(asyncio.CancelledError):
                await each
        assert throttle.lock_state(name) == throttle.LockState(1, 0, 1)
        gate.open.set()
        assert await throttle.aexecute(name, lambda: "next") == "next"

    asyncio.run(main())
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_cancelling_a_job_that_waits_takes_it_out_of_the_line(lock: Lock) -> None:
    name = lock(1)
    done: list[str] = []
    with throttle.slot(name):
        future = throttle.execute(name, done.append, "cancelled")
        last = throttle.execute(name, done.append, "last")
        assert throttle.lock_state(name).waiting == 2
        assert future.cancel()
        assert future.cancel()
        assert throttle.lock_state(name).waiting == 1
    last.result(SOON)
    assert done == ["last"]
    with pytest.raises(CancelledError):
        future.result(SOON)


def test_a_job_that_runs_can_not_be_cancelled(lock: Lock, gate: Gate) -> None:
    name = lock(1)
    future = throttle.execute(name, gate)
    assert gate.reached.wait(SOON)
    assert not future.cancel()
    gate.open.set()
    assert future.result(SOON) == "done"


def test_the_timeout_of_a_job_comes_in_its_future(lock: Lock) -> None:
    name = lock(1)
    with throttle.slot(name):
        future = throttle.execute(name, lambda: None, timeout=0.01)
        with pytest.raises(CallTimeout, match=r"no slot within 0\.01 s"):
            future.result(SOON)
        assert throttle.lock_state(name).waiting == 0


def test_refusals_are_raised_at_the_call(lock: Lock) -> None:
    name = lock(1, max_waiting=1)
    with throttle.slot(name):
        waiting = throttle.execute(name, lambda: "served")
        with pytest.raises(QueueFull):
            throttle.execute(name, lambda: None)
    assert waiting.result(SOON) == "served"


def test_stop_lock_answers_jobs_in_the_line(lock: Lock) -> None:
    name = lock(1)
    throttle.acquire(name)
    future = throttle.execute(name, lambda: None)
    throttle.stop_lock(name)
    with pytest.raises(LockNotFound):
        future.result(SOON)


def test_a_worker_that_dies_answers_its_caller_and_frees_the_slot_when_it_has_left(
    lock: Lock, gate: Gate, end: Callable[..., object], line: Any
) -> None:
    name = lock(1)
    watch = line(name)
    future = throttle.execute(name, gate)
    assert gate.reached.wait(SOON)
    (holder,) = throttle.holders(name)
    end(holder.pid)
    with pytest.raises(ServerExit) as caught:
        future.result(SOON)
    assert caught.value.reason == "killed"
    assert throttle.lock_state(name).used == 1
    gate.open.set()
    watch.until(lambda: throttle.lock_state(name).used == 0)
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"


def test_a_function_that_ends_its_worker_gives_the_reason(lock: Lock) -> None:
    name = lock(1)
    future = throttle.execute(name, process.exit, "enough")
    with pytest.raises(ServerExit) as caught:
        future.result(SOON)
    assert caught.value.reason == "enough"
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"


def test_a_coroutine_job_that_is_killed_answers_its_caller(lock: Lock, end: Callable[..., object]) -> None:
    name = lock(1)
    inside = threading.Event()

    async def work() -> None:
        inside.set()
        await asyncio.sleep(3600)

    future = throttle.execute(name, work)
    assert inside.wait(SOON)
    (holder,) = throttle.holders(name)
    end(holder.pid)
    with pytest.raises(ServerExit):
        future.result(SOON)
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"


def test_jobs_and_callers_wait_in_one_line(lock: Lock, in_thread: Any, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    order: list[str] = []
    throttle.acquire(name)
    futures: list[Any] = [throttle.execute(name, order.append, "job 1")]
    futures.append(in_thread(throttle.run, name, order.append, "caller"))
    watch.until_waiting(2)
    futures.append(throttle.execute(name, order.append, "job 2"))
    futures.append(throttle.execute(name, order.append, "urgent", priority=1))
    throttle.release(name)
    for future in futures:
        future.result(SOON)
    assert order == ["urgent", "job 1", "caller", "job 2"]


def test_a_done_callback_may_wait_for_another_job_of_the_lock(lock: Lock) -> None:
    name = lock(1)
    go = threading.Event()
    inner: Future[Any] = Future()

    def after(done: Any) -> None:
        inner.set_result((done.result(), throttle.execute(name, lambda: "inner").result(SOON)))

    future = throttle.execute(name, lambda: go.wait(SOON) and "outer")
    future.add_done_callback(after)
    go.set()
    assert inner.result(SOON) == ("outer", "inner")


@pytest.fixture
def heard() -> Iterator[queue.Queue[logging.LogRecord]]:
    """What the room logs, as it comes."""
    records: queue.Queue[logging.LogRecord] = queue.Queue()
    handler = QueueHandler(records)
    # It would format the record, and drop the exception.
    handler.prepare = lambda record: record  # type: ignore[method-assign]
    logger = logging.getLogger("resprout.throttle")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


def test_a_done_callback_that_raises_is_reported_and_others_are_called(
    lock: Lock, heard: queue.Queue[logging.LogRecord]
) -> None:
    name = lock(1)
    go = threading.Event()
    called: Future[Any] = Future()

    def fail(done: Any) -> None:
        raise ValueError("of the callback")

    def forgotten(done: Any) -> None:
        raise AssertionError("it was taken away")

    future = throttle.execute(name, go.wait, SOON)
    for callback in (fail, forgotten, called.set_result):
        future.add_done_callback(callback)
    future.remove_done_callback(forgotten)
    go.set()
    assert called.result(SOON) is future
    late: list[Any] = []
    future.add_done_callback(late.append)
    assert late == [future], "at once when it has ended"
    record = heard.get(timeout=SOON)
    assert record.getMessage() == f"a callback of {future!r} raised"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "of the callback"
    assert heard.empty()


def test_a_future_of_a_job_may_be_given_to_concurrent_futures(lock: Lock) -> None:
    mirror: Future[Any] = throttle.execute(lock(1), lambda: 7).as_concurrent()
    assert mirror.result(SOON) == 7
