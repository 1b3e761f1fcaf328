"""Awaiting what belongs to another event loop: the error says which loop is whose, and what to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import Crash, GenServer, NoReply, Ok, Reply, ServerExit, StartError, process
from resprout.actors.reports import other_loops
from resprout.actors.reports.other_loops import ADVICE
from resprout.actors.runtime.loop_bells import bells_of

from ...waiting import down_of, until

WATCHDOG = 20.0
HERE = "runs on the runtime's own loop in the thread 'resprout-loop', and "


class OtherLoop:
    """A loop in a thread of its own, named "another"."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> None:
        self.loop = make()
        self.thread = threading.Thread(target=self.loop.run_forever, name="another")
        self.thread.start()

    def do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WATCHDOG)

    def close(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(WATCHDOG)
            self.loop.close()

    async def taken_queue(self) -> asyncio.Queue[int]:
        """One that has been waited at, so that it belongs to the loop."""
        queue: asyncio.Queue[int] = asyncio.Queue()
        waiting = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        queue.put_nowait(1)
        await waiting
        return queue

    async def future(self) -> asyncio.Future[int]:
        return self.loop.create_future()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherLoop]:
    # One of uvloop's, which is asked for its thread, may be slow to answer on a busy machine.
    monkeypatch.setattr("resprout.actors.reports.other_loops.PATIENCE", WATCHDOG)
    other = OtherLoop()
    yield other
    other.close()


class Client:
    """Keeps what belongs to a loop, as users' clients do."""

    __slots__ = ("_what",)

    def __init__(self, what: Any) -> None:
        self._what = what

    async def use(self) -> Any:
        if isinstance(self._what, asyncio.Queue):
            return await self._what.get()
        return await self._what


class Server(GenServer):
    async def init(self, arg: tuple[Any, bool]) -> Ok:
        what, at_once = arg
        if at_once:
            await what.use()
        return Ok(what)

    async def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        return Reply(await state.use(), state)

    async def handle_cast(self, message: Any, state: Any) -> NoReply:
        await state.use()
        return NoReply(state)


def text_of(reason: object) -> str:
    assert isinstance(reason, Crash)
    return str(reason.exception)


