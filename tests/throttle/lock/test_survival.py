"""The lock process is killed, crashes, is restarted: callers notice nothing, and no slot is given twice."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import attrs
import pytest

from resprout import throttle
from resprout.actors import (
    BRUTAL_KILL,
    Backoff,
    ChildSpec,
    LockNotFound,
    Pid,
    ResproutError,
    process,
)
from resprout.supervision import DynamicSupervisor, Supervisor

from ...waiting import down_of

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 90.0


class Inside:
    """Counts who is at work, and the most that ever were.

    By atomic operations: a lock would put the threads in order.
    """

    def __init__(self) -> None:
        self._now: list[None] = []
        self._counts: set[int] = set()

    def __enter__(self) -> None:
        self._now.append(None)
        self._counts.add(len(self._now))

    def __exit__(self, *_: object) -> None:
        self._now.pop()

    @property
    def most(self) -> int:
        return max(self._counts)


def kill_again_and_again(name: str, times: int) -> None:
    """Kill the lock process, each incarnation as soon as it is there."""
    last: Pid | None = None
    for _ in range(times):
        while (pid := process.whereis(name)) is None or pid is last:
            process.sleep(0)
        process.exit(pid, "kill")
        last = pid


@pytest.mark.parametrize(
    ("kills", "fairness"),
    [
        (2_000, "strict"),
        (500, "eventual"),
        pytest.param(10_000, "strict", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_kills_under_load_never_let_too_many_in_and_lose_nobody(
    supervised: Any, in_thread: InThread, kills: int, fairness: Any
) -> None:
    name, slots = "survivor", 3
    supervised(throttle.child_spec(name, slots, fairness=fairness))
    inside = Inside()
    over = threading.Event()
    tokens: list[int] = []

    def caller() -> int:
        rounds = 0
        while not over.is_set():
            with throttle.slot(name) as grant, inside:
                tokens.append(grant.token)
            rounds += 1
        return rounds

    def weigher() -> int:
        rounds = 0
        while not over.is_set():
            with throttle.slot(name, weight=2), inside, inside:
                rounds += 1
        return rounds

    def giver() -> int:
        rounds = 0

        def work() -> None:
            with inside:
                pass

        while not over.is_set():
            throttle.execute(name, work).result(SOON)
            rounds += 1
        return rounds

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [in_thread(work) for work in (caller,) * 3 + (weigher, giver)]
        kill_again_and_again(name, kills)
        over.set()
        rounds = [thread.result(SOON) for thread in threads]
    finally:
        over.set()
        sys.setswitchinterval(interval)
    assert inside.most <= slots
    assert min(rounds) > 0, "somebody was never served"
    assert len(set(tokens)) == len(tokens)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_kill_keeps_holders_waiters_and_their_order(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    order: list[int] = []
    grant = throttle.acquire(name)
    threads = []
    for number in range(5):
        threads.append(in_thread(throttle.run, name, order.append, number))
        watch.until_waiting(number + 1)
    for _ in range(3):
        kill_again_and_again(name, 1)
    assert throttle.holders(name)[0].token == grant.token
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=5, used=1)
    throttle.release(name)
    for thread in threads:
        thread.result(SOON)
    assert order == [0, 1, 2, 3, 4]


def test_a_resize_survives_the_crash(lock: Lock) -> None:
    name = lock(1)
    throttle.resize(name, 3)
    kill_again_and_again(name, 1)
    process.whereis(name)
    assert throttle.lock_info(name).num_slots == 3


def test_between_a_crash_and_the_restart_requests_wait_and_their_timeouts_run(
    supervised: Any, in_thread: InThread, line: Any
) -> None:
    go = threading.Event()
    go.set()
    entered = threading.Event()

    def start_slowly(settings_spec: ChildSpec) -> Any:
        entered.set()
        go.wait(SOON)
        function, args, kwargs = settings_spec.start
        return function(*args, **kwargs)

    name = "slow to come back"
    spec = throttle.child_spec(name, 1)
    supervised(ChildSpec(name, (start_slowly, (spec,), {})))
    watch = line(name)
    entered.clear()
    go.clear()
    pid = process.whereis(name)
    assert pid is not None
    process.exit(pid, "kill")
    assert entered.wait(SOON)
    # The lock process is down, and its supervisor at work.
    assert throttle.attempt(name) is None
    assert throttle.lock_state(name).running == 0
    with pytest.raises(TimeoutError):
        in_thread(throttle.acquire, name, timeout=0.01).result(SOON)
    waiting = in_thread(throttle.run, name, lambda: "served")
    job = throttle.execute(name, lambda: "done")
    watch.until_waiting(2)
    with pytest.raises(ResproutError, match="already started"):
        throttle.new(name, 1)
    go.set()
    assert waiting.result(SOON) == "served"
    assert job.result(SOON) == "done"


def test_a_holder_that_ends_while_the_lock_process_is_down_is_gone_afterwards(
    supervised: Any, in_thread: InThread
) -> None:
    name = "holder ends"
    supervised(throttle.child_spec(name, 1))
    in_thread(throttle.acquire, name).result(SOON)
    kill_again_and_again(name, 1)
    assert in_thread(throttle.run, name, lambda: "served").result(SOON) == "served"


def test_when_its_supervisor_gives_up_waiters_get_an_error_and_never_hang(
    supervised: Any, in_thread: InThread, line: Any, end: Any
) -> None:
    name = "given up"
    pid = supervised(throttle.child_spec(name, 1), max_restarts=0)
    watch = line(name)
    throttle.acquire(name)
    waiting = in_thread(throttle.acquire, name)
    job = throttle.execute(name, lambda: None)
    watch.until_waiting(2)
    lock_process = process.whereis(name)
    assert lock_process is not None
    process.exit(lock_process, "kill")
    for each in (waiting, job):
        with pytest.raises(LockNotFound):
            each.result(SOON)
    with pytest.raises(LockNotFound):
        throttle.execute(name, lambda: None)
    assert pid.dead
    # Holders finish in peace.
    throttle.release(name)
    assert name not in throttle.locks()


def test_holders_outlive_a_restart_of_the_supervisor_above(supervised: Any, in_thread: InThread) -> None:
    name = "above"

    def start() -> Any:
        return Supervisor.start_link([throttle.child_spec(name, 1)], strategy="one_for_one", max_restarts=0)

    def lock_process() -> Pid | None:
        return process.whereis(name)

    supervised(ChildSpec("inner", (start, (), {}), type="supervisor"))
    grant = throttle.acquire(name)
    before = lock_process()
    kill_again_and_again(name, 1)
    pause = threading.Event()
    while lock_process() in (before, None):
        pause.wait(0)
    assert throttle.holders(name)[0].token == grant.token
    assert in_thread(throttle.attempt, name).result(SOON) is None
    throttle.release(name)
    assert in_thread(throttle.run, name, lambda: "served").result(SOON) == "served"


def test_the_orderly_stop_of_its_tree_ends_a_lock(supervised: Any, in_thread: InThread, line: Any) -> None:
    name = "stopped with its tree"
    tree = supervised(throttle.child_spec(name, 1))
    watch = line(name)
    throttle.acquire(name)
    waiting = in_thread(throttle.acquire, name)
    watch.until_waiting(1)
    Supervisor.stop(tree)
    with pytest.raises(LockNotFound):
        waiting.result(SOON)
    assert name not in throttle.locks()
    throttle.release(name)


def test_stop_lock_takes_a_lock_out_of_a_tree_of_ones_own(supervised: Any) -> None:
    tree = supervised(throttle.child_spec("one", 1), throttle.child_spec("two", 1))
    throttle.stop_lock("one")
    assert [child.id for child in Supervisor.which_children(tree)] == ["two"]
    dynamic = DynamicSupervisor.start_link(max_restarts=5)
    assert dynamic is not None
    DynamicSupervisor.start_child(dynamic, throttle.child_spec("three", 1))
    throttle.stop_lock("three")
    assert DynamicSupervisor.which_children(dynamic) == []
    DynamicSupervisor.stop(dynamic)


def test_locks_made_at_run_time_come_back_after_their_supervisor_restarts(lock: Lock) -> None:
    name = lock(2)
    throttle.resize(name, 3)
    grant = throttle.acquire(name)
    before = process.whereis(name)
    supervisor = process.whereis("resprout.throttle.locks")
    assert supervisor is not None
    process.exit(supervisor, "kill")
    pause = threading.Event()
    while process.whereis(name) in (before, None):
        pause.wait(0)
    assert throttle.holders(name)[0].token == grant.token
    throttle.release(name)
    assert throttle.run(name, lambda: "served") == "served"


def test_a_temporary_lock_that_dies_is_over(supervised: Any, in_thread: InThread, line: Any) -> None:
    name = "temporary"
    supervised(throttle.child_spec(name, 1, restart="temporary"))
    watch = line(name)
    throttle.acquire(name)
    waiting = in_thread(throttle.acquire, name)
    watch.until_waiting(1)
    pid = process.whereis(name)
    assert pid is not None
    process.exit(pid, "kill")
    with pytest.raises(LockNotFound):
        waiting.result(SOON)
    throttle.release(name)


def killed(name: str) -> None:
    pid = process.whereis(name)
    assert pid is not None
    process.exit(pid, "kill")


def made_temporary(name: str, start: Any) -> None:
    start(attrs.evolve(throttle.child_spec(name, 1), restart="temporary"))
    killed(name)


def out_of_its_own_budget(name: str, start: Any) -> None:
    start(throttle.child_spec(name, 1, on_exhausted="give_up", max_restarts=0, max_seconds=5.0))
    killed(name)


def terminated_while_it_backs_off(name: str, start: Any) -> None:
    pid = start(throttle.child_spec(name, 1, backoff=Backoff(initial=1000.0, maximum=1000.0)))
    ref = process.monitor(process.whereis(name))
    killed(name)
    down_of(ref)
    Supervisor.terminate_child(pid, name)


def terminated_brutally(name: str, start: Any) -> None:
    Supervisor.terminate_child(start(throttle.child_spec(name, 1, shutdown=BRUTAL_KILL)), name)


@pytest.mark.parametrize(
    "end", [made_temporary, out_of_its_own_budget, terminated_while_it_backs_off, terminated_brutally]
)
def test_a_lock_that_its_living_supervisor_will_not_bring_back_is_over(
    supervised: Any, in_thread: InThread, quiet_line: Any, end: Callable[[str, Any], None]
) -> None:
    name = f"over: {end.__name__}"
    jobs: list[Any] = []

    def start(spec: ChildSpec) -> Pid:
        pid: Pid = supervised(spec)
        throttle.acquire(name)
        jobs.extend([in_thread(throttle.acquire, name), throttle.execute(name, lambda: None)])
        quiet_line(name).until_waiting(2)
        return pid

    end(name, start)
    for each in jobs:
        with pytest.raises(LockNotFound):
            each.result(SOON)
    throttle.release(name)
    assert name not in throttle.locks()


def test_a_lock_whose_name_is_taken_by_another_process_is_refused(actor: Callable[[], Pid]) -> None:
    pid = actor()
    process.register(pid, "taken")
    with pytest.raises(ResproutError, match="already started"):
        throttle.new("taken", 1)
    assert "taken" not in throttle.locks()
    process.unregister("taken")
