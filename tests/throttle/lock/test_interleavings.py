"""Interleavings that are hardly ever met, each one made to happen."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from resprout import throttle
from resprout.actors import CallTimeout, GenServer, NoReply, Pid, Reply, process, telemetry
from resprout.throttle.ledger.holds import Hold
from resprout.throttle.ledger.ledger import PATIENCE
from resprout.throttle.lock import lock_steps
from resprout.throttle.lock.callers import ThreadCaller, thread_caller
from resprout.throttle.lock.combiner import Combiner, _Answer
from resprout.throttle.lock.fast_steps import FastSteps
from resprout.throttle.lock.lock_steps import LockSteps
from resprout.throttle.lock.table import cores

from ..claims import Asked, Cut, core_of, ledger_of, process_of

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


class Here(Asked):
    own = True


# -- on top of a step of the same thread ----------------------------------------


def attempts(name: str) -> None:
    assert throttle.attempt(name) is None


def looks(name: str) -> None:
    assert throttle.lock_state(name).waiting == 0


def waits(name: str) -> None:
    with pytest.raises(CallTimeout):
        throttle.acquire(name, timeout=0.01)


@pytest.mark.parametrize("use", [attempts, looks, waits])
def test_a_lock_may_be_used_on_top_of_its_own_step(
    lock: Lock, monkeypatch: pytest.MonkeyPatch, use: Callable[[str], None]
) -> None:
    """As in a signal handler, or a finalizer that the garbage collector runs."""
    name = lock(3)
    throttle.run(name, int)
    inside: list[str] = []

    def on_top() -> float:
        if not inside:
            inside.append(name)
            use(name)
        return 0.0

    # The time is asked for inside the combiner.
    monkeypatch.setattr(lock_steps, "monotonic", on_top)
    throttle.acquire(name)
    assert inside
    throttle.release(name)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def waiting_in_main(name: str, in_handler: Callable[[], object]) -> ThreadCaller:
    """This thread waits for a lock, and a signal handler runs on top of that wait."""
    core = cores[name]
    claim = thread_caller(name, process.current(), 0, 1, False)
    core.attach(process.current())
    core.join(claim)
    in_handler()
    return claim


def holder_of(name: str, in_thread: InThread) -> Callable[[], None]:
    """Hold a lock in a thread; returns what makes it give back, and waits until it has."""
    on, has = threading.Event(), threading.Event()

    def hold() -> None:
        with throttle.slot(name):
            has.set()
            assert on.wait(SOON)

    done = in_thread(hold)
    assert has.wait(SOON)

    def free() -> None:
        on.set()
        done.result(SOON)

    return free


def test_a_timeout_in_a_signal_handler_leaves_the_grant_of_the_wait_below_alone(
    lock: Lock, in_thread: InThread
) -> None:
    name = lock(1)
    free = holder_of(name, in_thread)

    def hear(event: Any, *_: Any) -> None:
        # The grant comes while the handler's timeout is on its way.
        free()

    def handler() -> None:
        telemetry.attach("timeout", ("resprout", "throttle", "timeout"), hear)
        try:
            with pytest.raises(CallTimeout):
                throttle.acquire(name, timeout=0.01)
        finally:
            telemetry.detach("timeout")

    claim = waiting_in_main(name, handler)
    assert claim.depth == 1
    assert in_thread(throttle.attempt, name).result(SOON) is None
    throttle.release(name)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_an_attempt_in_a_signal_handler_counts_on_top_of_the_grant_of_the_wait_below(
    lock: Lock, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(1)
    free = holder_of(name, in_thread)
    real = FastSteps.decide

    def decide(self: FastSteps, step: Callable[[], Any]) -> Any:
        # The grant comes between the attempt's look and its step.
        monkeypatch.setattr(FastSteps, "decide", real)
        free()
        return real(self, step)

    def handler() -> None:
        monkeypatch.setattr(FastSteps, "decide", decide)
        assert throttle.attempt(name) is not None
        throttle.release(name)

    claim = waiting_in_main(name, handler)
    assert claim.depth == 1
    throttle.release(name)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


@pytest.mark.parametrize("options", [{}, {"rate": "1000000/s"}])
def test_an_acquire_in_a_signal_handler_nests_on_a_grant_that_comes_in_its_midst(
    lock: Lock, in_thread: InThread, options: Any
) -> None:
    name = lock(2, **options)
    free = holder_of(name, in_thread)
    other = holder_of(name, in_thread)

    def handler() -> None:
        # The grant comes between the acquire's look and its step.
        lock_steps.watched.append(lambda pid, wanted: (free(), other()))
        throttle.acquire(name)
        lock_steps.watched.clear()
        throttle.release(name)

    claim = waiting_in_main(name, handler)
    assert claim.depth == 1
    assert throttle.lock_state(name).used == 1
    throttle.release(name)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_grant_to_whoever_has_just_given_back_below_counts_their_slots_once() -> None:
    ledger = ledger_of(2, fairness="eventual")
    first, second = (ledger.take(process_of(key), key, 1, 0.0) for key in (2, 3))
    assert first is not None
    assert second is not None
    waiting = Here(process_of(1), 1)
    ledger.join(waiting, 0.0)
    ledger.drop(first)
    barged = ledger.take(process_of(1), 1, 1, 0.0)
    assert barged is not None
    # Given back, and not yet taken out, when its process is served through its claim.
    barged.depth = 0
    ledger.release(second, 5.0)
    assert waiting.granted
    ledger.release(barged, 5.0)
    ledger.release(waiting, 5.0)
    assert ledger.used == 0
    assert not ledger.holders


# -- cut, and then cut again ----------------------------------------------------


@pytest.mark.parametrize("written_out", [True, False])
def test_a_hand_over_that_is_cut_after_the_taker_has_given_back_is_not_repeated(
    written_out: bool, in_thread: InThread
) -> None:
    core = core_of(1)
    held = core.take(process_of(1), 1, False)
    assert held is not None

    class Sleeper:
        """What the taker sleeps on; it goes on the moment that it is rung, before the giver does."""

        def release(self) -> None:
            in_thread(core.give_back, taker).result(SOON)
            raise Cut

    class Other(ThreadCaller):
        """Not served by the code that is written out for threads."""

    taker = thread_caller("lock", process_of(2), 0, 1, False)
    if not written_out:
        taker.__class__ = Other
    taker.sleeper = cast("Any", Sleeper())
    core.join(taker)
    with pytest.raises(Cut):
        core.give_back(held)
    assert core.ledger.state() == throttle.LockState(0, 0, 0)
    assert not core.combiner.requests
    assert core.ledger.token == 2, "one grant each"


def test_a_second_interrupt_does_not_leave_the_combiner_busy() -> None:
    mended: list[int] = []
    cuts = [1, 2]

    def mend() -> None:
        mended.append(len(cuts))
        if cuts:
            cuts.pop()
            raise Cut

    combiner = Combiner(mend)

    def step() -> None:
        if len(cuts) == 2:
            cuts.pop()
            raise Cut

    with pytest.raises(Cut):
        combiner.submit(step)
    assert not combiner.busy
    combiner.drain()
    assert mended == [1, 0]
    assert not combiner.requests


@pytest.mark.parametrize("others", [0, 2])
@pytest.mark.parametrize("options", [{}, {"rate": "1000000/s"}])
def test_a_stack_without_room_leaves_no_combiner_busy_and_keeps_no_slot(
    lock: Lock, in_thread: InThread, options: Any, others: int
) -> None:
    name = lock(1, **options)
    over = threading.Event()

    def use() -> None:
        while not over.is_set():
            with throttle.slot(name):
                pass

    users = [in_thread(use) for _ in range(others)]

    def deeper() -> None:
        with throttle.slot(name):
            pass
        deeper()

    for _ in range(20):
        with pytest.raises(RecursionError):
            deeper()
        assert throttle.run(name, lambda: "served") == "served"
    over.set()
    for user in users:
        user.result(SOON)
    assert not cores[name].combiner.busy
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


@pytest.mark.parametrize("listened", [False, True])
@pytest.mark.parametrize("where", ["release", "join"])
def test_steps_that_others_left_are_done_when_the_way_out_is_cut(
    where: str, listened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = core_of(1)
    if listened:
        core.ledger.report = lambda change: None
        core.ledger.settle()
    held = core.take(process_of(1), 1, False)
    assert held is not None
    left: list[int] = []
    real = Combiner.drain
    cuts = [1]

    def drain(self: Combiner) -> None:
        if cuts:
            cuts.pop()
            raise Cut
        real(self)

    waiting = Here(process_of(2), 2)
    if where == "release":
        core.join(waiting)
    # Somebody else comes by while this thread is inside: what comes after that is cut.
    core.combiner.turn[0] = stranger = object()
    core.combiner.requests.append(lambda: left.append(1))
    assert core.combiner.turn.pop(0) is stranger
    monkeypatch.setattr(Combiner, "drain", drain)
    with pytest.raises(Cut):
        if where == "release":
            core.give_back(held)
        else:
            core.join(waiting)
    assert left == [1]
    assert not core.combiner.requests
    assert not core.combiner.busy
    assert waiting.granted == (where == "release")


# -- who can't be woken ---------------------------------------------------------


def test_a_slot_offered_to_a_task_whose_loop_was_closed_goes_to_the_next(
    lock: Lock, in_thread: InThread
) -> None:
    name = lock(1)
    free = holder_of(name, in_thread)

    async def wait() -> None:
        async with throttle.slot(name):
            raise AssertionError("its loop is closed")

    async def start() -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(wait())
        while throttle.lock_state(name).waiting < 1:
            await asyncio.sleep(0)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(start())
    # Or asyncio would tell of it, rightly.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    free()
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)
    del task
    gc.collect()
    assert throttle.run(name, lambda: "served") == "served"


def test_a_dead_task_that_was_nudged_is_passed_over() -> None:
    ledger = ledger_of(1, fairness="eventual")

    class Dead(Here):
        def offer(self, hold: Hold) -> bool:
            return False

        def nudge(self) -> bool:
            return False

    first = ledger.take(process_of(1), 1, 1, 0.0)
    assert first is not None
    dead, alive = Dead(process_of(2), 2), Here(process_of(3), 3)
    ledger.join(dead, 0.0)
    ledger.join(alive, 0.0)
    ledger.fair_at = 9.0
    ledger.release(first, 1.0)
    assert alive.nudged
    assert dead not in ledger.queue
    ledger.retry(alive, 1.0)
    assert alive.granted


class Holder(GenServer):
    """Holds a lock, and runs on the thread of whoever sends to it."""

    blocking = False

    def handle_call(self, name: Any, from_: Any, state: Any) -> Reply:
        return Reply(throttle.attempt(name) is not None, state)

    def handle_cast(self, name: Any, state: Any) -> NoReply:
        throttle.release(name)
        return NoReply(state)


def test_who_waits_for_a_lock_first_gives_away_the_drains_that_it_owes(
    lock: Lock, actor: Callable[[], Pid]
) -> None:
    name = lock(1)
    holder = Holder.start()
    assert holder is not None
    assert holder.call(name)
    victim = actor()
    done: list[str] = []

    def hear(event: Any, measurements: Any, metadata: Any) -> None:
        if metadata["pid"] is victim:
            # This thread tells of a death; what it sends now, it runs when that is over.
            holder.cast(name)
            throttle.acquire(name)
            throttle.release(name)
            done.append(name)

    telemetry.attach("a release", ("resprout", "process", "exited"), hear)
    try:
        process.exit(victim, "kill")
    finally:
        telemetry.detach("a release")
    assert done == [name]
    GenServer.stop(holder)


# -- fast paths and rare locks ---------------------------------------------------


def test_a_bounded_line_that_has_emptied_sheds_nobody_who_could_run(lock: Lock) -> None:
    name = lock(2, max_waiting=0)

    async def work() -> str:
        return "done"

    assert [throttle.execute(name, work).result(SOON) for _ in range(4)] == ["done"] * 4


def test_a_heavy_head_is_not_starved_with_eventual_fairness() -> None:
    ledger = ledger_of(2, fairness="eventual")
    first = ledger.take(process_of(1), 1, 1, 0.0)
    second = ledger.take(process_of(2), 2, 1, 0.0)
    assert first is not None
    assert second is not None
    heavy = Here(process_of(3), 3, 2)
    ledger.join(heavy, 0.0)
    ledger.fair_at = 1.0
    ledger.release(first, 0.5)
    # Not yet its turn: whoever comes may pass.
    first = ledger.take(process_of(1), 1, 1, 0.6)
    assert first is not None
    ledger.release(first, 1.0 + PATIENCE)
    assert not heavy.granted
    # It was its turn, but one slot is not enough: that one is kept for it.
    assert ledger.take(process_of(1), 1, 1, 2.0) is None
    light = Here(process_of(4), 4)
    ledger.join(light, 2.0)
    assert not light.granted
    ledger.release(second, 2.1)
    assert heavy.granted
    ledger.release(heavy, 9.0)
    assert light.granted
    # And then whoever comes may pass again.
    assert ledger.take(process_of(1), 1, 1, 9.1) is not None


def test_a_job_given_to_a_worker_is_found_again_after_a_cut() -> None:
    ledger = ledger_of(2)
    held = ledger.take(process_of(1), 1, 2, 0.0)
    assert held is not None

    class Job(Here):
        own = False
        holds: list[Hold]

        def offer(self, hold: Hold) -> bool:
            self.holds = [*getattr(self, "holds", []), hold]
            if len(self.holds) == 1:
                ledger.rekey(hold, process_of(7), 7)
                raise Cut
            return hold is self.holds[0]

    job = Job(process_of(2), -1)
    ledger.join(job, 0.0)
    with pytest.raises(Cut):
        ledger.release(held, 1.0)
    ledger.mend(1.0)
    assert list(ledger.holders) == [7]
    assert ledger.used == 1
    assert job not in ledger.queue


def test_a_job_whose_time_is_over_before_it_has_joined_the_line_is_not_left_there(
    lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(1)
    with throttle.slot(name):
        work = importlib.import_module("resprout.throttle.execute")
        monkeypatch.setattr(work.kernel, "at", lambda when, fire: expire(fire))
        future = throttle.execute(name, int, timeout=0.0)
        with pytest.raises(CallTimeout):
            future.result(SOON)
        assert throttle.lock_state(name).waiting == 0


def expire(fire: Callable[[], object]) -> Any:
    """An alarm that goes off in the very moment in which it is set."""
    task = fire.args[0]  # type: ignore[attr-defined]
    task._job.alarm = SimpleNamespace(cancel=lambda: None)
    task.run(None)
    return task._job.alarm


@pytest.mark.parametrize("steps", [LockSteps, FastSteps])
def test_who_goes_in_does_what_others_have_left_to_whoever_they_found_there(steps: type[LockSteps]) -> None:
    """Also if it only wants to know whether a slot is free."""
    core = core_of(1, steps)
    left: list[int] = []
    core.combiner.requests.append(lambda: left.append(1))
    hold = core.take(process_of(1), 1, False)
    assert left == [1]
    core.combiner.requests.append(lambda: left.append(2))
    core.join(Here(process_of(2), 2))
    assert left == [1, 2]
    if hold is not None:
        core.combiner.requests.append(lambda: left.append(3))
        core.give_back(hold)
        assert left == [1, 2, 3]


def test_an_exception_that_hits_whoever_does_a_step_is_not_its_answer() -> None:
    """A signal handler may raise any exception, in the middle of a step that is done for another thread."""
    combiner = Combiner(lambda: None)
    tries: list[int] = []

    def step() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise InterruptedError
        return "done"

    answer = _Answer(step)
    combiner.requests.append(answer)
    with pytest.raises(InterruptedError):
        combiner.drain()
    combiner.drain()
    assert answer.wait(0) == (True, "done")


def test_a_step_that_always_fails_is_an_error_of_whoever_asked_for_its_answer() -> None:
    combiner = Combiner(lambda: None)

    def step() -> str:
        raise ValueError("never")

    answer = _Answer(step)
    combiner.requests.append(answer)
    with pytest.raises(ValueError, match="never"):
        combiner.drain()
    with pytest.raises(ValueError, match="never"):
        answer.wait(0)
    with pytest.raises(ValueError, match="never"):
        combiner.decide(step)
    assert not combiner.busy
    assert not combiner.requests
