"""Slots and places in the line come back from loops that end, in whatever way they do.

By hand, with more loops: ``LOOPS=1500 pytest tests/throttle/lock/test_loops_that_end.py``.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout import Registry, throttle
from resprout.actors import AlreadyRegistered, CallTimeout, Pid, process
from resprout.actors.runtime.loop_bells import bells_of
from resprout.throttle.lock.callers import TaskCaller
from resprout.throttle.lock.table import cores

from ...waiting import until

WATCHDOG = 30.0
LOOPS = int(os.environ.get("LOOPS", "300"))

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",  # tasks and loops that nobody ended
    "ignore::ResourceWarning",
    "ignore::RuntimeWarning",  # a coroutine whose loop never ran
)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, logger="asyncio")
    caplog.set_level(logging.CRITICAL, logger="resprout.throttle")
    yield
    # Loops that are garbage now warn here, and not in somebody else's test.
    gc.collect()


def nobody_is_left(name: str) -> bool:
    """Wait until the lock has neither holder nor waiter; what tells of a death does so in a moment."""
    deadline = time.monotonic() + WATCHDOG
    while time.monotonic() < deadline:
        if not (throttle.holders(name) or throttle.waiters(name)):
            return True
        gc.collect()
        time.sleep(0.001)
    return False


def begun(name: str, work: Callable[[], Any]) -> asyncio.AbstractEventLoop:
    """A loop of which a task has come as far as it can; nobody refers to the task."""
    loop = asyncio.new_event_loop()
    loop.create_task(work())  # noqa: RUF006  # nobody refers to it
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    return loop


async def in_slot(name: str) -> None:
    async with throttle.slot(name):
        await asyncio.sleep(1000)


async def in_slot_or_timeout(name: str) -> None:
    async with throttle.slot(name, timeout=1000):
        await asyncio.sleep(1000)


async def acquired(name: str) -> None:
    await throttle.aacquire(name)
    await asyncio.sleep(1000)


async def awaits_a_job(name: str) -> None:
    await throttle.execute(name, process.sleep, 0)


FORMS = [in_slot, in_slot_or_timeout, acquired]


@pytest.mark.parametrize("form", FORMS)
def test_a_loop_that_is_closed_gives_its_slots_back(lock, form):
    name = lock()
    loop = begun(name, lambda: form(name))
    assert len(throttle.holders(name)) == 1
    loop.close()
    throttle.acquire(name, timeout=WATCHDOG)
    throttle.release(name)
    assert nobody_is_left(name)


@pytest.mark.asyncio_loop
@pytest.mark.parametrize("form", FORMS)
def test_a_loop_that_is_dropped_gives_its_slots_back(lock, form):
    name = lock()
    loop = begun(name, lambda: form(name))
    assert len(throttle.holders(name)) == 1
    del loop
    gc.collect()
    throttle.acquire(name, timeout=WATCHDOG)
    throttle.release(name)


@pytest.mark.asyncio_loop
@pytest.mark.parametrize("form", [*FORMS, awaits_a_job])
@pytest.mark.parametrize("granted", ["while it waits", "afterwards"])
def test_a_loop_that_is_dropped_leaves_the_line(lock, form, granted):
    name = lock()
    throttle.acquire(name)
    loop = begun(name, lambda: form(name))
    assert len(throttle.waiters(name)) == 1
    there = weakref.ref(loop)
    if granted == "while it waits":
        throttle.release(name)
    del loop
    gc.collect()
    assert there() is None
    if granted == "afterwards":
        throttle.release(name)
    assert nobody_is_left(name)


@pytest.mark.parametrize("form", [*FORMS, awaits_a_job])
def test_a_loop_that_is_closed_while_a_grant_is_on_its_way_passes_it_on(lock, form, in_thread):
    name = lock()
    throttle.acquire(name)
    loop = begun(name, lambda: form(name))
    kept = asyncio.all_tasks(loop)
    next_one = in_thread(throttle.run, name, lambda: "ran", timeout=WATCHDOG)
    throttle.release(name)
    loop.close()
    assert next_one.result(WATCHDOG) == "ran"
    assert nobody_is_left(name)
    assert kept


def test_a_task_that_is_done_in_the_last_turn_of_a_closed_loop_keeps_no_slot(lock):
    """Somebody refers to the task, and its done callbacks never run."""
    name = lock()
    loop = asyncio.new_event_loop()

    async def holder() -> None:
        await throttle.aacquire(name)
        await asyncio.sleep(0)

    async def main() -> asyncio.Task[None]:
        task = asyncio.ensure_future(holder())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(main())
    loop.close()
    throttle.acquire(name, timeout=WATCHDOG)
    throttle.release(name)
    assert task.done()


def is_free(registry: str) -> bool:
    """Whether the key can be had; a key that lingers is not shown for a moment before."""
    try:
        Registry.register(registry, "key")
    except AlreadyRegistered:
        return False
    return True


@pytest.mark.asyncio_loop
def test_keys_of_a_dropped_loops_task_are_free_also_where_they_linger(lock):
    name = lock()
    registry = f"keys of {name}"
    pid = Registry.start_link(keys="unique", name=registry, linger=True)

    async def work() -> None:
        Registry.register(registry, "key")
        await Registry.alock(registry, "locked", lambda: asyncio.sleep(1000))

    loop = begun(name, work)
    assert Registry.count(registry) == 1
    del loop
    gc.collect()
    assert Registry.lock(registry, "locked", lambda: "locked", timeout=WATCHDOG) == "locked"
    until(lambda: not Registry.count(registry) and is_free(registry))
    process.unlink(pid)
    pid.stop()


def test_a_task_that_waits_for_a_slot_lives_as_long_as_its_loop(lock):
    """Though nobody but the loop refers to it, and the line only to its place."""
    name = lock()
    throttle.acquire(name)
    ran: list[str] = []

    async def work() -> None:
        async with throttle.slot(name):
            ran.append("ran")

    loop = begun(name, work)
    gc.collect()
    throttle.release(name)
    while not ran:
        loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert nobody_is_left(name)


def test_a_claim_that_was_answered_before_it_was_awaited_does_not_sleep(lock):
    """Another thread may grant between the look at the answer and the sleep."""
    name = lock()

    async def main() -> None:
        claim = TaskCaller(name, process.current(), 0, 1, False)
        sleeps = claim.bell
        claim.refuse(ValueError("while it sleeps"))
        await sleeps
        for way in (lambda: claim.bell, lambda: claim.rung(1000)):
            claim.renew()
            claim.refuse(ValueError("before it sleeps"))
            await way()
        assert claim.ring()
        assert not bells_of(asyncio.get_running_loop()).waiting

    asyncio.run(main())
    assert nobody_is_left(name)


@pytest.mark.asyncio_loop
def test_loops_that_are_stopped_in_all_orders_leave_no_waiter_and_no_holder(lock):
    """Many loops, in threads, that hold and wait for the same slots, and end in every way there is."""
    dice = random.Random(11)
    name = lock(3)
    kept: list[Any] = []
    ways = ["closed", "stopped in a step", "dropped", "closed while granted", "run again", "done", "run"]

    async def work(number: int) -> None:
        for _ in range(3):
            form = number % 4
            if form == 0:
                async with throttle.slot(name):
                    await asyncio.sleep(0)
            elif form == 1:
                try:
                    async with throttle.slot(name, timeout=0.001 * (number % 5)):
                        await asyncio.sleep(0)
                except CallTimeout:
                    continue
            elif form == 2:
                await throttle.aacquire(name)
                await asyncio.sleep(0)
            else:
                await throttle.execute(name, int)

    def one(way: str, number: int) -> None:
        held = throttle.attempt(name) if way == "closed while granted" else None
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(work(number + n)) for n in range(number % 4 + 1)]
        if number % 2 and way != "dropped":
            kept.extend(tasks)
        del tasks

        async def steps() -> None:
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if way == "stopped in a step":
                loop.stop()

        if way == "run":
            loop.run_until_complete(_all_of(loop))
        elif way == "stopped in a step":
            step = loop.create_task(steps())
            loop.run_forever()
            assert step.done()
        else:
            loop.run_until_complete(steps())
        if way == "run again":
            loop.run_until_complete(steps())
        if way == "done":
            loop.run_until_complete(_cancelled(loop))
        if held is not None:
            # To whoever waits, maybe here.
            throttle.release(name)
        if way != "dropped":
            loop.close()

    async def _all_of(loop: asyncio.AbstractEventLoop) -> None:
        others = asyncio.all_tasks(loop) - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=0.1)

    async def _cancelled(loop: asyncio.AbstractEventLoop) -> None:
        others = asyncio.all_tasks(loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.sleep(0)

    numbers = list(range(LOOPS))
    dice.shuffle(numbers)
    failed: list[BaseException] = []

    def some(numbers: list[int]) -> None:
        for number in numbers:
            try:
                one(ways[number % len(ways)], number)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=some, args=(numbers[n::4],), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        # Loops that wait for what a dropped one holds go on when the collector has found that.
        while thread.is_alive():
            thread.join(0.01)
            gc.collect()
    assert not failed, failed
    assert nobody_is_left(name)
    for task in kept:
        if task.done() and not task.cancelled():
            task.exception()
    pids: list[Pid] = [holder.pid for holder in throttle.holders(name)]
    assert not pids
    assert cores[name].ledger.used == 0
    # And it is a lock like any other.
    assert throttle.run(name, lambda: "ran", timeout=WATCHDOG) == "ran"
