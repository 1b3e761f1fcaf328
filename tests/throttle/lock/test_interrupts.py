"""What an interrupt of the main thread may cost: the operation that it hits, and nothing else.

Each sentence of "Ctrl-C breaks nothing" in docs/semantics.md: deterministically, at every place of the
runtime's code where CPython looks for signals, and in a storm of real ones.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import GenServer, NotHeld, Ok, Reply, process
from resprout.throttle.ledger.values import LockState
from resprout.throttle.lock.combiner import Combiner
from resprout.throttle.lock.outbox import Outbox
from resprout.throttle.lock.table import cores
from resprout.throttle.slot import slot

from ...interrupting import Interrupter, at_safe_points
from ...waiting import until

Lock = Callable[..., str]
InThread = Callable[..., "Future[Any]"]
SOON = 20.0
FREE = LockState(0, 0, 0)


@pytest.fixture
def interrupts_in_finalizers_are_ignored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As Python does, which prints them; nothing else is, but that asyncio has lost what closes its loop.

    An interrupt that comes while `asyncio.run` closes the loop ends that, and the step it was about to take.
    """
    others: list[object] = []

    def ignored(what: Any) -> None:
        lost = "coroutine 'BaseEventLoop.shutdown_" in str(what.exc_value)
        if what.exc_type is not KeyboardInterrupt and not lost:
            others.append(repr(what.exc_value))

    monkeypatch.setattr(sys, "unraisablehook", ignored)
    yield
    # What the last interrupt has left in a circle is finalized here.
    gc.collect()
    assert others == []


class Counter(GenServer):
    blocking = False

    def init(self, arg: Any) -> Ok:
        return Ok(0)

    def handle_call(self, message: Any, from_: Any, state: int) -> Reply:
        return Reply(state + 1, state + 1)


def is_free(name: str) -> bool:
    return throttle.lock_state(name) == FREE


def is_free_when_collected(name: str) -> bool:
    """Whether it is free when nothing is left of an exception, which may be in a cycle."""
    return is_free(name) or (gc.collect() >= 0 and is_free(name))


@at_safe_points
@pytest.mark.parametrize("waits", ["for nothing", "for a slot"])
def test_an_interrupt_while_a_job_is_handed_to_an_idle_worker_does_not_cost_the_next_job(
    lock: Lock, interrupted: Interrupter, waits: str
) -> None:
    """Whether that job is done or not; and no worker is lost, nor started for each interrupt."""
    name = lock(1)
    throttle.execute(name, int).result(SOON)
    for cuts in interrupted.everywhere(20):
        done: list[int] = []

        def hand_over(done: list[int] = done) -> None:
            # The futures of two jobs: the first is at work when the second comes.
            throttle.execute(name, lambda: done.append(1))

        if waits == "for a slot":
            throttle.acquire(name)
            waiting = throttle.execute(name, lambda done=done: done.append(1))
            was_cut = interrupted(cuts, lambda: throttle.release(name))
            if throttle.lock_state(name).waiting:
                # It came before the release.
                throttle.release(name)
            assert waiting.result(SOON) is None
            assert done == [1]
        else:
            was_cut = interrupted(cuts, hand_over)
        assert throttle.execute(name, lambda: "next").result(SOON) == "next"
        until(lambda: is_free(name))
        assert done in ([], [1])
        assert done or was_cut
    idle_workers = cores[name].idle_workers
    assert idle_workers is not None
    until(lambda: len(set(idle_workers.copy())) == 1)


@at_safe_points
@pytest.mark.usefixtures("interrupts_in_finalizers_are_ignored")
@pytest.mark.parametrize("kind", ["first", "plain", "nested", "within", "with an error", "run", "limited"])
def test_an_interrupt_anywhere_in_a_block_leaves_its_slot_free(
    lock: Lock, interrupted: Interrupter, kind: str
) -> None:
    """Also before the first bytecode of its end."""
    name = lock(2)

    def block() -> None:
        with throttle.slot(name) as grant:
            if kind == "nested":
                with throttle.slot(name):
                    pass
            elif kind == "within":
                with throttle.slot(name, within=grant):
                    pass
            elif kind == "with an error":
                raise ValueError

    def step() -> None:
        if kind == "run":
            throttle.run(name, int)
        elif kind == "limited":
            throttle.limited(name)(int)()
        else:
            with suppress(ValueError):
                block()

    # What is done once for a process and a lock is not done in the middle of the count.
    step()
    for cuts in interrupted.everywhere(10):
        if kind == "first":
            name = lock(2)
        interrupted(cuts, lambda: contextvars.copy_context().run(step), exact=True)
        assert is_free_when_collected(name), f"after an interrupt at the place number {cuts}"
        assert not cores[name].apart


