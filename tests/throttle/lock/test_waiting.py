"""A wait and its end: what comes between, on top, or instead."""

from __future__ import annotations

import asyncio
import selectors
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest

from resprout import throttle
from resprout.actors import CallTimeout, NotHeld, Pid, ServerExit, process
from resprout.throttle.ledger.holds import Hold
from resprout.throttle.lock import lock_steps
from resprout.throttle.lock.callers import GRANTED, TaskCaller, thread_caller
from resprout.throttle.lock.fast_steps import FastSteps
from resprout.throttle.lock.table import cores
from resprout.throttle.lock.waiting import _decided, queue_up

from ...interrupting import Interrupter
from ..claims import core_of, held, process_of

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0


# -- threads that sleep ---------------------------------------------------------


def test_a_signal_handler_that_waits_on_top_of_a_wait_leaves_it_its_own_wake_up(
    lock: Lock, in_thread: InThread, quiet_line: Any
) -> None:
    below, above = lock(1), lock(1)
    steps: list[str] = []
    handled: list[int] = []
    main = threading.get_ident()

    def other() -> None:
        with throttle.slot(above):
            with throttle.slot(below):
                ready.set()
                quiet_line(below).until_waiting(1)
                # Again and again, since a signal that comes just before its thread sleeps does not end that.
                quiet_line(above).until(
                    lambda: (
                        signal.pthread_kill(main, signal.SIGUSR1) or throttle.lock_state(above).waiting == 1
                    )
                )
            # The wait below is over now, and its thread is in the handler, which still waits.
            steps.append("below is granted")

    def handler(number: int, frame: object) -> None:
        if not handled:
            handled.append(number)
            with throttle.slot(above):
                steps.append("handler")

    ready = threading.Event()
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        done = in_thread(other)
        assert ready.wait(SOON)
        with throttle.slot(below):
            steps.append("main")
        done.result(SOON)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert steps == ["below is granted", "handler", "main"]


def test_an_exit_signal_ends_a_wait_and_its_place_in_the_line(
    lock: Lock, in_thread: InThread, quiet_line: Any
) -> None:
    name = lock(1)
    throttle.acquire(name)
    waiting: list[Pid] = []

    def wait() -> None:
        waiting.append(process.current())
        with pytest.raises(ServerExit):
            throttle.acquire(name)

    done = in_thread(wait)
    quiet_line(name).until_waiting(1)
    process.exit(waiting[0], "enough")
    done.result(SOON)
    assert throttle.lock_state(name) == throttle.LockState(1, 0, 1)
    throttle.release(name)
    assert not cores[name].ledger.queue.by_key


def test_a_process_that_dies_in_the_moment_of_its_grant_hands_that_on() -> None:
    core = core_of(1)
    giver = held(core.take(process_of(1), 1, False))
    me: Any = process_of(9)

    def meet_death() -> None:
        raise ServerExit("enough", me, "acquire")

    def sleep() -> None:
        core.give_back(giver)
        me._fate = ("enough",)

    me.parked, me._fate, me.dead, me.meet_death = None, (), False, meet_death
    me.sleeper = SimpleNamespace(acquire=sleep, release=lambda: None)
    # There has to be a line, or it would not sleep here.
    next_one = thread_caller("lock", process_of(2), 0, 1, False)
    core.join(next_one)
    next_one.depth = 0
    with pytest.raises(ServerExit):
        queue_up(cast("Any", core), me, cast("Any", SimpleNamespace(deferred=None)), None, 0, 1, False)
    assert core.ledger.state() == throttle.LockState(0, 0, 0)
    assert me.parked is None


def test_an_acquire_of_nobody_known_in_a_crowd_is_freed_when_its_thread_ends(
    lock: Lock, in_thread: InThread, quiet_line: Any
) -> None:
    name = lock(1)
    throttle.acquire(name)
    first = in_thread(throttle.run, name, int)
    quiet_line(name).until_waiting(1)
    # This one finds a line, and never gives back.
    ends = in_thread(throttle.acquire, name)
    quiet_line(name).until_waiting(2)
    throttle.release(name)
    first.result(SOON)
    ends.result(SOON)
    assert throttle.run(name, lambda: "free again", timeout=SOON) == "free again"


