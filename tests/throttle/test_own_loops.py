"""Locks and event loops of the user's: where coroutine jobs run, and several loops at one lock."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from resprout import Application, GenServer, Ok, Reply, Shutdown, Supervisor, process, throttle
from resprout.actors import ServerExit, StartError

from ..waiting import until

SOON = 20.0
LOOP_CLOSED = Shutdown("loop closed")
colour: contextvars.ContextVar[str] = contextvars.ContextVar("colour", default="none")
_numbers = itertools.count(1)


class Uses(GenServer):
    """Uses a lock, by all that it has loops and threads for."""

    async def init(self, arg: Any) -> Any:
        throttle.new("from a tree", 2)
        return Ok(arg)

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        async def where() -> str:
            return threading.current_thread().name

        async with throttle.slot("from a tree"):
            here = threading.current_thread().name

        return Reply([here, await throttle.aexecute("from a tree", where)], state)


@pytest.mark.alone
def test_locks_of_the_library_outlive_the_loop_in_which_they_were_made(tmp_path, monkeypatch):
    (tmp_path / "tree.yaml").write_text("children:\n  - {worker: uses, start: 'uses_of_locks:Uses'}\n")
    (tmp_path / "uses_of_locks.py").write_text(
        f"from {__name__} import Uses as Base\nclass Uses(Base): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    async def main() -> Any:
        async with Application.load(tmp_path / "tree.yaml") as application:
            (uses,) = [
                child.pid for child in await asyncio.to_thread(Supervisor.which_children, application.root)
            ]
            return await GenServer.acall(uses, "where")

    assert asyncio.run(main()) == [threading.current_thread().name, "resprout-loop"]
    assert throttle.run("from a tree", lambda: "still there") == "still there"
    throttle.stop_lock("from a tree")


# Where coroutine jobs run


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Callable[[], tuple[Application, str]]]:
    """Load a tree with a lock of one slot, and return it with the name of the lock; stopped afterwards."""
    made: list[Application] = []

    def make() -> tuple[Application, str]:
        name = f"lock of a tree {next(_numbers)}"
        path = tmp_path / f"{name}.yaml"
        path.write_text(f"name: {name}\nchildren:\n  - {{throttle: {name}, num_slots: 1}}\n")
        made.append(Application.load(path))
        return made[-1], name

    yield make
    for application in made:
        application.stop()


async def where() -> Any:
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


def test_coroutine_jobs_of_a_tree_run_on_the_loop_on_which_it_was_started(tree, end):
    async def main() -> None:
        here = asyncio.get_running_loop()
        application, name = tree()
        async with application:
            pool = asyncio.Queue[str]()

            async def query() -> tuple[str, str]:
                return await pool.get(), colour.get()

            assert await throttle.execute(name, where) is here
            assert await asyncio.to_thread(lambda: throttle.execute(name, where).result(SOON)) is here
            # Its process ends, and comes again.
            await asyncio.to_thread(end, process.whereis(name), "kill")
            assert await throttle.aexecute(name, where) is here
            colour.set("green")
            asked = throttle.execute(name, query)
            pool.put_nowait("a connection of this loop")
            assert await asked == ("a connection of this loop", "green")
            # What is plain runs in a worker all the same.
            assert await throttle.aexecute(name, threading.get_ident) != threading.get_ident()

    asyncio.run(main())


def test_other_coroutine_jobs_run_on_the_loop_of_the_runtime(tree, lock):
    async def main() -> None:
        name = lock(1)
        assert await throttle.aexecute(name, thread_here) == "resprout-loop"

    async def thread_here() -> str:
        return threading.current_thread().name

    asyncio.run(main())
    application, name = tree()
    application.start()

    async def visit() -> None:
        assert await throttle.aexecute(name, thread_here) == "resprout-loop"

    asyncio.run(visit())


def test_a_tree_that_is_started_again_has_its_jobs_where_it_is_then(tree):
    application, name = tree()

    async def life() -> None:
        async with application:
            assert await throttle.aexecute(name, where) is asyncio.get_running_loop()

    asyncio.run(life())
    asyncio.run(life())
    application.start()
    assert throttle.execute(name, where).result(SOON).is_running()


def test_a_job_that_awaits_what_is_of_another_loop_is_told_which_is_whose(lock):
    name = lock(1)

    async def main() -> None:
        pool = asyncio.get_running_loop().create_future()

        async def query() -> Any:
            return await pool

        with pytest.raises(RuntimeError, match=r"a different loop.*runs on the runtime's own loop"):
            await throttle.aexecute(name, query)

    asyncio.run(main())
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_tree_that_stops_waits_for_its_coroutine_jobs(tree):
    async def main() -> list[int]:
        application, name = tree()
        done: list[int] = []

        async def work(number: int) -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            done.append(number)

        async with application:
            jobs = [throttle.execute(name, work, number) for number in range(3)]
        assert all(job.done() for job in jobs)
        return done

    assert asyncio.run(main()) == [0, 1, 2]


def test_jobs_of_a_loop_that_ends_are_told_of_it(tree):
    application, name = tree()

    async def main() -> list[Any]:
        await application.astart()
        inside = asyncio.Event()

        async def work() -> None:
            inside.set()
            # For ever: its loop ends it.
            await asyncio.Event().wait()

        jobs = [throttle.execute(name, work), throttle.execute(name, where)]
        await inside.wait()
        return jobs

    at_work, waits = asyncio.run(main())
    with pytest.raises(ServerExit, match="loop closed") as caught:
        at_work.result(SOON)
    assert caught.value.reason == LOOP_CLOSED
    for late in (waits, throttle.execute(name, where)):
        with pytest.raises(StartError, match="loop closed") as refused:
            late.result(SOON)
        assert refused.value.reason == LOOP_CLOSED
    assert throttle.execute(name, lambda: "plain").result(SOON) == "plain"
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_job_that_has_not_begun_when_its_loop_is_closed_is_told_of_it(tree):
    application, name = tree()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(application.astart())
    # It has its slot, and a process, as soon as the next one waits.
    jobs = [throttle.execute(name, where), throttle.execute(name, where)]
    until(lambda: [holder for holder in throttle.holders(name) if holder.pid.kind == "coroutine"])
    loop.close()
    for job in jobs:
        with pytest.raises((ServerExit, StartError), match="loop closed"):
            job.result(SOON)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


# Several loops


@pytest.fixture
def in_loop() -> Iterator[Callable[[int, Awaitable[Any]], Future[Any]]]:
    """Run a coroutine on one of several loops, each in a thread of its own."""
    loops = [asyncio.new_event_loop() for _ in range(3)]
    threads = [threading.Thread(target=loop.run_forever, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    yield lambda number, work: asyncio.run_coroutine_threadsafe(work, loops[number % 3])
    for loop, thread in zip(loops, threads, strict=True):
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SOON)
        assert not thread.is_alive()
        loop.close()


def test_tasks_of_three_loops_have_the_slots_of_one_lock_in_the_order_in_which_they_came(lock, line, in_loop):
    name = lock(2)
    watch = line(name)
    inside = most = 0
    guard = threading.Lock()
    number = 24

    async def visit() -> int:
        nonlocal inside, most
        async with throttle.slot(name) as grant:
            with guard:
                inside += 1
                most = max(most, inside)
            await asyncio.sleep(0)
            with guard:
                inside -= 1
            return grant.token

    visits = []
    throttle.acquire(name, weight=2)
    for each in range(number):
        visits.append(in_loop(each, visit()))
        watch.until_waiting(each + 1)
    throttle.release(name)
    tokens = [each.result(SOON) for each in visits]
    assert tokens == sorted(tokens)
    assert most <= 2
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_crowd_of_tasks_of_three_loops_never_has_more_slots_than_there_are(lock, in_loop):
    name = lock(2)
    inside = most = 0
    guard = threading.Lock()

    async def visit() -> None:
        nonlocal inside, most
        for _ in range(20):
            async with throttle.slot(name):
                with guard:
                    inside += 1
                    most = max(most, inside)
                await asyncio.sleep(0)
                with guard:
                    inside -= 1

    async def crowd() -> None:
        await asyncio.gather(*[visit() for _ in range(10)])

    for each in [in_loop(number, crowd()) for number in range(3)]:
        each.result(SOON)
    assert most <= 2
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)
