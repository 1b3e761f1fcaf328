"""``execute`` and supervisors in the moments between two of their steps: cut off there, or overtaken."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import Backoff, LockNotFound, Pid, process
from resprout.supervision import Supervisor
from resprout.throttle.crew import Hand
from resprout.throttle.ledger import Ledger
from resprout.throttle.table import books

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


class Cut(BaseException):
    """What a KeyboardInterrupt is in real life."""


@pytest.fixture
def supervised() -> Iterator[Callable[..., Pid]]:
    """Start a supervisor with one lock as its child."""
    started: list[Pid] = []
    before = process.trap_exit(True)

    def start(name: str, **options: Any) -> Pid:
        pid = Supervisor.start_link([throttle.child_spec(name, 1, **options)])
        assert pid is not None
        started.append(pid)
        return pid

    yield start
    for pid in started:
        Supervisor.stop(pid)
    process.trap_exit(bool(before))


def cut_after(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, until: Callable[[], object] = bool
) -> None:
    """Raise once, when a method has done its work, and something else has happened."""
    real = getattr(owner, name)

    def method(*args: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        real(*args)
        until()
        raise Cut

    monkeypatch.setattr(owner, name, method)


def test_a_job_that_was_delivered_when_its_execute_is_cut_keeps_its_slot(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(1)
    throttle.execute(name, int).result(SOON)
    begun, go, over = threading.Event(), threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        assert go.wait(SOON)
        over.set()

    cut_after(monkeypatch, Hand, "give", lambda: begun.wait(SOON))
    with pytest.raises(Cut):
        throttle.execute(name, job)
    assert begun.is_set()
    assert throttle.attempt(name) is None
    go.set()
    assert over.wait(SOON)
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"


def test_a_job_that_was_granted_by_a_release_that_is_cut_is_run(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(1)
    throttle.execute(name, int).result(SOON)
    throttle.acquire(name)
    waiting = throttle.execute(name, lambda: "done")
    cut_after(monkeypatch, Ledger, "release")
    with pytest.raises(Cut):
        throttle.release(name)
    assert waiting.result(SOON) == "done"
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_job_whose_idle_worker_was_taken_in_the_same_instant_gets_another(lock: Lock) -> None:
    name = lock(1)
    first = throttle.execute(name, process.current).result(SOON)
    throttle.acquire(name)
    waiting = throttle.execute(name, process.current)
    taken: list[Hand] = []

    class Emptied(deque[Hand]):
        """Somebody else pops between the look and the pop."""

        def pop(self) -> Hand:  # type: ignore[override]
            taken.append(super().pop())
            raise IndexError

    book = books[name]
    assert book.crew is not None
    before, book.crew = book.crew, Emptied(book.crew)
    throttle.release(name)
    second = waiting.result(SOON)
    assert taken
    assert second is not first
    before.clear()
    before.extend(taken)
    book.crew = before
    assert throttle.execute(name, process.current).result(SOON) is first


def test_a_supervisor_that_gave_up_a_lock_long_ago_does_not_end_that_of_another(
    supervised: Callable[..., Pid], in_thread: InThread, quiet_line: Any, end: Callable[..., object]
) -> None:
    name = "moves to another supervisor"
    old = supervised(name)
    Supervisor.terminate_child(old, name)
    supervised(name, backoff=Backoff(initial=0.2))
    throttle.acquire(name)
    waiting = in_thread(throttle.run, name, lambda: "served")
    quiet_line(name).until_waiting(1)
    book = books[name]
    assert book.process is not None
    end(book.process, "kill")
    # While the new one waits before it starts the lock again.
    Supervisor.terminate_child(old, name)
    assert not book.ledger.closed
    throttle.release(name)
    assert waiting.result(SOON) == "served"


def test_a_lock_that_ends_while_a_job_runs_leaves_the_table_with_the_job(
    supervised: Callable[..., Pid],
) -> None:
    name = "ends while a job runs"
    supervisor = supervised(name)
    begun, go = threading.Event(), threading.Event()

    def job() -> str:
        begun.set()
        assert go.wait(SOON)
        return "done"

    running = throttle.execute(name, job)
    assert begun.wait(SOON)
    Supervisor.terminate_child(supervisor, name)
    with pytest.raises(LockNotFound):
        throttle.acquire(name)
    assert name in books, "its holder is still at work"
    go.set()
    assert running.result(SOON) == "done"
    assert name not in books