@at_safe_points
@pytest.mark.usefixtures("interrupts_in_finalizers_are_ignored")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", ["plain", "nested", "arun"])
def test_an_interrupt_anywhere_in_an_async_block_leaves_its_slot_free_also_in_a_task_that_goes_on(
    lock: Lock, interrupted: Interrupter, kind: str
) -> None:
    name = lock(2)

    async def nothing() -> None:
        pass

    async def block() -> None:
        if kind == "arun":
            await throttle.arun(name, nothing)
            return
        async with throttle.slot(name):
            if kind == "nested":
                async with throttle.slot(name):
                    pass

    def step() -> None:
        # It has nothing to wait for.
        with pytest.raises(StopIteration):
            block().send(None)

    async def main() -> None:
        # What is done once for a task is not done in the middle of the count.
        step()
        for cuts in interrupted.everywhere(10):
            interrupted(cuts, step, exact=True)
            assert is_free_when_collected(name), f"after an interrupt at the place number {cuts}"

    asyncio.run(main())


@at_safe_points
@pytest.mark.usefixtures("interrupts_in_finalizers_are_ignored")
def test_an_interrupt_anywhere_in_an_async_block_that_waits_leaves_its_slot_to_the_next(
    lock: Lock, interrupted: Interrupter
) -> None:
    name = lock(1)

    async def wait() -> None:
        async with throttle.slot(name):
            pass

    async def main() -> None:
        async with throttle.slot(name):
            tasks = [asyncio.create_task(wait()) for _ in range(2)]
            # Both are in line when this goes on.
            await asyncio.sleep(0)
        with suppress(KeyboardInterrupt):
            await tasks[0]
        await asyncio.wait_for(tasks[1], SOON)

    for cuts in interrupted.everywhere(10):

        def step() -> None:
            with suppress(KeyboardInterrupt):
                asyncio.run(main())

        interrupted(cuts, step, exact=True)
        until(lambda: is_free_when_collected(name))
        assert throttle.run(name, int, timeout=SOON) == 0


@at_safe_points
@pytest.mark.parametrize("taken", ["acquire", "attempt", "nested"])
def test_what_is_interrupted_while_it_acquires_has_acquired_nothing(
    lock: Lock, interrupted: Interrupter, taken: str
) -> None:
    name = lock(1)
    before = LockState(0, 0, 0)
    if taken == "nested":
        throttle.acquire(name)
        before = LockState(1, 0, 1)
    process.current()
    if throttle.attempt(name):
        throttle.release(name)
    for cuts in interrupted.everywhere(3):
        got: list[object] = []
        acquire = partial(throttle.attempt if taken == "attempt" else throttle.acquire, name)
        was_cut = interrupted(cuts, lambda got=got, acquire=acquire: got.append(acquire()), exact=True)
        assert bool(got) is not was_cut
        if got:
            throttle.release(name)
        assert throttle.lock_state(name) == before, f"after an interrupt at the place number {cuts}"
    if taken == "nested":
        throttle.release(name)
        assert is_free(name)


@at_safe_points
@pytest.mark.parametrize("waits", [False, True])
def test_what_is_interrupted_while_it_waits_in_line_leaves_it_and_the_next_in_line_is_served(
    lock: Lock, interrupted: Interrupter, in_thread: InThread, waits: bool
) -> None:
    """Be it before the grant, or with it."""
    name = lock(1)
    throttle.run(name, int)
    for cuts in interrupted.everywhere(10):
        held = throttle.execute(name, (released := threading.Event()).wait, SOON)
        until(lambda: throttle.lock_state(name).running == 1)

        def take(released: threading.Event = released) -> None:
            if not waits:
                released.set()
            else:
                threading.Timer(0.001, released.set).start()
            with throttle.slot(name, SOON):
                pass

        interrupted(cuts, lambda take=take: contextvars.copy_context().run(take), exact=True)
        released.set()
        assert held.result(SOON) is True
        is_free_when_collected(name)
        assert in_thread(throttle.run, name, int, timeout=SOON).result(SOON) == 0
        until(lambda: is_free(name))