def test_a_server_that_awaits_a_future_of_another_loop_says_which_loop_is_whose(
    other: OtherLoop, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server.start((Client(other.do(other.future())), False))
    with pytest.raises(ServerExit) as raised:
        server.call("x")
    text = text_of(raised.value.reason)
    assert "attached to a different loop: " in text
    assert (
        f"this code of <0.{server.id} Server> {HERE}self._what (_asyncio.Future) belongs to a loop in" in text
    )
    assert "in the thread 'another'; " in text
    assert text.endswith(ADVICE)
    [report] = [record for record in caplog.records if hasattr(record, "crash_report")]
    assert "belongs to a loop in the thread 'another'" in report.getMessage()


def test_a_future_that_was_refused_before_is_told_of_like_the_first_time(other: OtherLoop) -> None:
    """As a supervisor's next child meets it: asyncio does not say then what is wrong with it."""
    client = Client(other.do(other.future()))
    for _ in range(3):
        with pytest.raises(
            StartError,
            match=r"self._what \(_asyncio.Future\) belongs to a loop in the thread 'another'; make it",
        ):
            Server.start((client, True))


def test_what_asyncio_says_then_is_left_alone_where_it_has_another_cause() -> None:
    class Odd:
        async def use(self) -> None:
            raise RuntimeError("await wasn't used with future")

    with pytest.raises(StartError, match=r"RuntimeError: await wasn't used with future$"):
        Server.start((Odd(), True))


def test_a_loop_that_does_not_say_its_thread_is_told_of_without_it(
    other: OtherLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    future = other.do(other.future())
    monkeypatch.setattr("resprout.actors.reports.other_loops._thread_of", lambda loop: None)
    with pytest.raises(
        StartError, match=r"self._what \(_asyncio.Future\) belongs to a loop in another thread;"
    ):
        Server.start((Client(future), True))


@pytest.fixture
def hides() -> Iterator[OtherLoop]:
    """A loop that does not say in which thread it runs."""
    uvloop = pytest.importorskip("uvloop")
    other = OtherLoop(uvloop.new_event_loop)
    yield other
    other.close()


@pytest.fixture
def block(hides: OtherLoop) -> Iterator[Callable[[], None]]:
    """Block that loop until the end of the test, or until that is called."""
    began, held = threading.Event(), threading.Event()
    hides.loop.call_soon_threadsafe(lambda: (began.set(), held.wait(WATCHDOG)))
    assert began.wait(WATCHDOG)
    yield held.set
    held.set()


def test_a_loop_is_asked_for_its_thread_once(
    hides: OtherLoop, block: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_loops, "PATIENCE", 0.0)
    assert other_loops._thread_of(hides.loop) is None
    monkeypatch.setattr(other_loops, "PATIENCE", 10 * WATCHDOG)
    assert other_loops._thread_of(hides.loop) is None
    block()
    until(lambda: other_loops._thread_of(hides.loop) == hides.thread.ident)


def test_a_loop_that_was_known_when_it_began_to_run_need_not_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    bells_of(loop)
    monkeypatch.setattr(loop, "call_soon_threadsafe", None)

    async def ask() -> None:
        assert other_loops._thread_of(loop) == threading.get_ident()

    loop.run_until_complete(ask())
    loop.close()


def test_a_queue_is_told_of_by_the_way_to_it(other: OtherLoop) -> None:
    server = Server.start((Client(other.do(other.taken_queue())), False))
    with pytest.raises(ServerExit) as raised:
        server.call("x")
    text = text_of(raised.value.reason)
    assert "bound to a different event loop: " in text
    assert "self._what (asyncio.queues.Queue) belongs to a loop in the thread 'another'" in text


def test_a_failed_init_says_it_in_the_start_error(other: OtherLoop) -> None:
    with pytest.raises(
        StartError, match="belongs to a loop in the thread 'another'; make it on the loop where"
    ):
        Server.start((Client(other.do(other.future())), True))


def test_a_coroutine_worker_says_it(other: OtherLoop) -> None:
    future = other.do(other.future())

    async def worker() -> None:
        await future

    pid, ref = process.spawn_monitor(worker)
    text = text_of(down_of(ref).reason)
    assert f"this code of <0.{pid.id} " in text
    assert f"{HERE}future (_asyncio.Future) belongs to a loop in the thread 'another'" in text


def test_a_loop_that_is_closed_or_stopped_is_told_of_as_such(other: OtherLoop) -> None:
    client = Client(other.do(other.taken_queue()))
    other.loop.call_soon_threadsafe(other.loop.stop)
    other.thread.join(WATCHDOG)
    for state in ("does not run now", "is closed"):
        with pytest.raises(
            StartError, match=rf"self._what \(asyncio.queues.Queue\) belongs to a loop that {state}"
        ):
            Server.start((client, True))
        other.loop.close()


def test_what_cannot_be_found_is_told_of_without_a_name(other: OtherLoop) -> None:
    class Hides:
        async def use(self) -> None:
            await next(iter([other.do(other.future())]))

    with pytest.raises(StartError, match="what it uses belongs to another; make it on the loop"):
        Server.start((Hides(), True))


def test_other_errors_are_left_as_they_are() -> None:
    class Raises:
        async def use(self) -> None:
            raise RuntimeError("a different kind of error")

    server = Server.start((Raises(), False))
    with pytest.raises(ServerExit) as raised:
        server.call("x")
    assert raised.value.reason == Crash(RuntimeError("a different kind of error"))


def test_an_error_that_two_processes_die_of_is_explained_once(other: OtherLoop) -> None:
    server = Server.start((Client(other.do(other.future())), False))

    class Passes:
        async def use(self) -> None:
            try:
                await GenServer.acall(server, "x")
            except ServerExit as exit:
                raise exit.reason.exception from None

    with pytest.raises(StartError) as raised:
        Server.start((Passes(), True))
    assert text_of(raised.value.reason).count(ADVICE) == 1
