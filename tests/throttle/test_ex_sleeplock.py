"""What ExSleeplock's README and documentation say, in Python; and our guarantees where it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import process
from resprout.throttle import ex_sleeplock as ExSleeplock

from ..waiting import down_of

InThread = Callable[..., "Future[Any]"]
SOON = 20.0


@pytest.fixture
def name() -> Iterator[str]:
    yield "test_sleepwalk"
    ExSleeplock.stop_lock("test_sleepwalk")


def test_new_returns_ok_and_a_pid_registered_under_the_name(name: str) -> None:
    answer = ExSleeplock.new(name, 2)
    assert answer == ("ok", process.whereis(name))
    assert ExSleeplock.new(name, 2) == ("error", ("already_started", process.whereis(name)))


@pytest.mark.parametrize(
    ("bad_name", "slots"), [("tester", "ABC"), ({"name": "myname"}, 5), ("tester", 0), (None, 1)]
)
def test_invalid_parameters_are_rejected(bad_name: Any, slots: Any) -> None:
    assert ExSleeplock.new(bad_name, slots) == ("error", "invalid", ExSleeplock.help())


def test_a_lock_that_does_not_exist_is_an_answer() -> None:
    assert ExSleeplock.acquire("foo") == ("error", "lock_not_found")
    assert ExSleeplock.attempt("foo") == ("error", "lock_not_found")
    assert ExSleeplock.release("foo") == ("error", "lock_not_found")
    assert ExSleeplock.lock_state("foo") == ("error", "lock_not_found")
    assert ExSleeplock.stop_lock("foo") == ("error", "lock_not_found")
    assert ExSleeplock.execute("foo", lambda: "ABC") == ("error", "lock_not_found")


def test_release_answers_ok_whether_or_not_a_slot_is_held(name: str) -> None:
    ExSleeplock.new(name, 2)
    assert ExSleeplock.release(name) == "ok"
    assert ExSleeplock.acquire(name) == "ok"
    assert ExSleeplock.release(name) == "ok"
    assert ExSleeplock.lock_state(name) == {"running": 0, "waiting": 0}


def test_attempt_answers_ok_or_unavailable(name: str, in_thread: InThread) -> None:
    ExSleeplock.new(name, 1)
    assert ExSleeplock.attempt(name) == "ok"
    assert in_thread(ExSleeplock.attempt, name).result(SOON) == ("error", "unavailable")
    assert ExSleeplock.attempt(name) == "ok"
    ExSleeplock.release(name)


def test_a_second_acquire_of_the_same_process_uses_no_slot(name: str) -> None:
    ExSleeplock.new(name, 2)
    assert ExSleeplock.acquire(name) == "ok"
    assert ExSleeplock.acquire(name) == "ok"
    assert ExSleeplock.lock_state(name) == {"running": 1, "waiting": 0}
    ExSleeplock.release(name)
    ExSleeplock.release(name)


def test_execute_returns_the_value_and_releases_even_after_an_exception(name: str) -> None:
    ExSleeplock.new(name, 1)
    assert ExSleeplock.execute(name, lambda: ExSleeplock.lock_state(name)) == {"running": 1, "waiting": 0}
    with pytest.raises(ZeroDivisionError):
        ExSleeplock.execute(name, lambda: 1 // 0)
    assert ExSleeplock.lock_state(name) == {"running": 0, "waiting": 0}


def test_the_development_session_of_the_readme(name: str, in_thread: InThread, line: Any) -> None:
    status, _pid = ExSleeplock.new(name, 2)
    assert status == "ok"
    watch = line(name)
    running: list[int] = []
    most: list[int] = []
    go = threading.Event()

    def process_one(idx: int) -> Any:
        def work() -> int:
            running.append(idx)
            most.append(len(running))
            go.wait(SOON)
            running.remove(idx)
            return idx

        return ExSleeplock.execute(name, work)

    tasks = [in_thread(process_one, idx) for idx in range(1, 7)]
    watch.until_waiting(4)
    assert ExSleeplock.lock_state(name) == {"running": 2, "waiting": 4}
    go.set()
    assert [task.result(SOON) for task in tasks] == [1, 2, 3, 4, 5, 6]
    assert max(most) <= 2
    assert ExSleeplock.lock_state(name) == {"running": 0, "waiting": 0}


def test_locks_are_created_from_a_configuration() -> None:
    answers = ExSleeplock.start_locks([{"name": "test1", "num_slots": 2}, {"name": "test2", "num_slots": 0}])
    assert answers[0][0] == "ok"
    assert answers[1] == ("error", "invalid", ExSleeplock.help())
    assert ExSleeplock.lock_state("test1") == {"running": 0, "waiting": 0}
    assert ExSleeplock.stop_lock("test1") == "ok"


def test_a_slot_is_released_when_its_process_ends(name: str, in_thread: InThread, line: Any) -> None:
    ExSleeplock.new(name, 1)
    watch = line(name)
    in_thread(ExSleeplock.acquire, name).result(SOON)
    watch.until(lambda: ExSleeplock.lock_state(name) == {"running": 0, "waiting": 0})


def test_a_nested_execute_does_not_free_the_outer_slot(name: str) -> None:
    ExSleeplock.new(name, 1)

    def outer() -> Any:
        ExSleeplock.execute(name, lambda: None)
        return ExSleeplock.lock_state(name)

    assert ExSleeplock.execute(name, outer) == {"running": 1, "waiting": 0}


def test_after_the_lock_process_dies_nobody_is_let_in_beside_the_holder_and_waiters_wait_on(
    name: str, in_thread: InThread, line: Any
) -> None:
    ExSleeplock.new(name, 1)
    watch = line(name)
    ExSleeplock.acquire(name)
    waiter = in_thread(ExSleeplock.execute, name, lambda: "served")
    watch.until_waiting(1)
    pid = process.whereis(name)
    assert pid is not None
    ref = process.monitor(pid)
    process.exit(pid, "kill")
    down_of(ref)
    assert in_thread(ExSleeplock.attempt, name).result(SOON) == ("error", "unavailable")
    ExSleeplock.release(name)
    assert waiter.result(SOON) == "served"


def test_both_apis_share_a_lock(name: str) -> None:
    ExSleeplock.new(name, 1)
    with throttle.slot(name):
        assert ExSleeplock.lock_state(name) == {"running": 1, "waiting": 0}