@at_safe_points
@pytest.mark.parametrize("how", ["by name", "by the grant"])
@pytest.mark.parametrize("crowd", [0, 2])
def test_what_is_interrupted_while_it_releases_has_released_or_has_not(
    lock: Lock, interrupted: Interrupter, in_thread: InThread, how: str, crowd: int
) -> None:
    """Whoever does it once more finds out; and those who wait in line are served."""
    name = lock(1)
    throttle.run(name, int)
    for cuts in interrupted.everywhere(3):
        grant = throttle.acquire(name)
        waiting = [in_thread(throttle.run, name, int, timeout=SOON) for _ in range(crowd)]
        until(lambda: throttle.lock_state(name).waiting == crowd)
        release = grant.release if how == "by the grant" else partial(throttle.release, name)
        was_cut = interrupted(cuts, release, exact=True)
        assert grant.held <= was_cut
        if grant.held:
            release()
        assert [each.result(SOON) for each in waiting] == [0] * crowd
        with pytest.raises(NotHeld):
            release()
        until(lambda: is_free(name))


@at_safe_points
def test_a_transfer_that_is_interrupted_has_made_the_other_process_the_holder_or_has_not(
    lock: Lock, interrupted: Interrupter
) -> None:
    name = lock(1)
    throttle.run(name, int)
    me = process.current()
    seen: set[bool] = set()
    for cuts in interrupted.everywhere(1):
        heir = Counter.start()
        grant = throttle.acquire(name)
        interrupted(cuts, partial(grant.transfer, heir), exact=True)
        seen.add(grant.held)
        assert [holder.pid for holder in throttle.holders(name)] == [me if grant.held else heir]
        if grant.held:
            grant.release()
        # Otherwise it ends with its new holder.
        GenServer.stop(heir)
        until(lambda: is_free(name))
    assert seen == {True, False}


# -- blocks whose object is gone -----------------------------------------------


@pytest.mark.parametrize("waits", [False, True])
def test_a_grant_that_is_kept_while_its_block_is_dropped_stays_held(
    lock: Lock, in_thread: InThread, waits: bool
) -> None:
    name = lock(1)
    if waits:
        # What has waited is an object of another class.
        released = threading.Event()
        other = throttle.execute(name, released.wait, SOON)

        def release() -> None:
            until(lambda: throttle.lock_state(name).waiting == 1)
            released.set()

        releasing = in_thread(release)
        grant = throttle.slot(name).__enter__()
        assert other.result(SOON) is True
        releasing.result(SOON)
    else:
        grant = throttle.slot(name).__enter__()
    gc.collect()
    assert throttle.lock_state(name) == LockState(1, 0, 1)
    assert grant.held
    grant.assert_held()
    with throttle.slot(name, within=grant):
        assert throttle.lock_state(name).used == 1
    grant.ignored()
    grant.release()
    assert is_free(name)
    assert not grant.held
    with pytest.raises(NotHeld):
        grant.release()


def test_a_grant_that_is_kept_while_its_block_is_dropped_can_be_handed_over(lock: Lock) -> None:
    name = lock(1)
    heir = Counter.start()
    grant = throttle.slot(name).__enter__()
    gc.collect()
    new = grant.transfer(heir)
    assert not grant.held
    del grant
    gc.collect()
    assert [holder.pid for holder in throttle.holders(name)] == [heir]
    new.release()
    assert is_free(name)
    GenServer.stop(heir)


def test_a_slot_comes_back_when_both_its_block_and_its_grant_are_gone(lock: Lock) -> None:
    name = lock(1)
    grant = throttle.slot(name).__enter__()
    gc.collect()
    assert grant.held
    del grant
    gc.collect()
    assert is_free(name)
    throttle.slot(name).__enter__()
    gc.collect()
    assert is_free(name)


def test_a_block_within_one_that_is_gone_keeps_the_slot_until_its_own_end(lock: Lock) -> None:
    name = lock(1)
    grant = throttle.slot(name).__enter__()
    with throttle.slot(name):
        del grant
        gc.collect()
        assert throttle.lock_state(name) == LockState(1, 0, 1)
    assert is_free(name)


