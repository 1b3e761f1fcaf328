"""How a thread of resprout waits: parked on a lock of its own, and woken by an answer, a message, or its
process's death.
"""

from __future__ import annotations

import _thread
import asyncio
import time
from asyncio import _get_running_loop
from collections.abc import Callable, Generator
from typing import Any, Protocol

from ..vocabulary.errors import BlockingInLoop
from .deferred_drains import hand_over_deferred_drains
from .kernel import kernel
from .loop_bells import bells_of, finish
from .thread_state import current_if_any, local, runs_in_this_thread, task_of


class Parked(Protocol):
    """What wakes a process that waits."""

    def wake(self) -> None:
        """Have it look whether it has died. May be called by anybody, any number of times, from anywhere."""


class Waiter:
    """One wait. ``wake`` may be called by anybody, any number of times, from anywhere."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = _thread.allocate_lock()
        """Taken until it is woken."""
        self.lock.acquire()

    def wake(self, _answer: object = None) -> None:
        # Released already means woken already. (contextlib.suppress would double the cost of the common
        # case.)
        try:
            self.lock.release()
        except RecursionError:
            # No room on the stack even for this; it is a RuntimeError, too.
            raise
        except RuntimeError:
            pass

    __call__ = wake

    def wait(self, timeout: float | None) -> bool:
        """Sleep until woken, at most timeout seconds; False when the time is over."""
        if timeout is None:
            return self.lock.acquire()
        return self.lock.acquire(timeout=min(max(timeout, 0.0), _thread.TIMEOUT_MAX))


def forbid_loop(what: str, instead: str) -> None:
    """Refuse a blocking form where it would stop an event loop, whether or not it would have to wait this
    time.

    Args:
        what: the form, as the user wrote it.
        instead: the expression to await there, or the ``async`` statement to write.

    Raises:
        BlockingInLoop: when an event loop runs in this thread.
    """
    if _get_running_loop() is not None:
        code = instead if instead.startswith("async ") else f"await {instead}"
        raise BlockingInLoop(f"{what} would block the running event loop; use `{code}` instead")


def need_loop(what: str) -> asyncio.AbstractEventLoop:
    """Return the loop whose task this code is, for a form that only such a task can use: what another loop
    runs (trio's) could not wait, and would be taken for its whole thread.

    Args:
        what: the form, as the user wrote it.

    Raises:
        RuntimeError: this is no task of asyncio's.
    """
    loop = _get_running_loop()
    if loop is None or task_of(loop) is None:
        raise RuntimeError(
            f"{what} needs a task of an asyncio event loop, and this code is none; under trio, do the work "
            f"with the blocking forms on a thread, as in `await anyio.to_thread.run_sync(work)`"
        )
    return loop


def in_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    return _get_running_loop() is not None


def check_timeout(timeout: object) -> None:
    """Refuse what is not a time to wait.

    Raises:
        TypeError: not a number and not None.
        ValueError: negative.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"expected timeout to be a number of seconds or None, got: {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"expected timeout to be at least 0 seconds (or None for ever), got: {timeout!r}")


def park(
    register: Callable[[Waiter], bool], unregister: Callable[[Waiter], None], timeout: float | None
) -> bool:
    """Wait until somebody wakes the waiter.

    Args:
        register: tells the waker about the waiter; True when there is nothing to wait for any more. It looks
            *after* it has registered, so that a wake between the look and the sleep is not lost.
        unregister: takes the waiter away again.
        timeout: seconds, None for ever.

    Returns:
        False when the time is over.

    Raises:
        Killed: the process that waits has died meanwhile.
        ServerExit: the thread that waits got an exit signal (once; it goes on as a new process).
    """
    process = current_if_any()
    waiter = Waiter()
    pool = kernel.pool
    thread_id = 0
    # A signal handler may wait on top of a wait.
    before = None if process is None else process.parked
    try:
        if process is not None:
            process.parked = waiter
        if register(waiter):
            return True
        if process is not None and process._fate:
            process.meet_death()
        if local.state.deferred:
            hand_over_deferred_drains()
        thread_id = _thread.get_ident()
        # A thread that is known to wait does not count against the pool's growth (the dict's keys are thread
        # ids).
        if local.state.worker:
            pool.waiting[thread_id] = None
            if pool.backlog:
                kernel.ring()
        if kernel.exiting:
            return _wait_and_help(waiter, timeout)
        woken = waiter.wait(timeout)
        if process is not None and process._fate:
            process.meet_death()
        return woken
    finally:
        if thread_id:
            pool.waiting.pop(thread_id, None)
        unregister(waiter)
        if process is not None:
            process.parked = before


def _wait_and_help(waiter: Waiter, timeout: float | None) -> bool:
    """At the interpreter's exit no thread can be started, so who waits runs the pool's backlog meanwhile."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        if waiter.wait(0.0):
            return True
        if kernel.pool.help():
            continue
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        if waiter.wait(0.01 if left is None else min(left, 0.01)):
            return True


class LoopBell:
    """One wait of a coroutine: like a Waiter, on a loop. ``wake`` may be called by anybody, from anywhere.

    What the coroutine's task awaits is a future of asyncio, which the loop keeps: so whoever keeps a bell
    keeps neither the task nor the loop. (No object of ours with a future's protocol, which would save a turn
    of the loop: where an interrupt hits code of ours that a task calls in the middle of its step, that never
    goes on.)
    """

    __slots__ = ("_bells", "_rung")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._bells = bells_of(loop).ref
        self._rung = False

    def wake(self, _answer: object = None) -> None:
        # First; who begins to wait looks afterwards.
        self._rung = True
        bells = self._bells()
        if bells is None or (bell := bells.sleeping.get(self)) is None:
            # Nobody waits yet, or any more.
            return
        loop = bells.loop
        # in_step_of(), written out.
        if task_of(loop) is not None and runs_in_this_thread(loop):
            answered = local.state.answered
            if answered is not None:
                answered.append(self)
            else:
                finish(bell)
            return
        # A loop that has been closed has nobody left who waits.
        try:
            loop.call_soon_threadsafe(finish, bell)
        except RecursionError:
            # No room on the stack even for this; it is a RuntimeError, too.
            raise
        except RuntimeError:
            pass

    __call__ = wake

    @property
    def rung(self) -> bool:
        """Whether it has been woken."""
        return self._rung

    def __await__(self) -> Generator[Any, None, None]:
        if self._rung:
            return
        bells = self._bells()
        assert bells is not None, "its loop runs"
        bells.sleeping[self] = bell = bells.make()
        try:
            if not self._rung:
                yield from bell
        finally:
            # Here, where the task goes on: so a wait ends once, and an interrupt anywhere before loses no
            # end.
            bells.sleeping.pop(self, None)
            bells.steps.pop(self, None)

    async def wait(self, timeout: float | None) -> bool:
        """Sleep until woken; False when the time is over."""
        if self._rung:
            return True
        if timeout is None:
            await self
            return self._rung
        bells = self._bells()
        assert bells is not None, "its loop runs"
        bells.end_after(timeout, self)
        try:
            await self
        finally:
            bells.ended(self)
        return self._rung

    def end(self) -> None:
        """The wait is over, in a callback of the loop: the task goes on in the next turn."""
        bells = self._bells()
        if bells is not None and (bell := bells.sleeping.get(self)) is not None:
            finish(bell)

    def end_at_once(self) -> None:
        """The same, and the task takes its step before this returns."""
        bells = self._bells()
        if bells is None or (bell := bells.sleeping.get(self)) is None or bell.done():
            return
        waiting = bell._callbacks
        if not waiting or len(waiting) > 1:
            finish(bell)
            return
        step, context = waiting[0]
        # Noted first, for `Bells.recover`.
        bells.steps[self] = (step, context)
        bell.remove_done_callback(step)
        bell.set_result(None)
        context.run(step, bell)

    def recover(self) -> None:
        """See to it that the task goes on, if an interrupt has kept somebody from that."""
        bells = self._bells()
        if bells is None or (bell := bells.sleeping.get(self)) is None:
            return
        if bell.done() and (noted := bells.steps.pop(self, None)) is not None:
            step, context = noted
            bells.loop.call_soon(step, bell, context=context)
        elif self._rung:
            finish(bell)