@pytest.mark.parametrize("in_a_crowd", [False, True])
def test_who_watches_is_asked_in_a_crowd_as_well(
    in_a_crowd: bool, lock: Lock, in_thread: InThread, quiet_line: Any
) -> None:
    name = lock(1)

    class Forbidden(Exception):
        pass

    def forbid(pid: Pid, wanted: str) -> None:
        if wanted == name:
            raise Forbidden

    async def in_task() -> None:
        async with throttle.slot(name):
            pass

    async def known() -> None:
        # The lock knows the task already, so only the line is in question.
        cores[name].attach(process.current())
        await in_task()

    waits = []
    throttle.run(name, int)
    if in_a_crowd:
        on, has = threading.Event(), threading.Event()
        waits.append(in_thread(throttle.run, name, lambda: has.set() or on.wait(SOON)))
        assert has.wait(SOON)
        waits.append(in_thread(throttle.run, name, int))
        quiet_line(name).until_waiting(1)
    lock_steps.watched.append(forbid)
    try:
        with pytest.raises(Forbidden):
            throttle.acquire(name)
        with pytest.raises(Forbidden):
            asyncio.run(known())
    finally:
        lock_steps.watched.remove(forbid)
        if in_a_crowd:
            on.set()
        for wait in waits:
            wait.result(SOON)
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


def test_a_task_that_first_came_in_a_crowd_frees_its_slot_by_ending(lock: Lock) -> None:
    name = lock(1)

    async def holder() -> None:
        async with throttle.slot(name):
            await joined.wait()

    async def ends_inside() -> None:
        # Entered and never left.
        await throttle.slot(name).__aenter__()

    async def main() -> None:
        first = asyncio.ensure_future(holder())
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(ends_inside()) for _ in range(3)]
        while throttle.lock_state(name).waiting < 3:
            await asyncio.sleep(0)
        joined.set()
        await asyncio.wait_for(asyncio.gather(first, *others), SOON)

    joined = asyncio.Event()
    asyncio.run(main())
    assert throttle.lock_state(name) == throttle.LockState(0, 0, 0)


# -- claims, step by step -------------------------------------------------------


def fake_thread(key: int, **more: Any) -> Any:
    return SimpleNamespace(
        id=key, attach=lambda resource: None, _gone=False, parked=None, _fate=(), dead=False, **more
    )


def waiting_for(core: FastSteps, me: Any, weight: int = 1) -> Hold:
    here: Any = SimpleNamespace(deferred=None)
    return queue_up(cast("Any", core), me, here, None, 0, weight, False)


def test_who_holds_already_nests_though_others_wait() -> None:
    core = core_of(1)
    me = fake_thread(1, sleeper=None)
    hold = held(core.take(me, 1, False))
    core.join(thread_caller("lock", process_of(2), 0, 1, False))
    assert waiting_for(core, me) is hold
    assert hold.depth == 2


def test_a_weight_that_a_resize_has_made_too_heavy_is_refused_in_a_crowd() -> None:
    core = core_of(1)
    held(core.take(process_of(1), 1, False))
    core.join(thread_caller("lock", process_of(2), 0, 1, False))
    with pytest.raises(ValueError, match="which is 1, got: 2"):
        waiting_for(core, fake_thread(3, sleeper=None), weight=2)
    assert set(core.ledger.queue.by_key) == {2}


def test_two_claims_of_one_process_are_answered_together_and_by_one_slot() -> None:
    core = core_of(1)
    giver = held(core.take(process_of(1), 1, False))
    me = process_of(2)
    first, second = (thread_caller("lock", me, 0, 1, False) for _ in range(2))
    other = thread_caller("lock", process_of(3), 0, 1, False)
    for claim in (first, second, other):
        core.join(claim)
    core.give_back(giver)
    assert first.answer is GRANTED
    assert second.answer is first
    assert other.answer is None
    assert list(core.ledger.waiting()) == [other]


def test_two_claims_of_one_process_survive_an_interrupt_of_whoever_gives_to_them(
    interrupted: Interrupter,
) -> None:
    for cuts in interrupted.everywhere(15):
        core = core_of(1)
        giver = held(core.take(process_of(1), 1, False))
        me = process_of(2)
        first, second = (thread_caller("lock", me, 0, 1, False) for _ in range(2))
        core.join(first)
        core.join(second)
        interrupted(cuts, lambda core=core, giver=giver: core.give_back(giver))
        if giver.depth > 0:
            core.give_back(giver)
        assert first.answer is GRANTED
        # The second is that of a handler, on top, which goes on first.
        nested = _decided(cast("Any", core), second, None, None)
        assert nested is first
        core.give_back(held(nested))
        assert first.depth == 1
        core.give_back(first)
        assert core.ledger.state() == throttle.LockState(0, 0, 0)
        assert not core.ledger.queue.by_key


def test_a_hold_that_was_taken_from_its_holder_is_not_handed_over_when_that_gives_back() -> None:
    core = core_of(1)
    giver = held(core.take(process_of(1), 1, False))
    claims = [thread_caller("lock", process_of(key), 0, 1, False) for key in (2, 3)]
    for claim in claims:
        core.join(claim)
    # Its process has left, and the code that gives back was past its look.
    core.ledger.holder_left(1, 0.0)
    giver.depth = 1
    core.give_back(giver)
    assert core.ledger.holders == {2: claims[0]}
    assert claims[1].answer is None


