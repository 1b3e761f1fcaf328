"""The futures of ``execute`` in the hands of ``concurrent.futures`` and ``asyncio`` themselves."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import LockNotFound, Task, process

from .gate import Gate

Lock = Callable[..., str]
WATCHDOG = 20.0


def fail() -> None:
    raise ValueError("of the job")


def test_a_done_callback_gets_the_future_when_the_slot_is_free_again(lock: Lock, gate: Gate) -> None:
    name = lock(1)
    seen: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future = throttle.execute(name, gate)
    future.add_done_callback(
        lambda done: seen.set_result((done, throttle.lock_state(name), process.current()))
    )
    gate.open.set()
    done, state, who = seen.result(WATCHDOG)
    assert done is future
    assert state == throttle.LockState(0, 0, 0)
    assert who is not process.current()
    assert future.result(0) == "done"


def test_a_done_callback_hears_of_errors_of_cancelling_and_of_the_end_of_the_lock(
    lock: Lock, gate: Gate
) -> None:
    name = lock(1)
    seen = {what: concurrent.futures.Future[Any]() for what in ("error", "cancelled", "stopped")}
    throttle.execute(name, fail).add_done_callback(seen["error"].set_result)
    assert isinstance(seen["error"].result(WATCHDOG).exception(0), ValueError)
    throttle.execute(name, gate)
    assert gate.reached.wait(WATCHDOG)
    waiting, left = throttle.execute(name, int), throttle.execute(name, int)
    waiting.add_done_callback(seen["cancelled"].set_result)
    left.add_done_callback(seen["stopped"].set_result)
    assert waiting.cancel()
    assert seen["cancelled"].result(WATCHDOG).cancelled()
    throttle.stop_lock(name)
    assert isinstance(seen["stopped"].result(WATCHDOG).exception(0), LockNotFound)


def test_concurrent_futures_wait_takes_jobs(lock: Lock, gate: Gate) -> None:
    name = lock(2)
    held = throttle.execute(name, gate).as_concurrent()
    quick = throttle.execute(name, int).as_concurrent()
    failed = throttle.execute(name, fail).as_concurrent()
    done, rest = concurrent.futures.wait([held, quick, failed], WATCHDOG, concurrent.futures.FIRST_EXCEPTION)
    assert failed in done
    assert held in rest
    gate.open.set()
    done, rest = concurrent.futures.wait([held, quick, failed], WATCHDOG)
    assert (done, rest) == ({held, quick, failed}, set())
    assert (held.result(0), quick.result(0), type(failed.exception(0))) == ("done", 0, ValueError)


def test_as_completed_gives_jobs_as_they_end(lock: Lock, gate: Gate) -> None:
    name = lock(2)
    held = throttle.execute(name, gate).as_concurrent()
    others = [throttle.execute(name, pow, 2, number).as_concurrent() for number in range(5)]
    ended = concurrent.futures.as_completed([held, *others], WATCHDOG)
    assert sorted(next(ended).result(0) for _ in others) == [1, 2, 4, 8, 16]
    gate.open.set()
    assert next(ended) is held
    assert list(ended) == []


def test_a_job_that_waits_can_be_cancelled_and_one_at_work_cannot(lock: Lock, gate: Gate) -> None:
    name = lock(1)
    at_work = throttle.execute(name, gate).as_concurrent()
    assert gate.reached.wait(WATCHDOG)
    waits = throttle.execute(name, pytest.fail).as_concurrent()
    assert waits.cancel()
    assert concurrent.futures.wait([waits], WATCHDOG).done == {waits}
    assert throttle.lock_state(name).waiting == 0
    assert not at_work.cancel(), "as those of a ThreadPoolExecutor"
    assert not at_work.cancelled()
    gate.open.set()
    assert at_work.result(WATCHDOG) == "done"


def test_wrap_future_gives_value_error_and_cancellation(lock: Lock, gate: Gate) -> None:
    name = lock(1)

    async def main() -> None:
        assert await asyncio.wrap_future(throttle.execute(name, pow, 2, 3).as_concurrent()) == 8
        with pytest.raises(ValueError, match="of the job"):
            await asyncio.wrap_future(throttle.execute(name, fail).as_concurrent())
        held = asyncio.wrap_future(throttle.execute(name, gate).as_concurrent())
        waits = throttle.execute(name, pytest.fail)
        wrapped = asyncio.wrap_future(waits.as_concurrent())
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        await asyncio.sleep(0)  # asyncio tells it in a callback
        assert waits.cancelled()
        gate.open.set()
        assert await asyncio.wait_for(held, WATCHDOG) == "done"

    asyncio.run(main())


def test_asyncio_awaits_jobs_as_they_are(lock: Lock, gate: Gate) -> None:
    name = lock(1)

    async def main() -> None:
        assert await asyncio.gather(*(throttle.execute(name, pow, 2, n) for n in range(4))) == [1, 2, 4, 8]
        held = throttle.execute(name, gate)
        waits = throttle.execute(name, pytest.fail)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(waits, 0.001)
        assert waits.cancelled()
        gate.open.set()
        assert await asyncio.wait_for(held, WATCHDOG) == "done"

    asyncio.run(main())


def test_run_in_executor_hands_a_job_to_the_lock_and_waits(lock: Lock) -> None:
    name = lock(1)

    async def main() -> object:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, lambda: throttle.execute(name, pow, 2, 5).result(WATCHDOG))

    assert asyncio.run(main()) == 32


def test_a_job_works_for_who_gave_it():
    throttle.new("work.callers", 1)
    for _ in range(2):  # by a new worker, and by one that waits for work
        assert throttle.execute("work.callers", process.callers).result(20) == (process.current(),)

    async def asked() -> Any:
        return process.callers()

    assert throttle.execute("work.callers", asked).result(20) == (process.current(),)
    task = Task.async_(
        lambda: (process.current(), throttle.execute("work.callers", process.callers).result(20))
    )
    pid, callers = Task.await_(task, 20)
    assert callers == (pid, process.current())
    throttle.stop_lock("work.callers")
