"""The locks of the tree in a placed child: the parent's ledger decides, and the pipe is the way to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from placed_locks import FORMS, Locker

from resprout import throttle
from resprout.actors import ChildSpec, GenServer, Pid, process

from ...waiting import await_end, down_of, until
from .conftest import at_work

Placed = Callable[..., Pid]
LOCK = "pipe_lock"


@pytest.fixture
def lock() -> Iterator[Callable[..., str]]:
    """Make the lock, and end it."""

    def make(num_slots: int = 1, **options: Any) -> str:
        throttle.new(LOCK, num_slots, **options)
        return LOCK

    yield make
    if LOCK in throttle.locks():
        throttle.stop_lock(LOCK)


def ask(pid: Pid, *message: Any) -> Any:
    return GenServer.call(pid, message, 30.0)


def is_free() -> bool:
    return throttle.lock_state(LOCK) == throttle.LockState(0, 0, 0)


def kill(pid: Pid) -> None:
    """Kill its OS process, and wait until its death is known."""
    ref = process.monitor(pid)
    os.kill(ask(pid, "os"), signal.SIGKILL)
    down_of(ref)


def slots_of(name: str) -> Pid:
    found = process.whereis(name)
    assert found is not None
    return found


def test_every_form_works_in_a_placed_child_as_anywhere(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    for form in FORMS:
        assert [isinstance(ask(pid, "form", form, name), int) for _ in range(2)] == [True, True], form
    until(is_free)


def test_every_form_waits_for_a_holder_in_the_parent(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    for form in FORMS:
        grant = throttle.acquire(name)
        request = GenServer.send_request(pid, ("form", form, name))
        if "attempt" in form:
            assert request.result(30.0) is None, form
        else:
            until(lambda: throttle.lock_state(name).waiting)
            assert not request.done(), form
        grant.release()
        request.result(30.0)
        until(is_free)


def test_the_parent_sees_the_process_that_stands_for_the_child_and_tokens_are_one_sequence(
    placed: Placed, lock: Any
) -> None:
    name = lock(2)
    pid = placed(Locker)
    before = throttle.acquire(name)
    token = ask(pid, "hold", name)
    here, there = throttle.holders(name)
    assert (here.pid, there.pid, there.token, there.straggler) == (process.current(), pid, token, False)
    assert token == before.token + 1
    assert ask(pid, "held", name) == [ask(pid, "holders", name)[1][0]]
    assert ask(pid, "release", name) is None
    until(lambda: throttle.lock_state(name).running == 1)
    before.release()


def test_the_child_is_told_who_else_holds_and_waits(placed: Placed, lock: Any, tmp_path: Path) -> None:
    name = lock(2)
    pid = placed(Locker)
    mine, token = throttle.acquire(name), ask(pid, "hold", name)
    ask(pid, "wait", name, 1, str(tmp_path / "told"))
    (me, first, _), (it, second, weight) = ask(pid, "holders", name)
    assert (first, second, weight) == (mine.token, token, 1)
    assert me.startswith(f"{process.current()}@")
    assert it == ask(pid, "held", name)[0]
    (waiter,) = ask(pid, "waiters", name)
    assert "Thread" in waiter
    assert "@" not in waiter
    assert ask(pid, "state", name).running == 1
    assert ask(pid, "info", name) == throttle.lock_info(name)
    assert name in ask(pid, "locks")
    mine.release()


def test_who_waits_is_served_by_priority_and_then_by_arrival_whatever_process_they_are_in(
    placed: Placed, lock: Any, tmp_path: Path
) -> None:
    name = lock()
    pid = placed(Locker)
    said = tmp_path / "said"
    grant = throttle.acquire(name)
    ask(pid, "wait", name, 3, str(said))
    until(lambda: throttle.lock_state(name).waiting == 3)

    def last() -> None:
        with throttle.slot(name), said.open("a") as file:
            file.write("here\n")

    thread = threading.Thread(target=last)
    thread.start()
    until(lambda: throttle.lock_state(name).waiting == 4)
    first = tmp_path / "first"
    ask(pid, "wait first", name, 1, str(first))
    until(lambda: throttle.lock_state(name).waiting == 5)
    assert [each.priority for each in throttle.waiters(name)] == [1, 0, 0, 0, 0]
    grant.release()
    thread.join()
    until(is_free)
    assert said.read_text().split() == ["0", "1", "2", "here"]


def test_a_heavy_claim_takes_as_many_slots_and_one_too_heavy_is_refused_by_the_parents_number(
    placed: Placed, lock: Any
) -> None:
    name = lock(2)
    pid = placed(Locker)
    assert isinstance(ask(pid, "hold weight", name, 2), int)
    assert throttle.lock_state(name).used == 2
    ask(pid, "release", name)
    kind, text = ask(pid, "hold weight", name, 3)
    assert (kind, "which is 2, got: 3" in text) == ("ValueError", True)
    throttle.resize(name, 3)
    assert isinstance(ask(pid, "hold weight", name, 3), int)


def test_a_wait_that_takes_too_long_is_a_timeout_and_leaves_the_line(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    grant = throttle.acquire(name)
    for timeout in (0, 0.01):
        assert ask(pid, "hold within", name, timeout)[0] == "CallTimeout"
        until(lambda: throttle.lock_state(name).waiting == 0)
    grant.release()
    # Free by now, so nobody has to wait.
    assert [isinstance(ask(pid, "hold within", name, 0), int) for _ in range(3)] == [True] * 3


def test_a_full_line_is_the_parents_to_know(placed: Placed, lock: Any, tmp_path: Path) -> None:
    name = lock(1, max_waiting=1)
    pid = placed(Locker)
    grant = throttle.acquire(name)
    ask(pid, "wait", name, 1, str(tmp_path / "said"))
    until(lambda: throttle.lock_state(name).waiting == 1)
    assert ask(pid, "hold", name)[0] == "QueueFull"
    assert ask(pid, "execute", name)[0] == "QueueFull"
    grant.release()


# Ends


def test_the_end_of_the_os_process_frees_what_it_held_and_takes_it_out_of_the_line(
    placed: Placed, lock: Any, tmp_path: Path
) -> None:
    name = lock(2)
    pid = placed(Locker, restart="temporary")
    ask(pid, "hold in a thread", name)
    grant = throttle.acquire(name)
    ask(pid, "wait", name, 5, str(tmp_path / "said"))
    until(lambda: throttle.lock_state(name).waiting == 5)
    kill(pid)
    # Free when anybody hears of the death, and not some time afterwards.
    assert throttle.lock_state(name) == throttle.LockState(1, 0, 1)
    grant.release()


def test_what_an_initialisation_holds_is_the_childs_and_is_taken_again_by_the_next_one(
    placed: Placed, lock: Any
) -> None:
    name = lock()
    pid = placed(Locker, name)
    first = throttle.holders(name)[0]
    assert first.pid is pid
    kill(pid)
    until(lambda: [each.token > first.token for each in throttle.holders(name)] == [True])
    (second,) = throttle.holders(name)
    assert second.pid is process.whereis("placed")


def test_a_slot_is_free_only_when_the_os_process_has_gone_whoever_stands_for_it(
    placed: Placed, lock: Any
) -> None:
    name = lock()
    pid = placed(Locker, restart="temporary")
    ask(pid, "hold", name)
    number = os_pid_of(pid)
    # It answers nobody, so it is given up; but it is at work until it is gone.
    os.kill(number, signal.SIGSTOP)
    ref = process.monitor(pid)
    taken: list[bool] = []

    def take() -> None:
        with throttle.slot(name):
            taken.append(at_work(number))

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: throttle.lock_state(name).waiting == 1)
    process.exit(pid, "kill")
    down_of(ref)
    thread.join()
    assert taken == [False]


def test_where_the_fork_server_was_killed_a_slot_is_free_only_when_its_holder_has_gone(
    placed: Placed, lock: Any
) -> None:
    from resprout.supervision.placement.launching import _servers

    name = lock()
    pid = placed(Locker, restart="temporary")
    ask(pid, "hold", name)
    number = os_pid_of(pid)
    ref = process.monitor(pid)
    os.kill(_servers["placed_locks"]._forkserver_pid, signal.SIGKILL)
    down_of(ref)
    with throttle.slot(name, timeout=30.0):
        assert not at_work(number)


def test_a_child_whose_pipe_is_closed_has_no_locks_and_keeps_what_it_held_until_it_is_gone(
    placed: Placed, lock: Any
) -> None:
    name = lock()
    pid = placed(Locker, restart="temporary")
    ask(pid, "hold in a thread", name)
    ask(pid, "close the pipe")
    until(lambda: ask(pid, "hold", name)[0] == "LockNotFound")
    assert throttle.attempt(name) is None
    assert [each.pid for each in throttle.holders(name)] == [pid]
    kill(pid)
    assert is_free()


def test_a_server_that_holds_when_its_pipe_is_closed_is_told_that_it_has_lost_the_lock(
    placed: Placed, lock: Any
) -> None:
    pid = placed(Locker, lock(), restart="temporary")
    ref = process.monitor(pid)
    GenServer.cast(pid, ("close the pipe",))
    reason = down_of(ref).reason
    assert isinstance(reason, throttle.LockLost)
    until(is_free)


def test_the_death_of_a_thread_of_the_child_frees_its_slot_there_and_here(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    assert ask(pid, "form", "execute", name) == os_pid_of(pid)
    token = ask(pid, "hold", name)
    # Nested: no claim of its own.
    assert ask(pid, "hold", name) == token
    assert throttle.lock_state(name).used == 1
    await_end(pid, "shutdown")
    until(is_free)


def test_a_lock_that_is_stopped_refuses_who_waits_and_another_of_the_name_is_found(
    placed: Placed, lock: Any
) -> None:
    name = lock()
    pid = placed(Locker)
    token = ask(pid, "hold", name)
    request = GenServer.send_request(placed(Locker, name="other"), ("hold", name))
    until(lambda: throttle.lock_state(name).waiting == 1)
    throttle.stop_lock(name)
    assert request.result(30.0)[0] == "LockNotFound"
    assert ask(slots_of("other"), "hold", name)[0] == "LockNotFound"
    lock()
    assert ask(slots_of("other"), "hold", name) > token
    # Given back to the one that it is of.
    assert ask(pid, "release", name) is None
    assert throttle.lock_state(name).running == 1


def test_a_name_that_the_parent_has_no_more_is_free_for_a_lock_of_the_childs_own(
    placed: Placed, lock: Any
) -> None:
    name = lock()
    pid = placed(Locker)
    assert ask(pid, "form", "run", name)
    throttle.stop_lock(name)
    assert name in ask(pid, "new", name, 1)
    token = ask(pid, "hold", name)
    assert token == 1 or token > 1
    assert name not in throttle.locks()
    assert ask(pid, "holders", name)[0][1] == token


def test_a_lock_of_the_childs_own_is_its_own_and_one_that_nobody_has_is_not_found(placed: Placed) -> None:
    pid = placed(Locker)
    kind, text = ask(pid, "hold", "nobodys")
    assert (kind, "create it with throttle.new('nobodys', num_slots)" in text) == ("LockNotFound", True)
    assert "its_own" in ask(pid, "new", "its_own", 1)
    assert isinstance(ask(pid, "hold", "its_own"), int)
    assert "its_own" not in throttle.locks()


def test_a_lock_that_is_stopped_in_the_child_is_over_there_only(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    assert ask(pid, "form", "run", name)
    ask(pid, "stop", name)
    assert throttle.run(name, int) == 0
    assert ask(pid, "form", "run", name)


def test_a_process_that_is_forked_in_the_child_is_no_child_of_the_tree(placed: Placed, lock: Any) -> None:
    name = lock(2)
    pid = placed(Locker)
    token = ask(pid, "hold", name)
    assert "LockNotFound" in ask(pid, "forked", name)
    assert [each.token for each in throttle.holders(name)] == [token]
    assert ask(pid, "release", name) is None
    until(is_free)


# Kinds of locks


def test_a_lock_process_that_crashes_two_hundred_times_is_not_noticed(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    others = [placed(Locker, name=f"other{number}") for number in range(2)]
    path = os.devnull
    for number, each in enumerate((pid, *others)):
        GenServer.cast(each, ("work", name, path, 2, number))
    token = throttle.acquire(name, timeout=30.0).token
    throttle.release(name)
    for _ in range(200):
        found = process.whereis(name)
        if found is not None:
            await_end(found)
    grant = throttle.acquire(name, timeout=30.0)
    assert grant.token > token
    assert throttle.lock_state(name).used == 1
    grant.release()


def test_a_lock_with_a_rate_counts_the_grants_of_all_processes(placed: Placed, lock: Any) -> None:
    name = lock(5, rate="1/h")
    pid = placed(Locker)
    assert isinstance(ask(pid, "hold", name), int)
    assert throttle.attempt(name) is None
    ask(pid, "release", name)
    assert ask(pid, "form", "attempt", name) is None


def test_an_adaptive_lock_learns_how_work_ended_in_the_child(placed: Placed, lock: Any) -> None:
    pid = placed(Locker)
    for how in ("dropped", "fails"):
        name = lock(8, adaptive={"aimd": {"max": 16, "min": 1}})
        ask(pid, how, name)
        until(lambda: throttle.lock_info(LOCK).num_slots < 8)
        # Above the slots that there are now, and not above those that there may be.
        assert isinstance(ask(pid, "hold weight", name, 8), int)
        ask(pid, "release", name)
        throttle.stop_lock(name)


def test_with_eventual_fairness_who_waits_in_the_child_is_served(
    placed: Placed, lock: Any, tmp_path: Path
) -> None:
    name = lock(1, fairness="eventual")
    pid = placed(Locker)
    said = tmp_path / "said"
    grant = throttle.acquire(name)
    ask(pid, "wait", name, 3, str(said))
    until(lambda: throttle.lock_state(name).waiting == 3)
    grant.release()
    until(is_free)
    assert sorted(said.read_text().split()) == ["0", "1", "2"]


def test_pause_and_resize_work_from_either_side(placed: Placed, lock: Any) -> None:
    name = lock(1)
    pid = placed(Locker)
    ask(pid, "pause", name)
    # Behind the pause on the pipe.
    assert ask(pid, "form", "attempt", name) is None
    assert throttle.attempt(name) is None
    throttle.resume(name)
    assert ask(pid, "form", "attempt", name)
    throttle.pause(name)
    assert ask(pid, "form", "attempt", name) is None
    assert ask(pid, "info", name).paused
    ask(pid, "resume", name)
    assert ask(pid, "form", "attempt", name)
    ask(pid, "resize", name, 3)
    assert ask(pid, "info", name).num_slots == 3
    assert throttle.lock_info(name).num_slots == 3
    throttle.resize(name, 4)
    assert isinstance(ask(pid, "hold weight", name, 4), int)


def test_a_placed_child_of_a_placed_child_has_the_lock_through_it(placed: Placed, lock: Any) -> None:
    name = lock()
    pid = placed(Locker)
    spec = ChildSpec("inner", (Locker.start_link, (), {"name": "inner"}), placement="process")
    assert "Supervisor" in ask(pid, "nest", spec)
    token = ask(pid, "through", "inner", ("hold", name))
    assert [(each.pid, each.token) for each in throttle.holders(name)] == [(pid, token)]
    assert ask(pid, "through", "inner", ("holders", name))[0][1:] == (token, 1)
    # It frees what its own child held, and its end what that holds.
    inner = ask(pid, "through", "inner", ("os",))
    os.kill(inner, signal.SIGKILL)
    until(is_free)
    until(lambda: isinstance(ask(pid, "through", "inner", ("hold", name)), int))
    kill(pid)
    until(is_free)


def os_pid_of(pid: Pid) -> int:
    found: int = ask(pid, "os")
    return found