def test_who_has_given_up_is_neither_granted_nor_nudged() -> None:
    core = core_of(1)

    async def in_task() -> TaskCaller:
        return TaskCaller("lock", process_of(2), 0, 1, False)

    for claim in (thread_caller("lock", process_of(1), 0, 1, False), asyncio.run(in_task())):
        claim.depth = 0
        assert not claim.offer(claim)
        assert not claim.nudge()
        assert not core.ledger.holders


def test_a_task_that_gives_up_is_not_granted_within_its_loop_either() -> None:
    async def main() -> None:
        claim = TaskCaller("lock", cast("Any", process.current()), 0, 1, False)
        claim.depth = 0
        assert not claim.offer(claim)
        claim.depth = 1
        assert claim.offer(claim)
        assert claim.offer(claim), "that of a mend, once more"

    asyncio.run(main())


def test_a_timeout_of_0_finds_a_free_slot_while_somebody_is_at_the_ledger(
    lock: Lock, in_thread: InThread
) -> None:
    name = lock(2)
    throttle.acquire(name)
    core = cores[name]
    core.combiner.turn[0] = stranger = object()
    wanting = in_thread(throttle.acquire, name, 0)
    while not core.combiner.requests:
        assert not wanting.done()
    assert core.combiner.turn.pop(0) is stranger
    core.combiner.drain()
    assert wanting.result(SOON).name == name
    throttle.release(name)
    with throttle.slot(name), pytest.raises(CallTimeout):
        in_thread(throttle.acquire, name, 0, weight=2).result(SOON)


def test_an_interrupt_before_a_process_is_tied_to_the_lock_is_made_good_by_the_next_acquire(
    lock: Lock, in_thread: InThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = lock(1)
    real = Pid.attach

    def attach(self: Pid, resource: Any) -> None:
        monkeypatch.setattr(Pid, "attach", real)
        raise KeyboardInterrupt

    def ends_inside() -> None:
        process.current()
        monkeypatch.setattr(Pid, "attach", attach)
        with pytest.raises(KeyboardInterrupt):
            throttle.acquire(name)
        throttle.acquire(name)

    in_thread(ends_inside).result(SOON)
    assert throttle.run(name, lambda: "free again", timeout=SOON) == "free again"


# -- event loops ----------------------------------------------------------------


def test_a_release_in_a_signal_handler_wakes_the_loop_that_sleeps_below(lock: Lock) -> None:
    """The loop is in ``select``, with nothing to do."""
    name = lock(1)
    woken: list[int] = []

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            if timeout is None or timeout > 1.0:
                throttle.release(name)
                events = super().select(1.0)
                woken.append(len(events))
                return events
            return super().select(timeout)

    async def main() -> None:
        async with throttle.slot(name):
            pass

    throttle.acquire(name)
    loop = asyncio.SelectorEventLoop(Selector())
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert woken == [1]


def test_a_task_gives_back_what_it_held_before_an_exit_signal_and_nothing_of_its_thread(lock: Lock) -> None:
    of_the_thread, of_the_task = lock(1), lock(1)

    async def main() -> None:
        with pytest.raises(NotHeld):
            throttle.release(of_the_thread)
        await throttle.aacquire(of_the_task)
        process.exit(process.current(), "enough")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        with pytest.raises(ServerExit):
            process.current()
        throttle.release(of_the_task)
        assert throttle.lock_state(of_the_task) == throttle.LockState(0, 0, 0)

    throttle.acquire(of_the_thread)
    process.exit(process.current(), "enough")
    with pytest.raises(ServerExit):
        process.current()
    asyncio.run(main())
    assert throttle.lock_state(of_the_thread) == throttle.LockState(1, 0, 1)
    throttle.release(of_the_thread)
    assert throttle.lock_state(of_the_thread) == throttle.LockState(0, 0, 0)


# -- the end of the stack -------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"rate": "1000000/s"}, {"fairness": "eventual"}])
def test_a_release_at_the_end_of_the_stack_serves_the_next(
    options: Any, lock: Lock, in_thread: InThread, quiet_line: Any
) -> None:
    name = lock(1, **options)

    def deep(calls: int) -> None:
        if calls:
            deep(calls - 1)
        else:
            throttle.release(name)

    depth = 0
    frame: Any = sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    room = sys.getrecursionlimit() - depth
    failed = 0
    for left in range(40):
        hold: Any = throttle.acquire(name)
        served = in_thread(throttle.run, name, lambda: "served")
        quiet_line(name).until_waiting(1)
        try:
            deep(room - left)
        except RecursionError:
            failed += 1
        if hold.depth > 0:
            # There was no room even to begin.
            throttle.release(name)
        if sys.version_info < (3, 12):
            # There may have been no room to wake the kernel thread either: the next use of the lock does it.
            throttle.lock_state(name)
        assert served.result(SOON) == "served"
    assert failed
