"""Acquire and release in threads and actors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import (
    AlreadyStarted,
    BlockingInLoop,
    CallTimeout,
    GenServer,
    Killed,
    LockNotFound,
    NotHeld,
    Pid,
    QueueFull,
    ServerExit,
    process,
)

from ..waiting import down_of

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


def test_a_lock_is_a_process_of_its_name(lock: Lock) -> None:
    name = lock(2)
    pid = process.whereis(name)
    assert isinstance(pid, Pid)
    assert name in throttle.locks()
    with pytest.raises(AlreadyStarted) as caught:
        throttle.new(name, 2)
    assert caught.value.pid is pid
    assert throttle.lock_info(name) == throttle.LockInfo(name, 2, None, "strict")


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "2", None])
def test_num_slots_must_be_a_positive_integer(bad: Any) -> None:
    expected = f"expected num_slots to be a positive integer, got: {bad!r}"
    with pytest.raises(ValueError, match="expected num_slots") as caught:
        throttle.new("bad", bad)
    assert str(caught.value) == expected
    with pytest.raises(ValueError, match="expected num_slots"):
        throttle.child_spec("bad", bad)
    assert "bad" not in throttle.locks()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_waiting": -1}, "expected max_waiting to be an integer of at least 0, or None, got: -1"),
        ({"max_waiting": True}, "expected max_waiting to be an integer of at least 0, or None, got: True"),
        ({"fairness": "fair"}, "expected fairness to be 'strict' or 'eventual', got: 'fair'"),
    ],
)
def test_options_are_checked_before_anything_starts(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        throttle.new("bad", 1, **options)
    assert str(caught.value) == problem


@pytest.mark.parametrize("bad", ["", 5, None])
def test_a_name_must_be_a_text(bad: Any) -> None:
    with pytest.raises(ValueError, match="expected name to be a non-empty string"):
        throttle.new(bad, 1)


@pytest.mark.parametrize(
    "use",
    [
        throttle.acquire,
        throttle.attempt,
        throttle.release,
        throttle.lock_state,
        throttle.lock_info,
        throttle.holders,
        throttle.waiters,
        throttle.stop_lock,
        lambda name: throttle.resize(name, 1),
        lambda name: throttle.run(name, print),
        lambda name: throttle.execute(name, print),
    ],
)
def test_an_unknown_lock_is_named_in_the_error(use: Callable[[str], object]) -> None:
    with pytest.raises(LockNotFound, match="no lock is named 'nowhere'"):
        use("nowhere")


def test_releasing_what_one_does_not_hold_is_an_error(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)
    with pytest.raises(NotHeld, match="is not held by this process"):
        throttle.release(name)
    throttle.acquire(name)
    with pytest.raises(NotHeld):
        in_thread(throttle.release, name).result(SOON)
    throttle.release(name)
    with pytest.raises(NotHeld):
        throttle.release(name)


def test_nested_acquires_use_one_slot_and_share_a_token(lock: Lock) -> None:
    name = lock(2)
    outer = throttle.acquire(name)
    inner = throttle.acquire(name)
    assert throttle.attempt(name) == outer
    assert inner.token == outer.token
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)
    throttle.release(name)
    throttle.release(name)
    assert throttle.lock_state(name).used == 1
    throttle.release(name)
    assert throttle.lock_state(name).used == 0


def test_a_grant_says_what_was_granted(lock: Lock) -> None:
    name = lock(1)
    first = throttle.acquire(name)
    assert (first.name, first.pid) == (name, process.current())
    assert repr(first) == f"Grant(name={name!r}, token={first.token}, pid={process.current()})"
    throttle.release(name)
    assert throttle.acquire(name).token > first.token
    throttle.release(name)


def test_tokens_rise_across_the_end_of_a_lock(lock: Lock) -> None:
    name = lock(1)
    before = throttle.acquire(name).token
    throttle.stop_lock(name)
    throttle.new(name, 1)
    assert throttle.acquire(name).token > before


def test_attempt_takes_a_free_slot_and_never_waits(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)
    assert throttle.attempt(name) is not None
    assert in_thread(throttle.attempt, name).result(SOON) is None
    throttle.release(name)
    # The thread that takes it ends with it, which frees the slot.
    assert in_thread(throttle.attempt, name).result(SOON) is not None


def test_waiters_are_served_in_order(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    order: list[int] = []
    throttle.acquire(name)

    def wait(number: int) -> None:
        with throttle.slot(name):
            order.append(number)

    threads = []
    for number in range(8):
        threads.append(in_thread(wait, number))
        watch.until_waiting(number + 1)
    throttle.release(name)
    for thread in threads:
        thread.result(SOON)
    assert order == list(range(8))


def test_higher_priority_is_served_first(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    order: list[int] = []
    throttle.acquire(name)
    threads = []
    for count, priority in enumerate((0, 5, 1, 5)):
        threads.append(in_thread(throttle.run, name, order.append, priority, priority=priority))
        watch.until_waiting(count + 1)
    assert [waiter.priority for waiter in throttle.waiters(name)] == [5, 5, 1, 0]
    throttle.release(name)
    for thread in threads:
        thread.result(SOON)
    assert order == [5, 5, 1, 0]


def test_a_timeout_leaves_the_line(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)
    throttle.acquire(name)
    with pytest.raises(CallTimeout, match=rf"lock '{name}' gave .* no slot within 0.01 s"):
        in_thread(throttle.acquire, name, timeout=0.01).result(SOON)
    with pytest.raises(CallTimeout):
        in_thread(throttle.acquire, name, timeout=0).result(SOON)
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=1)


@pytest.mark.parametrize(("bad", "error"), [(-1, ValueError), ("5", TypeError), (True, TypeError)])
def test_a_timeout_must_be_seconds(lock: Lock, bad: Any, error: type[Exception]) -> None:
    name = lock(1)
    with pytest.raises(error, match="expected timeout"):
        throttle.acquire(name, timeout=bad)
    assert throttle.lock_state(name).used == 0


def test_a_full_line_sheds(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1, max_waiting=1)
    watch = line(name)
    throttle.acquire(name)
    waiting = in_thread(throttle.run, name, lambda: "served")
    watch.until_waiting(1)
    with pytest.raises(QueueFull):
        in_thread(throttle.acquire, name).result(SOON)
    throttle.release(name)
    assert waiting.result(SOON) == "served"


def test_weights_count(lock: Lock, in_thread: InThread) -> None:
    name = lock(3)
    throttle.acquire(name, weight=2)
    assert throttle.lock_state(name) == throttle.LockState(running=1, waiting=0, used=2)
    assert in_thread(throttle.attempt, name, weight=2).result(SOON) is None
    assert in_thread(throttle.attempt, name).result(SOON) is not None
    with pytest.raises(ValueError, match="at most the 2 already held"):
        throttle.acquire(name, weight=3)
    throttle.release(name)


@pytest.mark.parametrize("weight", [3, 0, -1, 1.5, True])
def test_a_weight_that_can_never_be_given_is_an_error_at_once(lock: Lock, weight: Any) -> None:
    name = lock(2)
    for use in (throttle.acquire, throttle.attempt):
        with pytest.raises(ValueError, match="expected weight"):
            use(name, weight=weight)


def test_a_priority_must_be_an_integer(lock: Lock) -> None:
    with pytest.raises(ValueError, match="expected priority to be an integer"):
        throttle.acquire(lock(1), priority=1.5)  # type: ignore[arg-type]  # on purpose


def test_the_slot_of_a_thread_that_ends_is_free(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    held = threading.Event()

    def forget() -> None:
        throttle.acquire(name)
        held.set()

    in_thread(forget)
    assert held.wait(SOON)
    watch.until(lambda: throttle.lock_state(name).used == 0)


def test_a_forgotten_release_is_told_once_a_place(
    lock: Lock, in_thread: InThread, line: Any, caplog: pytest.LogCaptureFixture
) -> None:
    name = lock(2)
    watch = line(name)

    def forget() -> None:
        throttle.acquire(name)

    for _ in range(3):
        in_thread(forget).result(SOON)
        watch.until(lambda: throttle.lock_state(name).used == 0)
    throttle.stop_lock(name)
    texts = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert len([text for text in texts if "without releasing" in text]) <= 1


def test_the_slot_of_a_killed_actor_comes_back_when_its_handler_has_left(
    lock: Lock, actor: Callable[[], Pid], end: Callable[..., object], line: Any
) -> None:
    name = lock(1)
    watch = line(name)
    inside, go = threading.Event(), threading.Event()

    def work() -> None:
        throttle.acquire(name)
        inside.set()
        go.wait(SOON)

    pid = actor()
    GenServer.cast(pid, work)
    assert inside.wait(SOON)
    end(pid)
    (holder,) = throttle.holders(name)
    assert (holder.pid, holder.straggler) == (pid, True)
    assert throttle.attempt(name) is None
    go.set()
    watch.until(lambda: throttle.lock_state(name).used == 0)
    assert throttle.attempt(name) is not None


def test_on_kill_release_frees_the_slot_at_the_death(
    lock: Lock, actor: Callable[[], Pid], end: Callable[..., object]
) -> None:
    name = lock(1)
    inside, go = threading.Event(), threading.Event()

    def work() -> None:
        with throttle.slot(name, on_kill="release"):
            inside.set()
            go.wait(SOON)

    pid = actor()
    GenServer.cast(pid, work)
    assert inside.wait(SOON)
    end(pid)
    assert throttle.attempt(name) is not None
    go.set()


def test_a_killed_waiter_leaves_the_line(
    lock: Lock, actor: Callable[[], Pid], end: Callable[..., object], line: Any
) -> None:
    name = lock(1)
    watch = line(name)
    throttle.acquire(name)
    pid = actor()
    GenServer.cast(pid, lambda: throttle.acquire(name))
    watch.until_waiting(1)
    assert [waiter.pid for waiter in throttle.waiters(name)] == [pid]
    end(pid)
    assert throttle.lock_state(name).waiting == 0
    throttle.release(name)
    assert throttle.lock_state(name).used == 0


def test_a_thread_that_got_an_exit_signal_keeps_its_slot_until_it_releases(
    lock: Lock, in_thread: InThread
) -> None:
    name = lock(1)
    mine: list[Pid] = []
    inside, go = threading.Event(), threading.Event()

    def work() -> str:
        mine.append(process.current())
        throttle.acquire(name)
        inside.set()
        go.wait(SOON)
        throttle.release(name)
        with pytest.raises(ServerExit):
            throttle.lock_state(name)
        assert throttle.lock_state(name).used == 0
        with pytest.raises(NotHeld):
            throttle.release(name)
        return "released"

    thread = in_thread(work)
    assert inside.wait(SOON)
    process.exit(mine[0], "boom")
    assert throttle.holders(name)[0].straggler
    go.set()
    assert thread.result(SOON) == "released"
    assert throttle.lock_state(name).used == 0


def test_a_killed_process_releases_its_slot_and_meets_its_death_at_the_next_call(lock: Lock) -> None:
    name = lock(1)
    met: list[BaseException] = []
    inside, go, freed, over = (threading.Event() for _ in range(4))

    def work() -> None:
        throttle.acquire(name)
        inside.set()
        go.wait(SOON)
        try:
            throttle.release(name)
            freed.set()
            throttle.release(name)
        except BaseException as error:
            met.append(error)
            over.set()
            raise

    pid, ref = process.spawn_monitor(work)
    assert inside.wait(SOON)
    process.exit(pid, "kill")
    assert down_of(ref).reason == "killed"
    assert throttle.lock_state(name).used == 1
    go.set()
    assert freed.wait(SOON)
    assert throttle.run(name, lambda: "free", timeout=SOON) == "free"
    assert over.wait(SOON)
    assert [type(each) for each in met] == [Killed]


def test_a_slot_block_releases_after_an_exit_signal_to_its_thread(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)

    def work() -> int:
        with throttle.slot(name) as grant:
            process.exit(grant.pid, "boom")
        with pytest.raises(ServerExit):
            throttle.lock_state(name)
        return throttle.lock_state(name).used

    assert in_thread(work).result(SOON) == 0


def test_blocking_forms_refuse_to_run_in_an_event_loop(lock: Lock) -> None:
    import asyncio

    name = lock(1)

    async def main() -> None:
        with pytest.raises(BlockingInLoop, match=r"use `await throttle.aacquire\(\)`"):
            throttle.acquire(name)
        with pytest.raises(BlockingInLoop, match=r"^throttle\.run\(.*use `await throttle\.arun\("):
            throttle.run(name, print)
        with pytest.raises(BlockingInLoop, match=r"throttle\.limited\(.*use `await asyncio\.to_thread\("):
            throttle.limited(name)(print)()
        with pytest.raises(BlockingInLoop, match="async with"):
            with throttle.slot(name):
                pass

    asyncio.run(main())
    assert throttle.lock_state(name).used == 0


def test_resize_while_it_is_used(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    throttle.acquire(name)
    go = threading.Event()
    threads = []
    for count in range(3):
        threads.append(in_thread(throttle.run, name, go.wait, SOON))
        watch.until_waiting(count + 1)
    throttle.resize(name, 3)
    watch.until(lambda: throttle.lock_state(name).running == 3)
    throttle.resize(name, 1)
    assert throttle.lock_state(name) == throttle.LockState(running=3, waiting=1, used=3)
    assert throttle.lock_info(name).num_slots == 1
    throttle.release(name)
    go.set()
    for thread in threads:
        thread.result(SOON)
    with pytest.raises(ValueError, match="expected num_slots"):
        throttle.resize(name, 0)


def test_resize_below_the_weight_of_a_waiter_answers_it(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(3)
    watch = line(name)
    throttle.acquire(name)
    heavy = in_thread(throttle.acquire, name, weight=3)
    watch.until_waiting(1)
    throttle.resize(name, 2)
    with pytest.raises(ValueError, match="at most the num_slots"):
        heavy.result(SOON)
    throttle.release(name)


def test_stop_lock_answers_every_waiter(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(1)
    watch = line(name)
    throttle.acquire(name)
    waiting = [in_thread(throttle.acquire, name) for _ in range(5)]
    watch.until_waiting(5)
    throttle.stop_lock(name)
    for each in waiting:
        with pytest.raises(LockNotFound):
            each.result(SOON)
    with pytest.raises(LockNotFound):
        throttle.release(name)
    assert process.whereis(name) is None


def test_holders_and_waiters_are_listed(lock: Lock, in_thread: InThread, line: Any) -> None:
    name = lock(2)
    watch = line(name)
    grant = throttle.acquire(name, weight=2)
    waiting = in_thread(throttle.run, name, lambda: None, priority=3)
    watch.until_waiting(1)
    (holder,) = throttle.holders(name)
    assert (holder.pid, holder.token, holder.weight, holder.straggler) == (grant.pid, grant.token, 2, False)
    assert holder.held_seconds >= 0
    (waiter,) = throttle.waiters(name)
    assert (waiter.priority, waiter.weight) == (3, 1)
    assert waiter.waited_seconds >= 0
    throttle.release(name)
    waiting.result(SOON)
