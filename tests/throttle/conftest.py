"""Locks, threads and scripted actors for the tests; all are gone at the end of each."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import LockNotFound, Pid, telemetry

from ..scripted import Runs
from ..waiting import await_end, until
from .gate import Gate

WATCHDOG = 30.0
_numbers = itertools.count(1)


@pytest.fixture
def lock() -> Iterator[Callable[..., str]]:
    """Make a lock of a name of its own, and return the name."""
    made: list[str] = []

    def make(num_slots: int = 1, **options: Any) -> str:
        name = f"lock {next(_numbers)}"
        throttle.new(name, num_slots, **options)
        made.append(name)
        return name

    yield make
    for name in made:
        try:
            throttle.stop_lock(name)
        except LockNotFound:
            continue
    assert not [name for name in throttle.locks() if name in made]


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Future[Any]]]:
    """Call a function in a thread of its own, for a future."""
    threads: list[threading.Thread] = []

    def start(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def call() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        thread = threading.Thread(target=call, daemon=True)
        threads.append(thread)
        thread.start()
        return future

    yield start
    for thread in threads:
        thread.join(WATCHDOG)
        assert not thread.is_alive(), "a thread of the test goes on"


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A job that stays at work until the test opens it, or is over."""
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def actor() -> Iterator[Callable[..., Pid]]:
    """Start an actor that runs what it is called with."""
    started: list[Pid] = []

    def start() -> Pid:
        pid: Pid = Runs.start()
        started.append(pid)
        return pid

    yield start
    for pid in started:
        if pid.alive:
            await_end(pid, "kill")


class WaitQueue:
    """Notices how many wait for a lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._joined = threading.Condition()
        telemetry.attach(self, ("resprout", "throttle"), self._hear)

    def _hear(self, event: Any, measurements: Any, metadata: Any) -> None:
        if metadata["name"] == self.name:
            with self._joined:
                self._joined.notify_all()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so; looked at after each event of the lock."""
        with self._joined:
            assert self._joined.wait_for(condition, WATCHDOG)

    def until_waiting(self, number: int) -> None:
        """Wait until so many are in the line."""
        self.until(lambda: throttle.lock_state(self.name).waiting == number)


class QuietQueue(WaitQueue):
    """The same without listening, which would take the lock off its fastest paths: so it has to look."""

    def __init__(self, name: str) -> None:
        self.name = name

    def until(self, condition: Callable[[], bool]) -> None:
        until(condition)


@pytest.fixture
def quiet_line() -> Callable[[str], QuietQueue]:
    """Watch the line of a lock that nobody listens to."""
    return QuietQueue


@pytest.fixture(params=["quiet", "heard"])
def line(request: pytest.FixtureRequest) -> Iterator[Callable[[str], WaitQueue]]:
    """Watch the line of a lock: one that nobody listens to, and one with a listener."""
    if request.param == "quiet":
        yield QuietQueue
        return
    lines: list[WaitQueue] = []

    def watch(name: str) -> WaitQueue:
        lines.append(WaitQueue(name))
        return lines[-1]

    yield watch
    for each in lines:
        telemetry.detach(each)
