"""Calls to a server whose loop does not run, is blocked, or is closed: the error says so, and what to do."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout.actors import CallTimeout, GenServer, NoProcess, Pid, Reply, process
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.actors.runtime.unanswered import PATIENCE, Beat

WATCHDOG = 20.0


class Server(GenServer):
    async def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
        return Reply(message() if callable(message) else message, state)


class Loop:
    """A loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread: threading.Thread | None = None
        self.run()

    def run(self) -> None:
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop of a test")
        self.thread.start()

    def do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WATCHDOG)

    def stop(self) -> None:
        if self.thread is not None:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(WATCHDOG)
            self.thread = None


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop()
    loop.loop.close()


@pytest.fixture
def server(loop: Loop) -> Pid:
    pid: Pid = loop.do(Server.astart())
    return pid


@pytest.fixture
def warned() -> Iterator[queue.Queue[str]]:
    """What the runtime warns of."""
    texts: queue.Queue[str] = queue.Queue()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.put(record.getMessage())

    handler = Handler(logging.WARNING)
    logging.getLogger("resprout").addHandler(handler)
    yield texts
    logging.getLogger("resprout").removeHandler(handler)


def in_loop(server: Pid, timeout: float | None) -> Any:
    return asyncio.run(GenServer.acall(server, "x", timeout))


def in_request(server: Pid, timeout: float | None) -> Any:
    return GenServer.send_request(server, "x").result(timeout)


WAYS = pytest.mark.parametrize(
    "call", [lambda *given: given[0].call("x", given[1]), in_loop], ids=["call", "acall"]
)


@WAYS
def test_a_loop_that_does_not_run_is_why(loop: Loop, server: Pid, call: Any) -> None:
    loop.stop()
    with pytest.raises(
        CallTimeout, match=r"within 0\.001 s; .* its event loop does not run: it answers when"
    ):
        call(server, 0.001)
    loop.run()
    assert call(server, WATCHDOG) == "x"


@WAYS
def test_a_loop_that_is_blocked_is_why_and_what_blocks_it_is_named(
    loop: Loop, server: Pid, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, began = threading.Event(), threading.Event()

    def blocks() -> str:
        began.set()
        assert held.wait(WATCHDOG)
        return "at last"

    blocked = GenServer.send_request(server, blocks)
    assert began.wait(WATCHDOG)
    with pytest.raises(CallTimeout) as caught:
        call(server, 0.06)
    text = str(caught.value)
    assert "within 0.06 s; its answer will be dropped; its event loop is blocked" in text
    assert "`await asyncio.to_thread(...)`" in text
    if not FREE_THREADED and type(loop.loop).__module__.startswith("asyncio"):
        # (Without the class on Python 3.10.)
        assert f"({server} is in " in text
        assert "handle_call (" in text
    held.set()
    assert blocked.result(WATCHDOG) == "at last"


def test_so_it_is_when_a_task_of_that_loop_waits_for_this_very_call(loop: Loop, server: Pid) -> None:
    other = Loop()

    async def waits_for_the_other() -> str:
        try:
            return str(
                asyncio.run_coroutine_threadsafe(GenServer.acall(server, "x", 0.06), other.loop).result(
                    WATCHDOG
                )
            )
        except CallTimeout as error:
            return str(error)

    text = loop.do(waits_for_the_other())
    assert "its event loop is blocked" in text
    assert "perhaps for this very call" in text
    other.stop()
    other.loop.close()


@WAYS
def test_a_loop_that_serves_is_not_why(loop: Loop, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # It has the latter half of the timeout to show that.
    monkeypatch.setattr("resprout.actors.runtime.unanswered.PATIENCE", WATCHDOG)

    class Never(GenServer):
        async def handle_call(self, message: Any, from_: Any, state: Any) -> Reply:
            await asyncio.Event().wait()
            return Reply(None, state)

    server = loop.do(Never.astart())
    with pytest.raises(CallTimeout, match=r"its answer will be dropped$"):
        call(server, 2.0)
    process.exit(server, "kill")


@pytest.mark.parametrize(
    ("timeout", "lead"), [(0.0, 0.0), (0.04, 0.0), (0.06, 0.03), (0.25, 0.125), (5.0, PATIENCE)]
)
def test_it_is_asked_within_the_timeout_whether_a_loop_serves(
    server: Pid, timeout: float, lead: float
) -> None:
    assert Beat(server, timeout).lead == lead


def test_a_timeout_that_is_none_is_refused_though_the_loop_is_another_one(loop: Loop, server: Pid) -> None:
    loop.stop()
    request = GenServer.send_request(server, "x")
    with pytest.raises(ValueError, match="at least 0 seconds"):
        request.result(-1)
    with pytest.raises(TypeError, match="number of seconds"):
        request.wait("soon")  # type: ignore[arg-type]
    loop.run()


def test_a_request_says_it_too_and_can_be_waited_for_again(loop: Loop, server: Pid) -> None:
    loop.stop()
    request = GenServer.send_request(server, "x")
    with pytest.raises(CallTimeout, match=r"no answer within 0\.001 s; its event loop does not run"):
        request.result(0.001)
    loop.run()
    assert request.result(WATCHDOG) == "x"


@pytest.mark.parametrize("call", [lambda *given: given[0].call("x", given[1]), in_loop, in_request])
@pytest.mark.parametrize("state", ["stopped", "blocked"])
def test_a_wait_for_ever_is_told_of_once_and_ends_when_the_loop_serves(
    loop: Loop, server: Pid, call: Any, state: str, warned: queue.Queue[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resprout.actors.runtime.call.LOOK", 0.06)
    held, began = threading.Event(), threading.Event()

    def blocks() -> None:
        began.set()
        assert held.wait(WATCHDOG)

    if state == "stopped":
        loop.stop()
    else:
        GenServer.send_request(server, blocks)
        assert began.wait(WATCHDOG)
    answers: queue.Queue[Any] = queue.Queue()
    waiting = threading.Thread(target=lambda: answers.put(call(server, None)))
    waiting.start()
    what = "does not run" if state == "stopped" else "is blocked"
    text = warned.get(timeout=WATCHDOG)
    assert text.startswith(f"{server} has not answered 'x' for 0.06 s; its event loop {what}")
    if state == "stopped":
        loop.run()
    held.set()
    assert answers.get(timeout=WATCHDOG) == "x"
    waiting.join(WATCHDOG)
    assert warned.empty()


def test_a_call_to_a_server_of_a_closed_loop_says_that_it_is_closed() -> None:
    loop = Loop()
    server: Pid = loop.do(Server.astart())
    loop.stop()
    loop.loop.close()
    what = r"ended when its event loop was closed; start it again on the loop that runs now"
    for call in (server.call, lambda _: in_loop(server, None), lambda _: GenServer.stop(server)):
        with pytest.raises(NoProcess, match=what) as caught:
            call("x")
        assert caught.value.reason == "noproc"


def test_a_call_to_one_that_has_ended_otherwise_says_how() -> None:
    server = Server.start()
    process.exit(server, "enough")
    with pytest.raises(NoProcess, match=r"no process: <0\.\d+.*> has ended: 'enough'"):
        server.call("x")
