"""Our futures in the hands of ``concurrent.futures`` and ``asyncio`` themselves."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout.actors import Future, GenServer, NoReply, Ok, Reply, ServerExit, process

WATCHDOG = 20.0


class Echo(GenServer):
    """Answers at once, when it is let, or never."""

    def init(self, gate: threading.Event) -> Any:
        return Ok(gate)

    def handle_call(self, message: Any, from_: Any, gate: threading.Event) -> Any:
        match message:
            case "never":
                return NoReply(gate)
            case "fail":
                raise ValueError("no answer")
            case ("late", value):
                gate.wait(WATCHDOG)
                return Reply(value, gate)
        return Reply(message, gate)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def ask(gate: threading.Event) -> Iterator[Callable[[object], Future[Any]]]:
    """A future of a server of its own for each request."""
    pids: list[Any] = [Echo.start(gate) for _ in range(12)]
    unasked = iter(pids)

    def ask(message: object) -> Future[Any]:
        return GenServer.send_request(next(unasked), message)

    yield ask
    for pid in pids:
        process.exit(pid, "kill")


def test_concurrent_futures_wait_takes_those_that_are_done_and_those_that_come(ask, gate) -> None:
    early, late = ask("early").as_concurrent(), ask(("late", 2)).as_concurrent()
    done, rest = concurrent.futures.wait([early, late], WATCHDOG, concurrent.futures.FIRST_COMPLETED)
    assert (done, rest) == ({early}, {late})
    gate.set()
    done, rest = concurrent.futures.wait([early, late], WATCHDOG)
    assert {future.result() for future in done} == {"early", 2}
    assert rest == set()


def test_concurrent_futures_wait_stops_at_the_first_exception(ask, caplog) -> None:
    never, fails = ask("never").as_concurrent(), ask("fail").as_concurrent()
    done, rest = concurrent.futures.wait([never, fails], WATCHDOG, concurrent.futures.FIRST_EXCEPTION)
    assert (done, rest) == ({fails}, {never})
    assert isinstance(fails.exception(), ServerExit)


def test_as_completed_gives_them_as_they_end(ask, gate) -> None:
    late, never, early = (ask(message).as_concurrent() for message in (("late", 2), "never", "early"))
    ended = concurrent.futures.as_completed([late, never, early], WATCHDOG)
    assert next(ended) is early
    gate.set()
    assert next(ended) is late
    never.cancel()
    assert next(ended) is never
    assert list(ended) == []


@pytest.mark.parametrize("by", ["mirror", "source"])
def test_what_is_cancelled_ends_every_wait_for_it(by: str) -> None:
    source: Future[Any] = Future()
    mirror = source.as_concurrent()
    waiting = threading.Event()
    ended: list[Any] = []

    def wait() -> None:
        waiting.set()
        ended.append(concurrent.futures.wait([mirror], WATCHDOG))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(WATCHDOG)
    assert (mirror if by == "mirror" else source).cancel()
    thread.join(WATCHDOG)
    assert ended == [({mirror}, set())]
    assert (mirror.cancelled(), source.cancelled()) == (True, True)
    with pytest.raises(concurrent.futures.CancelledError):
        mirror.result(0)
    assert mirror.cancel(), "again, as concurrent.futures has it"


def test_what_has_ended_cannot_be_cancelled_any_more() -> None:
    source: Future[Any] = Future()
    mirror = source.as_concurrent()
    source.set(1)
    assert not mirror.cancel()
    assert mirror.result(0) == 1


def test_cancelling_at_the_moment_of_the_end_is_one_of_the_two() -> None:
    for _ in range(200):
        source: Future[Any] = Future()
        mirror = source.as_concurrent()
        start = threading.Barrier(2)

        def complete(source: Future[Any] = source, start: threading.Barrier = start) -> None:
            start.wait(WATCHDOG)
            source.try_set(1)

        thread = threading.Thread(target=complete)
        thread.start()
        start.wait(WATCHDOG)
        cancelled = mirror.cancel()
        thread.join()
        assert concurrent.futures.wait([mirror], WATCHDOG).done == {mirror}
        assert (mirror.cancelled(), source.cancelled()) == (cancelled, cancelled)


def test_done_callbacks_of_the_mirror_get_the_mirror(ask) -> None:
    seen: concurrent.futures.Future[Any] = concurrent.futures.Future()
    mirror = ask("x").as_concurrent()
    mirror.add_done_callback(seen.set_result)
    assert seen.result(WATCHDOG) is mirror


def test_wrap_future_gives_the_value_the_error_and_the_cancellation(ask, gate, caplog) -> None:
    async def main() -> None:
        assert await asyncio.wrap_future(ask("x").as_concurrent()) == "x"
        late = asyncio.wrap_future(ask(("late", 3)).as_concurrent())
        gate.set()
        assert await asyncio.wait_for(late, WATCHDOG) == 3
        with pytest.raises(ServerExit):
            await asyncio.wrap_future(ask("fail").as_concurrent())
        source = ask("never")
        wrapped = asyncio.wrap_future(source.as_concurrent())
        wrapped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped
        await asyncio.sleep(0)  # asyncio tells it in a callback
        assert source.cancelled()
        source = ask("never")
        wrapped = asyncio.wrap_future(source.as_concurrent())
        source.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wrapped

    asyncio.run(main())


def test_asyncio_awaits_them_as_they_are(ask, gate, caplog) -> None:
    async def main() -> None:
        gate.set()
        assert await ask("x") == "x"
        assert await asyncio.wait_for(ask("x"), WATCHDOG) == "x"
        assert await asyncio.gather(ask(1), ask(("late", 2))) == [1, 2]
        done, _ = await asyncio.wait([asyncio.ensure_future(ask("x"))], timeout=WATCHDOG)
        assert [task.result() for task in done] == ["x"]
        assert {await each for each in asyncio.as_completed([ask(1), ask(2)], timeout=WATCHDOG)} == {1, 2}
        never = ask("never")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(never, 0.001)
        assert never.cancelled(), "nobody waits for the answer any more"

    asyncio.run(main())


def test_an_executor_may_wait_for_them(ask) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda message: ask(message).result(WATCHDOG), range(4))) == [0, 1, 2, 3]
