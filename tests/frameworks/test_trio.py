"""trio, with anyio and as a guest of asyncio: what needs asyncio is refused, and its threads work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from resprout import GenServer, Ok, Registry, Reply, process, task_group, throttle

trio = pytest.importorskip("trio", reason="not for this Python yet")

MakeRoom = Callable[[int], Any]
CROWD = 8


class Echo(GenServer):
    """Answers with what it is asked, from the loop of the runtime."""

    async def init(self, arg: Any) -> Any:
        return Ok(arg)

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message, state)


@pytest.fixture(autouse=True)
def threads_of_trio_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would wait for more work for ten seconds."""
    monkeypatch.setattr("trio._core._thread_cache.IDLE_TIMEOUT", 0.01)


def in_block(room: Any) -> str:
    with throttle.slot(room.name):
        return room.work()


async def block(room: Any) -> None:
    async with throttle.slot(room.name):
        room.work()


async def acquire(room: Any) -> None:
    await throttle.aacquire(room.name)


async def attempt(room: Any) -> None:
    await throttle.aattempt(room.name)


async def run(room: Any) -> None:
    await throttle.arun(room.name, room.work)


async def limited(room: Any) -> None:
    await throttle.limited(room.name)(room.awork)()


async def execute(room: Any) -> None:
    await throttle.aexecute(room.name, room.work)


async def lock(room: Any) -> None:
    await Registry.alock("keys of trio", "key", room.awork)


async def register(room: Any) -> None:
    await Registry.aregister("keys of trio", "key")


async def call(room: Any) -> None:
    await GenServer.acall("echo of trio", "message")


async def start(room: Any) -> None:
    await Echo.astart()


async def receive(room: Any) -> None:
    await process.areceive(timeout=0.0)


async def group(room: Any) -> None:
    async with task_group():
        room.work()


FORMS = [block, acquire, attempt, run, limited, execute, lock, register, call, start, receive, group]


@pytest.fixture
def around() -> Any:
    """A server and a registry for what is refused before it comes to them."""
    echo = Echo.start(name="echo of trio")
    Registry.start_link(keys="unique", name="keys of trio")
    yield
    Registry.stop("keys of trio")
    echo.stop()


async def refused(form: Callable[[Any], Awaitable[None]], db: Any) -> None:
    with pytest.raises(RuntimeError, match=r"asyncio event loop.*anyio\.to_thread\.run_sync"):
        await form(db)


@pytest.mark.parametrize("form", FORMS)
def test_what_needs_asyncio_is_refused_under_trio(
    room: MakeRoom, around: None, form: Callable[[Any], Awaitable[None]]
) -> None:
    """All tasks of trio are one process, its thread, whose second block would be nested in the first."""
    db = room(1)
    db.open.set()
    trio.run(refused, form, db)
    assert (db.visits, db.empty) == (0, True)


@pytest.mark.parametrize("form", FORMS)
def test_what_needs_asyncio_is_refused_in_tasks_of_trio_that_asyncio_hosts(
    room: MakeRoom, around: None, form: Callable[[Any], Awaitable[None]]
) -> None:
    """Then a loop of asyncio runs, but no task of it."""
    db = room(1)
    db.open.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        trio.lowlevel.start_guest_run(
            refused,
            form,
            db,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=over.set_result,
            host_uses_signal_set_wakeup_fd=True,  # as uvloop does
        )
        (await over).unwrap()

    asyncio.run(main())
    assert (db.visits, db.empty) == (0, True)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_blocks_on_the_threads_of_trio_are_holders_of_their_own(room: MakeRoom, backend: str) -> None:
    db = room(1)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(CROWD):
                group.start_soon(anyio.to_thread.run_sync, partial(in_block, db))
            while not (db.inside == 1 and db.state.waiting == CROWD - 1):
                await anyio.sleep(0.001)
            db.open.set()

    anyio.run(main, backend=backend)
    assert (db.visits, db.most, db.empty) == (CROWD, 1, True)


def test_servers_are_called_from_the_threads_of_trio(around: None) -> None:
    async def main() -> Any:
        # What does not wait needs no thread.
        GenServer.acast("nobody", "message")
        return await anyio.to_thread.run_sync(GenServer.call, "echo of trio", "message")

    assert anyio.run(main, backend="trio") == "message"
