"""What an interrupt of the main thread may cost in the runtime: see docs/semantics.md, "Ctrl-C"."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from resprout.actors import Crash, Future, GenServer, Ok, Reply, ServerExit
from resprout.actors import sys as sys_module
from resprout.actors.engine import kernel
from resprout.actors.servers.dispatch import Interrupted

from ..interrupting import Interrupter, at_safe_points
from ..waiting import until

SOON = 20.0


@at_safe_points
def test_whoever_waits_for_a_future_is_woken_when_its_completion_is_interrupted(
    interrupted: Interrupter,
) -> None:
    for cuts in interrupted.everywhere(5):
        future: Future[str] = Future()
        got: list[str] = []

        def wait(future: Future[str] = future, got: list[str] = got) -> None:
            got.append(future.result(SOON))

        waiting = [threading.Thread(target=wait) for _ in range(2)]
        for thread in waiting:
            thread.start()
        until(lambda future=future: len(future._callbacks) == 2)
        interrupted(cuts, lambda future=future: future.set("done"))
        if not future.done():
            # It came before.
            future.set("done")
        for thread in waiting:
            thread.join(SOON)
        assert got == ["done", "done"]


@at_safe_points
def test_the_pool_loses_no_task_that_was_submitted_and_no_thread(interrupted: Interrupter) -> None:
    """As an interrupt may come when the task is given to a thread, it may be given twice."""
    for cuts in interrupted.everywhere(2):
        ran = threading.Event()

        class Task:
            def run(self, worker: Any, ran: threading.Event = ran) -> None:
                ran.set()

        task = Task()
        was_cut = interrupted(cuts, lambda task=task: kernel.pool.submit(task))
        if was_cut:
            kernel.pool.submit(task)
        assert ran.wait(SOON)
        # Every thread that is not at work is to be found by whoever submits.
        until(lambda: len(kernel.pool.idle) == len(kernel.pool.workers))


class Gust(Exception):
    """What a signal handler of somebody's own raises."""


class Hit(GenServer):
    """Is hit by a signal in its callback, which the main thread runs."""

    blocking = False

    def init(self, arg: Any) -> Ok:
        return Ok(0)

    def handle_call(self, message: Any, from_: Any, state: int) -> Reply:
        if message == "hit":
            signal.raise_signal(signal.SIGINT)
        return Reply(state + 1, state + 1)


@pytest.fixture
def raising() -> Iterator[Callable[[type[BaseException]], None]]:
    """Have the signal raise that."""
    before = signal.getsignal(signal.SIGINT)

    def raising(kind: type[BaseException]) -> None:
        def handle(number: int, frame: FrameType | None) -> None:
            raise kind

        signal.signal(signal.SIGINT, handle)

    yield raising
    signal.signal(signal.SIGINT, before)


def test_a_server_whose_callback_is_hit_in_the_main_thread_lives(
    raising: Callable[[type[BaseException]], None],
) -> None:
    raising(KeyboardInterrupt)
    server = Hit.start()
    with pytest.raises(KeyboardInterrupt):
        GenServer.call(server, "hit", SOON)
    # The message counts as handled.
    assert GenServer.call(server, "count", SOON) == 1
    GenServer.stop(server)


def test_a_server_whose_callback_is_hit_by_another_exception_ends_as_with_one_of_its_own(
    raising: Callable[[type[BaseException]], None],
) -> None:
    raising(Gust)
    server = Hit.start()
    with pytest.raises(ServerExit) as caught:
        GenServer.call(server, "hit", SOON)
    assert caught.value.reason == Crash(Gust())
    assert not server.alive


def test_whoever_waits_for_an_answer_that_an_interrupt_cut_off_gets_interrupted(
    raising: Callable[[type[BaseException]], None],
) -> None:
    """The main thread runs the callback for what another thread has asked."""
    raising(KeyboardInterrupt)
    server = Hit.start()
    sys_module.suspend(server)
    met: list[BaseException] = []

    def ask() -> None:
        try:
            GenServer.call(server, "hit", SOON)
        except BaseException as error:
            met.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: bool(server._inbox or server._saved))
    with pytest.raises(KeyboardInterrupt):
        sys_module.resume(server)
    asking.join(SOON)
    assert [type(error) for error in met] == [Interrupted]
    assert GenServer.call(server, "count", SOON) == 1
    GenServer.stop(server)
