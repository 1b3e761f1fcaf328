"""Pausing a lock, and bringing its jobs to an end."""

from __future__ import annotations

import asyncio
import importlib
import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import Supervisor, throttle
from resprout.actors import (
    BlockingInLoop,
    CallTimeout,
    LockNotFound,
    QueueFull,
    ServerExit,
    process,
    telemetry,
)
from resprout.throttle import DrainReport
from resprout.throttle.lock.table import cores
from resprout.throttle.lock.workers import WorkerHandle

from .gate import Gate

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
work = importlib.import_module("resprout.throttle.execute")  # the package has a function of that name

SOON = 20.0


# -- pause -----------------------------------------------------------------------


def test_a_paused_lock_lets_nobody_in_and_goes_on_in_order(
    lock: Lock, in_thread: InThread, line: Any
) -> None:
    name = lock(2)
    order: list[int] = []
    with throttle.slot(name):
        throttle.pause(name)
        assert throttle.lock_info(name).paused
        # Who works goes on, nested blocks included; nobody else comes in though there is a slot.
        with throttle.slot(name):
            assert throttle.lock_state(name).used == 1
    assert in_thread(throttle.attempt, name).result(SOON) is None
    watched = line(name)
    waiting = []
    for number in range(4):
        waiting.append(in_thread(throttle.run, name, order.append, number))
        watched.until_waiting(number + 1)
    job = throttle.execute(name, order.append, 4)
    watched.until_waiting(5)
    with pytest.raises(CallTimeout):
        throttle.acquire(name, timeout=0.01)
    throttle.resize(name, 1)
    assert order == []
    throttle.resume(name)
    for each in waiting:
        each.result(SOON)
    job.result(SOON)
    assert order == [0, 1, 2, 3, 4]
    assert not throttle.lock_info(name).paused


def test_a_pause_survives_a_crash_of_the_lock_process(lock: Lock, end: Callable[..., object]) -> None:
    name = lock(1)
    throttle.pause(name)
    pid = process.whereis(name)
    assert pid is not None
    end(pid)
    throttle.resize(name, 2)
    assert throttle.attempt(name) is None
    throttle.resume(name)
    # Once more changes nothing.
    throttle.resume(name)
    while (grant := throttle.attempt(name)) is None:
        # Its successor may be on the way.
        assert throttle.lock_info(name).paused is False
    grant.release()


def test_a_lock_may_begin_paused_and_a_full_line_sheds_while_it_is(lock: Lock, in_thread: InThread) -> None:
    name = lock(1, paused=True, max_waiting=0)
    with pytest.raises(QueueFull):
        throttle.acquire(name)
    throttle.resume(name)
    with throttle.slot(name):
        pass


def test_zero_slots_are_refused_and_pause_is_named(lock: Lock) -> None:
    name = lock(1)
    with pytest.raises(ValueError, match=r"got: 0; to let nobody in for a while, use `throttle\.pause\("):
        throttle.resize(name, 0)
    with pytest.raises(ValueError, match="expected paused to be True or False, got: 1"):
        throttle.new("not made", 1, paused=1)  # type: ignore[arg-type]  # that is the point
    for unknown in (throttle.pause, throttle.resume, throttle.drain):
        with pytest.raises(LockNotFound):
            unknown("no such lock")


def test_observers_hear_of_a_pause_and_its_end(lock: Lock) -> None:
    name = lock(1)
    heard: list[tuple[str, Any]] = []
    telemetry.attach(
        "pauses", ("resprout", "throttle"), lambda event, what, about: heard.append((event[-1], what))
    )
    throttle.pause(name)
    throttle.resume(name)
    telemetry.detach("pauses")
    free = {"running": 0, "waiting": 0, "used": 0}
    assert heard == [("paused", free), ("resumed", free)]


# -- drain -----------------------------------------------------------------------


def test_a_drained_lock_ends_its_jobs_takes_no_new_ones_and_takes_jobs_again(
    lock: Lock, gate: Gate, in_thread: InThread
) -> None:
    name = lock(1)
    done: list[int] = []

    def job(number: int) -> None:
        done.append(gate(number))

    jobs = [throttle.execute(name, job, number) for number in range(3)]
    assert gate.reached.wait(SOON)
    drained = in_thread(throttle.drain, name, SOON)
    while not cores[name].draining:
        assert not drained.done()
    with pytest.raises(LockNotFound, match="takes no jobs at the moment: it is being drained"):
        throttle.execute(name, job, 3)
    gate.open.set()
    assert drained.result(SOON) == DrainReport(done=3, dropped=0)
    assert done == [0, 1, 2]
    assert all(each.done() for each in jobs)
    throttle.execute(name, job, 4).result(SOON)
    assert done[-1] == 4