def test_a_block_that_is_gone_ends_with_the_one_around_it(lock: Lock) -> None:
    name = lock(1)
    throttle.acquire(name)
    throttle.acquire(name)
    with throttle.slot(name):
        throttle.slot(name).__enter__()
        gc.collect()
    throttle.release(name)
    assert throttle.lock_state(name) == LockState(1, 0, 1)
    throttle.release(name)
    assert is_free(name)


def test_who_waits_for_a_block_that_is_gone_is_served(lock: Lock, in_thread: InThread) -> None:
    name = lock(1)
    grant = throttle.slot(name).__enter__()
    waiting = in_thread(throttle.run, name, int, timeout=SOON)
    until(lambda: throttle.lock_state(name).waiting == 1)
    del grant
    gc.collect()
    assert waiting.result(SOON) == 0


def test_a_block_inside_another_one_that_is_over_keeps_its_slot(lock: Lock) -> None:
    """What is collected with the outer block is the outer block's own acquire."""
    name = lock(1)

    def inner() -> Iterator[None]:
        with throttle.slot(name):
            yield

    with throttle.slot(name):
        goes_on = inner()
        next(goes_on)
    gc.collect()
    assert throttle.lock_state(name) == LockState(1, 0, 1)
    del goes_on
    assert is_free(name)


def test_a_block_that_was_refused_its_arguments_is_collected_in_silence(lock: Lock) -> None:
    name = lock(1)
    refused: Any = slot
    with pytest.raises(TypeError):
        refused(name, nonsense=1)
    with pytest.raises(ValueError, match="on_kill"):
        slot(name, on_kill="sometimes")
    # An error in a finalizer would be a warning, and those are errors here.
    gc.collect()
    assert is_free(name)


def test_a_block_object_that_is_entered_twice_gives_back_what_it_took(lock: Lock) -> None:
    name = lock(1)
    block = throttle.slot(name)
    with block:
        with block:
            assert throttle.lock_state(name).used == 1
        assert throttle.lock_state(name).used == 1
    assert is_free(name)
    block.__enter__()
    block.__enter__()
    del block
    gc.collect()
    assert is_free(name)


@at_safe_points
def test_a_job_whose_cancellation_is_interrupted_has_an_end(lock: Lock, interrupted: Interrupter) -> None:
    name = lock(1)
    for cuts in interrupted.everywhere(3):
        throttle.acquire(name)
        job = throttle.execute(name, int)
        interrupted(cuts, job.cancel)
        throttle.release(name)
        until(job.done)
        assert job.cancelled() or job.result(SOON) == 0
        until(lambda: is_free(name))


# -- a storm -------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals for one thread")
def test_a_storm_of_interrupts_costs_no_slot_no_waiter_no_job_no_key_and_no_process() -> None:
    """Beside threads that do the same and are not to notice anything."""
    storm = Path(__file__).parent / "interrupt_storm.py"
    done = subprocess.run([sys.executable, str(storm)], capture_output=True, text=True, timeout=3 * SOON)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 50


@at_safe_points
@pytest.mark.parametrize("way", ["drain", "submit", "decide"])
def test_the_combiner_is_left_wherever_an_interrupt_comes(interrupted: Interrupter, way: str) -> None:
    """Also at the jump back of its loops, with steps of others in line."""
    for cuts in interrupted.everywhere(5):
        done: set[str] = set()
        combiner = Combiner(lambda done=done: done.add("mended"))
        combiner.requests += [partial(done.add, each) for each in ("first", "second", "third")]
        step = partial(done.add, "own")
        steps = {
            "drain": combiner.drain,
            "submit": partial(combiner.submit, step),
            "decide": partial(combiner.decide, step),
        }
        was_cut = interrupted(cuts, steps[way], exact=True)
        assert not combiner.busy
        combiner.drain()
        assert {"first", "second", "third"} <= done
        assert was_cut or way == "drain" or "own" in done


@at_safe_points
def test_the_turn_to_tell_is_given_back_wherever_an_interrupt_comes(interrupted: Interrupter) -> None:
    for cuts in interrupted.everywhere(5):
        told: set[int] = set()
        outbox = Outbox()
        for each in range(3):
            outbox.later(partial(told.add, each))
        interrupted(cuts, outbox.flush, exact=True)
        outbox.flush()
        until(lambda told=told: told == {0, 1, 2})
        until(lambda outbox=outbox: not outbox._outbox)
        outbox.later(partial(told.add, 3))
        outbox.flush()
        until(lambda told=told: 3 in told)
