"""Futures: pykka's, asyncio's and concurrent.futures' manners in one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import threading
from typing import Any

import pykka
import pytest

from resprout.actors import AlreadySet, BlockingInLoop, CallTimeout, Future

WATCHDOG = 20.0


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set(value)
    return future


def failed(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def test_it_is_a_pykka_future():
    assert isinstance(Future(), pykka.Future)


def test_a_value_that_is_set_can_be_taken_again_and_again():
    future = done(42)
    assert future.get() == future.result() == future.result(0) == future.get(timeout=0) == 42
    assert future.exception() is None
    assert future.done()
    assert not future.cancelled()


def test_none_is_a_value():
    assert done(None).result(0) is None


def test_an_exception_is_raised_where_the_value_is_taken():
    future = failed(ValueError("boom"))
    for take in (future.get, future.result):
        with pytest.raises(ValueError, match="boom"):
            take()
    assert isinstance(future.exception(), ValueError)
    assert future.done()


def test_an_exception_can_be_set_in_pykkas_ways():
    future: Future[Any] = Future()
    try:
        raise LookupError("here")
    except LookupError:
        future.set_exception()
    with pytest.raises(LookupError, match="here"):
        future.get()
    future = Future()
    error = LookupError("there")
    future.set_exception((LookupError, error, None))
    assert future.exception() is error


def test_waiting_gives_up_after_its_timeout_and_leaves_the_future_pending():
    future: Future[Any] = Future()
    for wait in (
        lambda: future.result(0.01),
        lambda: future.get(timeout=0.01),
        lambda: future.exception(0.01),
    ):
        with pytest.raises(CallTimeout):
            wait()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0)
    assert not future.done()
    future.set(1)
    assert future.result() == 1


def test_it_is_set_once():
    future = done(1)
    assert future.try_set(2) is False
    assert future.try_set_exception(ValueError()) is False
    for again in (lambda: future.set(2), lambda: future.set_exception(ValueError())):
        for kind in (AlreadySet, concurrent.futures.InvalidStateError, queue.Full):
            with pytest.raises(kind, match="completed already"):
                again()
    assert future.result() == 1


def test_cancelling():
    future: Future[Any] = Future()
    assert future.cancel() is True
    assert future.cancelled()
    assert future.done()
    for wait in (future.result, future.get, future.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            wait()
    assert future.try_set(1) is False
    future.set(1)  # late values are dropped in silence
    assert future.cancelled()
    assert done(1).cancel() is False


def test_a_waiting_thread_is_woken():
    future: Future[Any] = Future()
    got: list[object] = []
    waiting = [threading.Thread(target=lambda: got.append(future.result(WATCHDOG))) for _ in range(5)]
    for each in waiting:
        each.start()
    future.set("woken")
    for each in waiting:
        each.join(WATCHDOG)
    assert got == ["woken"] * 5


def test_completing_at_any_moment_of_a_wait_wakes_it(at_every_line):
    def a_round() -> Any:
        future: Future[Any] = Future()
        got: list[object] = []
        waiting = threading.Thread(target=lambda: got.append(future.result(WATCHDOG)))
        waiting.start()

        def check() -> None:
            waiting.join(WATCHDOG)
            assert got == ["value"]

        return lambda: future.set("value"), lambda: None, check

    at_every_line(a_round)


@pytest.mark.parametrize("second", ["set", "cancel", "fail"])
def test_of_two_that_complete_it_at_once_one_wins(second, at_every_line):
    def a_round() -> Any:
        future: Future[Any] = Future()
        called: list[object] = []
        won: list[bool] = []
        future.add_done_callback(called.append)
        others = {
            "set": lambda: future.try_set("second"),
            "cancel": future.cancel,
            "fail": lambda: future.try_set_exception(ValueError("second")),
        }

        def check() -> None:
            assert sorted(won) == [False, True]
            assert called == [future]

        return (
            lambda: won.append(future.try_set("first")),
            lambda: won.append(others[second]()),
            check,
        )

    at_every_line(a_round)


def test_callbacks_are_called_once_with_the_future():
    future: Future[Any] = Future()
    called: list[object] = []
    future.add_done_callback(called.append)
    future.add_done_callback(called.append)
    assert called == []
    future.set(1)
    assert called == [future, future]
    future.add_done_callback(called.append)
    assert called == [future] * 3


def test_a_callback_added_at_any_moment_of_completing_is_called_once(at_every_line):
    def a_round() -> Any:
        future: Future[Any] = Future()
        called: list[object] = []

        def check() -> None:
            assert called == [future]

        return lambda: future.set(1), lambda: future.add_done_callback(called.append), check

    at_every_line(a_round)


def test_a_callback_that_raises_hurts_nobody(caplog):
    future: Future[Any] = Future()
    called: list[object] = []

    def fail(_: object) -> None:
        raise ValueError("in a callback")

    future.add_done_callback(fail)
    future.add_done_callback(called.append)
    future.set(1)
    assert called == [future]
    assert future.result() == 1
    assert "callback" in caplog.text


def test_callbacks_are_called_for_errors_and_cancelling_too():
    for end in (lambda future: future.set_exception(ValueError()), lambda future: future.cancel()):
        future: Future[Any] = Future()
        called: list[object] = []
        future.add_done_callback(called.append)
        end(future)
        assert called == [future]


# -- in coroutines ---------------------------------------------------------------------------


def test_it_can_be_awaited_before_and_after_it_is_set():
    async def main() -> None:
        assert await done(1) == 1
        with pytest.raises(ValueError, match="boom"):
            await failed(ValueError("boom"))
        future: Future[Any] = Future()
        asyncio.get_running_loop().call_soon(future.set, "later")
        assert await future == "later"
        future = Future()
        setting = threading.Thread(target=future.set, args=("from a thread",))
        asyncio.get_running_loop().call_soon(setting.start)
        assert await future == "from a thread"
        setting.join()

    asyncio.run(main())


def test_several_loops_can_await_one_future():
    future: Future[Any] = Future()
    ready = threading.Barrier(4)
    got: list[object] = []

    async def wait() -> None:
        waiting = asyncio.ensure_future(_take(future))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, ready.wait, WATCHDOG)
        got.append(await waiting)

    threads = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(3)]
    for each in threads:
        each.start()
    ready.wait(WATCHDOG)
    future.set("for all")
    for each in threads:
        each.join(WATCHDOG)
    assert got == ["for all"] * 3


async def _take(future: Future[Any]) -> Any:
    return await future


def test_cancelling_who_awaits_cancels_the_future():
    async def main() -> None:
        future: Future[Any] = Future()
        waiting = asyncio.ensure_future(_take(future))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert future.cancelled()

    asyncio.run(main())


def test_wait_for_gives_up_in_asyncios_way():
    async def main() -> None:
        future: Future[Any] = Future()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_take(future), 0.01)
        assert future.cancelled()

    asyncio.run(main())


def test_a_loop_that_was_closed_meanwhile_is_no_trouble():
    future: Future[Any] = Future()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_take(future))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    future.set("nobody waits")
    assert future.cancelled()


def test_blocking_on_it_inside_a_loop_is_refused_unless_it_is_there():
    async def main() -> None:
        assert done(1).result() == 1
        with pytest.raises(BlockingInLoop, match="await"):
            Future().result(1)

    asyncio.run(main())


# -- in pykka's manner ------------------------------------------------------------------------


def test_map_filter_join_and_reduce():
    assert done(10).map(lambda value: value + 1).get() == 11
    assert done(range(5)).filter(lambda value: value % 2).get() == [1, 3]
    assert done(1).join(done(2), done(3)).get() == [1, 2, 3]
    assert done([1, 2, 3]).reduce(lambda total, value: total + value).get() == 6
    assert done([]).reduce(lambda total, value: total + value, 7).get() == 7
    assert done(1).map(lambda value: value + 1).map(str).get() == "2"


def test_the_function_runs_once_where_the_value_is_taken():
    ran: list[int] = []
    future: Future[Any] = Future()
    mapped = future.map(lambda value: ran.append(threading.get_ident()) or value * 2)
    future.set(21)
    assert ran == []
    assert mapped.get() == mapped.get() == 42
    assert ran == [threading.get_ident()]


def test_derived_futures_pass_on_errors_timeouts_and_cancelling():
    with pytest.raises(ValueError, match="boom"):
        failed(ValueError("boom")).map(str).get()
    with pytest.raises(ZeroDivisionError):
        done(0).map(lambda value: 1 / value).get()
    with pytest.raises(CallTimeout):
        Future().map(str).get(timeout=0.01)
    source: Future[Any] = Future()
    mapped = source.map(str)
    assert mapped.cancel()
    assert source.cancelled()
    assert mapped.cancelled()


def test_derived_futures_can_be_awaited_and_called_back():
    async def main() -> None:
        first, second = Future(), Future()
        asyncio.get_running_loop().call_soon(first.set, 1)
        asyncio.get_running_loop().call_soon(second.set, 2)
        assert await first.join(second).map(sum) == 3

    asyncio.run(main())
    first, second = Future(), Future()
    called: list[object] = []
    joined = first.join(second)
    joined.add_done_callback(called.append)
    first.set(1)
    assert called == []
    assert not joined.done()
    second.set(2)
    assert called == [joined]
    assert joined.done()
    assert joined.result() == [1, 2]


def test_get_all_takes_ours_and_pykkas():
    theirs = pykka.ThreadingFuture()
    theirs.set("theirs")
    assert pykka.get_all([done("ours"), theirs]) == ["ours", "theirs"]
    assert done("ours").join(theirs).get() == ["ours", "theirs"]
    assert theirs.join(done("ours")).get() == ["theirs", "ours"]


def test_a_get_hook_makes_the_value_at_the_first_get():
    future: Future[Any] = Future()
    asked: list[object] = []
    future.set_get_hook(lambda timeout: asked.append(timeout) or "made")
    assert future.get(timeout=3) == future.get() == "made"
    assert asked == [3]


# -- as a concurrent.futures.Future ----------------------------------------------------------


def test_as_concurrent_ends_as_the_future_does():
    future: Future[Any] = Future()
    mirror = future.as_concurrent()
    assert isinstance(mirror, concurrent.futures.Future)
    future.set(1)
    assert mirror.result(WATCHDOG) == 1
    assert isinstance(failed(ValueError()).as_concurrent().exception(WATCHDOG), ValueError)
    gone: Future[Any] = Future()
    mirror = gone.as_concurrent()
    gone.cancel()
    assert mirror.cancelled()


def test_cancelling_the_concurrent_one_cancels_the_future():
    future: Future[Any] = Future()
    mirror = future.as_concurrent()
    assert mirror.cancel()
    assert future.cancelled()


def test_concurrent_futures_wait_takes_it():
    futures = [Future() for _ in range(3)]
    mirrors = [future.as_concurrent() for future in futures]
    futures[1].set("first")
    finished, rest = concurrent.futures.wait(mirrors, WATCHDOG, concurrent.futures.FIRST_COMPLETED)
    assert finished == {mirrors[1]}
    for future in futures:
        future.try_set(None)
    assert concurrent.futures.wait(rest, WATCHDOG).not_done == set()


def test_wrap_future_takes_it():
    async def main() -> object:
        future: Future[Any] = Future()
        threading.Timer(0, future.set, ("wrapped",)).start()
        return await asyncio.wrap_future(future.as_concurrent())

    assert asyncio.run(main()) == "wrapped"


def test_it_says_how_it_stands():
    future: Future[Any] = Future()
    assert "pending" in repr(future)
    future.cancel()
    assert "cancelled" in repr(future)
    assert "done" in repr(done(1))