def test_what_there_is_no_time_for_is_dropped_and_told_in_one_line(
    lock: Lock, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    name = lock(1)
    jobs = [throttle.execute(name, gate) for _ in range(3)]
    assert gate.reached.wait(SOON)
    with caplog.at_level(logging.WARNING, "resprout.throttle"):
        assert throttle.drain(name, 0.0) == DrainReport(done=0, dropped=3)
    lines = [record.getMessage() for record in caplog.records if record.name == "resprout.throttle"]
    assert lines == [f"lock {name!r}: 3 of 3 jobs were dropped, as there was no time left for them"]
    with pytest.raises(ServerExit):
        jobs[0].result(SOON)
    for each in jobs[1:]:
        with pytest.raises(LockNotFound, match="was drained, and there was no time left"):
            each.result(SOON)
    # The killed worker's handler goes on, and has its slot until it leaves.
    assert throttle.lock_state(name).used == 1
    gate.open.set()
    with throttle.slot(name, timeout=SOON):
        pass


@pytest.mark.parametrize("when", ["before it is noted", "after it was noted"])
def test_a_drain_that_begins_while_a_job_is_given_to_an_idle_worker_sees_it_or_is_seen(
    lock: Lock, in_thread: InThread, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    name = lock(2)
    core = cores[name]
    together, go_on = threading.Barrier(2), threading.Event()
    for each in [throttle.execute(name, together.wait, SOON) for _ in range(2)]:
        each.result(SOON)
    while core.idle_workers is None or len(core.idle_workers) < 2:
        # Nothing tells that a worker is idle.
        time.sleep(0)
    running = throttle.execute(name, go_on.wait, SOON)
    drained: list[Future[DrainReport]] = []

    def begin() -> None:
        if not drained:
            drained.append(in_thread(throttle.drain, name, SOON))
            while not core.draining:
                assert not drained[0].done()

    claim, give = work.Job.claim, WorkerHandle.give
    if when == "before it is noted":
        monkeypatch.setattr(work.Job, "claim", lambda job: (begin(), claim(job))[1])
        with pytest.raises(LockNotFound, match="is being drained"):
            throttle.execute(name, go_on.wait, SOON)
    else:
        monkeypatch.setattr(WorkerHandle, "give", lambda handle, job: (begin(), give(handle, job))[1])
        other = throttle.execute(name, go_on.wait, SOON)
    go_on.set()
    done = 1 if when == "before it is noted" else 2
    assert drained[0].result(SOON) == DrainReport(done, 0)
    assert running.result(SOON)
    if done == 2:
        assert other.done()
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_callers_who_work_here_are_not_drained(lock: Lock) -> None:
    name = lock(1)
    with throttle.slot(name):
        assert throttle.drain(name, 0.0) == DrainReport(0, 0)


def test_a_drain_is_not_for_event_loops(lock: Lock) -> None:
    name = lock(1)

    async def main() -> DrainReport:
        with pytest.raises(BlockingInLoop, match=r"use `await asyncio\.to_thread\(throttle\.drain"):
            throttle.drain(name)
        return await asyncio.to_thread(throttle.drain, name, 1.0)

    assert asyncio.run(main()) == DrainReport(0, 0)
    with pytest.raises(ValueError, match="expected timeout"):
        throttle.drain(name, -1.0)


def test_the_stop_of_a_tree_waits_for_the_jobs_of_its_locks(gate: Gate, in_thread: InThread) -> None:
    name = "drained by its tree"
    tree = Supervisor.start_link([throttle.child_spec(name, 1)], strategy="one_for_one")
    process.unlink(tree)
    jobs = [throttle.execute(name, gate, number) for number in range(3)]
    assert gate.reached.wait(SOON)
    core = cores[name]
    stopped = in_thread(Supervisor.stop, tree)
    while not core.draining:
        assert not stopped.done()
    gate.open.set()
    stopped.result(SOON)
    assert [each.result(0.0) for each in jobs] == [0, 1, 2]
    with pytest.raises(LockNotFound):
        throttle.execute(name, gate, 3)


def test_a_restart_of_its_siblings_waits_for_no_job(gate: Gate) -> None:
    name = "not drained"
    tree = Supervisor.start_link([throttle.child_spec(name, 1)], strategy="one_for_all")
    running = throttle.execute(name, gate)
    assert gate.reached.wait(SOON)
    other = Supervisor.start_child(tree, throttle.child_spec("beside it", 1))
    assert other is not None
    process.exit(other, "kill")
    # It answers when both have been restarted, though the job goes on.
    Supervisor.which_children(tree)
    assert throttle.lock_state(name).running == 1
    gate.open.set()
    assert running.result(SOON) == "done"
    Supervisor.stop(tree)


@pytest.mark.parametrize("how", ["plain", "tree"])
def test_jobs_that_wait_when_main_returns_are_done(how: str) -> None:
    program = textwrap.dedent(f"""
        import threading
        from resprout import Supervisor, throttle

        if {how!r} == "plain":
            throttle.new("q", 1)
        else:
            Supervisor.start_link([throttle.child_spec("q", 1)], strategy="one_for_one")
        begun = threading.Event()

        def job(number):
            begun.set()
            # Long enough for main to return meanwhile.
            threading.Event().wait(0.05)
            print("job", number, flush=True)

        for number in range(6):
            throttle.execute("q", job, number)
        begun.wait()
    """)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split("\n")[:-1] == [f"job {number}" for number in range(6)]
    assert "Traceback" not in ran.stderr


def test_jobs_that_there_is_no_time_for_at_exit_are_told_of() -> None:
    program = textwrap.dedent("""
        import threading
        from resprout import Supervisor, throttle

        Supervisor.start_link([throttle.child_spec("q", 1, shutdown=0.1)], strategy="one_for_one")
        begun = threading.Event()

        def job():
            begun.set()
            threading.Event().wait(30)

        futures = [throttle.execute("q", job) for _ in range(4)]
        begun.wait()
    """)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("lock 'q': 4 of 4 jobs were dropped") == 1
