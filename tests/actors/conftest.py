"""Gates, awaited deaths, the three ways of running a server, and threads shaken between any two lines."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import resprout.actors
from resprout.actors import Down, GenServer, Pid, Ref, process

from ..waiting import down_of

WATCHDOG = 20.0
PACKAGE = str(Path(resprout.actors.__file__).parent)


class Gate:
    """A place in a handler where the test decides when it goes on."""

    def __init__(self) -> None:
        self._arrived = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self) -> None:
        """Announce oneself and wait until the gate is open. A plain wait, that no death ends."""
        self._arrived.release()
        assert self._open.wait(WATCHDOG), "nobody opened the gate"

    def await_arrival(self) -> None:
        assert self._arrived.acquire(timeout=WATCHDOG), "nobody came to the gate"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Callable[[], Gate]]:
    """Make gates; all are opened at the end."""
    gates: list[Gate] = []

    def make() -> Gate:
        gates.append(Gate())
        return gates[-1]

    yield make
    for each in gates:
        each.open()


@pytest.fixture
def await_down() -> Callable[[Ref], Down]:
    return down_of


@pytest.fixture
def reason_of() -> Callable[[Pid], object]:
    """Wait until a process is dead; its exit reason."""

    def wait(pid: Pid) -> object:
        down_of(process.monitor(pid))
        return pid.exit_reason

    return wait


@pytest.fixture
def kill(reason_of: Callable[[Pid], object]) -> Callable[..., object]:
    """Send an exit signal and wait until its target is dead; the exit reason."""

    def end(pid: Pid, reason: object = "kill") -> object:
        process.exit(pid, reason)
        return reason_of(pid)

    return end


CALLBACKS = ("init", "handle_call", "handle_cast", "handle_info", "handle_continue", "terminate")


def in_the_way(way: str, cls: type[GenServer]) -> type[GenServer]:
    """A subclass of a server that is run in one of the three ways."""
    body: dict[str, Any] = {"blocking": way != "on the sender's thread"}
    if way == "on the event loop":
        for name in CALLBACKS:
            body[name] = _coroutine(getattr(cls, name))
    return type(cls.__name__, (cls,), body)


def _coroutine(callback: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(*args: Any) -> Any:
        return callback(*args)

    return awaited


@pytest.fixture(params=["on the pool", "on the sender's thread", "on the event loop"])
def way(request: pytest.FixtureRequest) -> Callable[[type[GenServer]], Any]:
    """Run the test's servers in each of the three ways."""
    return lambda cls: in_the_way(request.param, cls)


@pytest.fixture(params=["on the pool", "on the sender's thread"])
def threaded(request: pytest.FixtureRequest) -> Callable[[type[GenServer]], Any]:
    """Run the test's servers on the pool and on the sender's thread."""
    return lambda cls: in_the_way(request.param, cls)


@pytest.fixture
def collected() -> Callable[[], Any]:
    """Make servers whose state is a list of what their callbacks have got.

    ``pid.call("seen")`` is the barrier.
    """
    return Collector


class Collector(GenServer):
    """Remembers what it is told, as (callback, message)."""

    trap_exit = True

    def init(self, arg: Any) -> Any:
        return resprout.actors.Ok([])

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return resprout.actors.Reply(list(state), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        state.append(("cast", message))
        return resprout.actors.NoReply(state)

    def handle_info(self, message: Any, state: Any) -> Any:
        state.append(("info", message))
        return resprout.actors.NoReply(state)


@pytest.fixture
def shaken() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Threads started inside, and the test's own, lose the processor between any two lines, at random.

    Lines of the runtime, that is. The interpreter may switch threads between any two bytecodes, but hardly
    ever does: a race that needs an unlucky switch is found here within some hundred rounds, not some million.
    """
    dice = random.Random(7)
    return lambda: _shaken(dice)


@contextlib.contextmanager
def _shaken(dice: random.Random) -> Iterator[None]:
    patience = dice.choice([4, 8, 16, 32])

    def line(frame: Any, event: str, arg: Any) -> Any:
        if event == "line" and not dice.randrange(patience):
            time.sleep(dice.choice([0, 0, 1e-5, 1e-4]))  # gives the interpreter lock away, which is the point
        return line

    def call(frame: Any, event: str, arg: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(PACKAGE) else None

    before, before_here = threading.gettrace(), sys.gettrace()
    threading.settrace(call)
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before_here)
        threading.settrace(before)  # type: ignore[arg-type]


Round = tuple[Callable[[], object], Callable[[], object], Callable[[], None]]


@pytest.fixture
def at_every_line() -> Callable[[Callable[[], Round]], int]:
    """Try every place at which one thread can be interrupted by another.

    ``make_round`` gives (first, second, check). ``first`` runs in a thread that is stopped at the nth line of
    the runtime, where ``second`` runs in the test's thread; then ``first`` goes on (at the latest after a
    moment, as ``second`` may have to wait for it), and ``check`` says whether all is well. The next round
    stops it one line later, until there are no more lines.
    """

    def run(make_round: Callable[[], Round]) -> int:
        lines = 0
        while _stop_at(lines, *make_round()):
            lines += 1
        assert lines, "the first thread runs no line of the runtime"
        return lines

    return run


def _stop_at(
    nth: int, first: Callable[[], object], second: Callable[[], object], check: Callable[[], None]
) -> bool:
    there, go_on, failed = threading.Event(), threading.Event(), []
    left = nth

    def line(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left == -1:
                there.set()
                go_on.wait(0.1)
        return line

    def body() -> None:
        sys.settrace(lambda frame, event, arg: line if frame.f_code.co_filename.startswith(PACKAGE) else None)
        try:
            first()
        except BaseException as error:
            failed.append(error)
        finally:
            sys.settrace(None)
            there.set()

    thread = threading.Thread(target=body, name=f"stopped at line {nth}")
    thread.start()
    assert there.wait(WATCHDOG)
    second()
    go_on.set()
    thread.join(WATCHDOG)
    assert not thread.is_alive()
    assert not failed, failed
    check()
    return left < 0


@pytest.fixture
def crashes(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Any]]:
    """The crash reports that have been logged so far.

    Without it a crash that is expected would clutter the output.
    """
    caplog.set_level(logging.ERROR, logger="resprout")
    return lambda: [record.crash_report for record in caplog.records if hasattr(record, "crash_report")]


@pytest.fixture
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in an interpreter of its own."""

    def run(source: str, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )

    return run
