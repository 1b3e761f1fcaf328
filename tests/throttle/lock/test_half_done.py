"""``execute`` and supervisors in the moments between two of their steps: cut off there, or overtaken."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import Backoff, LockNotFound, Pid, process
from resprout.supervision import Supervisor
from resprout.throttle.ledger.ledger import Ledger
from resprout.throttle.lock.table import cores
from resprout.throttle.lock.workers import WorkerHandle

from ...interrupting import Interrupter
from ...waiting import down_of
from ..claims import Cut
from ..gate import Gate

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


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

    cut_after(monkeypatch, WorkerHandle, "give", lambda: begun.wait(SOON))
    with pytest.raises(Cut):
        throttle.execute(name, job)
    assert begun.is_set()
    assert throttle.attempt(name) is None
    go.set()
    assert over.wait(SOON)
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"


def cut_before(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    """Raise once, before a method does its work."""
    real = getattr(owner, name)
    cuts = [1]

    def method(*args: Any) -> Any:
        if cuts:
            cuts.pop()
            raise Cut
        return real(*args)

    monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize(
    ("cut", "owner", "step"),
    [
        pytest.param(cut_after, Ledger, "release", id="after it was granted"),
        pytest.param(cut_before, WorkerHandle, "give", id="before it is delivered"),
    ],
)
def test_a_job_whose_turn_comes_by_a_release_that_is_cut_is_run(
    cut: Callable[..., None], owner: type, step: str, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(1)
    throttle.execute(name, int).result(SOON)
    throttle.acquire(name)
    waiting = throttle.execute(name, lambda: "done")
    cut(monkeypatch, owner, step)
    with pytest.raises(Cut):
        throttle.release(name)
    assert waiting.result(SOON) == "done"
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_job_whose_worker_is_started_twice_is_done_once_and_its_slot_is_the_first_ones(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(2)
    throttle.execute(name, int).result(SOON)
    # The one idle worker is taken, so that the next job needs a new one.
    idle_workers = cores[name].idle_workers
    assert idle_workers is not None
    idle = idle_workers.pop()
    real = process.spawn
    spawned: queue.Queue[Pid] = queue.Queue()
    done: queue.Queue[list[Pid]] = queue.Queue()
    cuts = [1]

    def job() -> None:
        # Not before both have tried to give it to somebody.
        assert both.wait(SOON)
        done.put([process.current(), *[holder.pid for holder in throttle.holders(name)]])

    def spawn(*args: Any) -> Pid:
        pid = real(*args)
        spawned.put(pid)
        if cuts:
            cuts.pop()
            raise Cut
        return pid

    both = threading.Event()
    monkeypatch.setattr(process, "spawn", spawn)
    with pytest.raises(Cut):
        throttle.execute(name, job)
    for _ in range(2):
        ref = process.monitor(spawned.get(timeout=SOON))
        down_of(ref)
    both.set()
    worker, *holders = done.get(timeout=SOON)
    assert holders == [worker]
    idle_workers.append(idle)
    assert throttle.execute(name, lambda: "next").result(SOON) == "next"
    assert done.empty()
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_the_outbox_is_emptied_wherever_that_was_interrupted(lock: Lock, interrupted: Interrupter) -> None:
    core = cores[lock(1)]
    for cuts in interrupted.everywhere(3):
        first, second = threading.Event(), threading.Event()
        core.later(first.set)
        interrupted(cuts, core.flush)
        core.later(second.set)
        core.flush()
        assert first.wait(SOON)
        assert second.wait(SOON)


def test_what_can_never_be_told_is_given_up(lock: Lock) -> None:
    core = cores[lock(1)]
    tried: list[int] = []
    told = threading.Event()

    def fails() -> None:
        tried.append(1)
        raise ValueError("never")

    core.later(fails)
    core.later(told.set)
    with pytest.raises(ValueError, match="never"):
        core.flush()
    assert told.wait(SOON)
    assert len(tried) == 2


def test_a_job_whose_idle_worker_was_taken_in_the_same_instant_gets_another(lock: Lock) -> None:
    name = lock(1)
    first = throttle.execute(name, process.current).result(SOON)
    throttle.acquire(name)
    waiting = throttle.execute(name, process.current)
    taken: list[WorkerHandle] = []

    class Emptied(deque[WorkerHandle]):
        """Somebody else pops between the look and the pop."""

        def pop(self) -> WorkerHandle:  # type: ignore[override]
            taken.append(super().pop())
            raise IndexError

    core = cores[name]
    assert core.idle_workers is not None
    before, core.idle_workers = core.idle_workers, Emptied(core.idle_workers)
    throttle.release(name)
    second = waiting.result(SOON)
    assert taken
    assert second is not first
    before.clear()
    before.extend(taken)
    core.idle_workers = before
    assert throttle.execute(name, process.current).result(SOON) is first


def test_a_supervisor_that_gave_up_a_lock_long_ago_does_not_end_that_of_another(
    supervised: Callable[..., Pid], in_thread: InThread, quiet_line: Any, end: Callable[..., object]
) -> None:
    name = "moves to another supervisor"
    old = supervised(throttle.child_spec(name, 1))
    Supervisor.terminate_child(old, name)
    supervised(throttle.child_spec(name, 1, backoff=Backoff(initial=0.2)))
    throttle.acquire(name)
    waiting = in_thread(throttle.run, name, lambda: "served")
    quiet_line(name).until_waiting(1)
    core = cores[name]
    assert core.process is not None
    end(core.process, "kill")
    # While the new one waits before it starts the lock again.
    Supervisor.terminate_child(old, name)
    assert not core.ledger.closed
    throttle.release(name)
    assert waiting.result(SOON) == "served"


def test_a_lock_that_ends_while_a_job_runs_leaves_the_table_with_the_job(
    supervised: Callable[..., Pid], gate: Gate
) -> None:
    name = "ends while a job runs"
    supervisor = supervised(throttle.child_spec(name, 1))
    grant = throttle.acquire(name)
    throttle.resize(name, 2)
    running = throttle.execute(name, gate)
    assert gate.reached.wait(SOON)
    core = cores[name]
    end = threading.Thread(target=Supervisor.terminate_child, args=(supervisor, name))
    end.start()
    while not core.draining:
        assert end.is_alive()
    with pytest.raises(LockNotFound, match="is being drained"):
        throttle.execute(name, gate)
    gate.open.set()
    end.join(SOON)
    assert running.result(SOON) == "done"
    with pytest.raises(LockNotFound):
        throttle.lock_state(name)
    assert name in cores, "its holder is still at work"
    grant.release()
    assert name not in cores
