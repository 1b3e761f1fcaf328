"""How a task rests between two pieces of work, and goes on when told: in its loop or, at once, inside the
step of another task.

An asyncio task gives what it awaits the function that wakes it, and lets that be any object with a future's
protocol. So ours keeps the function, and whoever has work for the task calls it: then the task takes its next
step there and then, as itself, with its own context, its own ``current_task`` and its own cancel scopes, and
is back at rest, or waits for something else, when the call returns. No task and no future is made for that.
"""

from __future__ import annotations

import asyncio
import enum
import inspect
import sys
import types
from asyncio import _enter_task, _leave_task
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from .thread_state import enter_task, local

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

    from .parking import LoopBell


class Rest:
    """What a resting task awaits, again and again; belongs to one task.

    Attributes:
        step: has the task take its next step; None while it does not rest.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_cancelled",
        "_context",
        "_loop",
        "_put_by",
        "_to_meet",
        "_waits",
        "step",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The names of asyncio, which reads them: the loop that it belongs to, and that it was yielded by an
        # await.
        self._loop = loop
        self._asyncio_future_blocking = False
        self._context: Context | None = None
        self.step: Callable[[Rest], object] | None = None
        self._put_by: Callable[[Rest], object] | None = None
        """The same while something acts as the task, and waits in its place."""
        self._waits: Any = NOT_WAITING
        """What it waits for; None for the next turn of the loop."""
        self._cancelled: tuple[object] | None = None
        """It was cancelled while it acted; with which message."""
        self._to_meet = False
        """It was cancelled while it rested, and is about to take a step for that."""

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """Whose it is; None while the task takes a step."""
        found: asyncio.Task[Any] | None = getattr(self._put_by or self.step, "__self__", None)
        return found

    def __await__(self) -> Generator[Rest, None, None]:
        self._asyncio_future_blocking = True
        try:
            yield self
        finally:
            # Here, where the task goes on: so it goes on once, and an interrupt anywhere before costs no
            # step.
            self.step = self._put_by = None
            self._waits = NOT_WAITING

    # What the task asks of a future.

    def add_done_callback(self, step: Callable[[Rest], object], *, context: Context) -> None:
        """The task rests."""
        self._context = context
        self.step = step

    def result(self) -> None:
        """Nothing: the task looks itself for what there is to do."""

    def cancel(self, msg: object = None) -> bool:
        """The task was cancelled while it rests: it takes a step, and meets that. One that waits passes it on
        as any task does, and one that acts meets it when it waits.
        """
        if self.step is not None:
            self._to_meet = True
            self._loop.call_soon(self.go_on)
            return False
        waits = self._waits
        if waits is not NOT_WAITING:
            return waits is not None and bool(waits.cancel(msg=msg))
        self._cancelled = (msg,)
        return True

    # What whoever has work for it calls, on the thread of its loop.

    def go_on(self) -> None:
        """Have the task take a step, in a callback of its loop; nothing happens when it does not rest."""
        step = self.step
        self._to_meet = False
        if step is not None and self._context is not None:
            _take_turn(self._loop, self._context, step, self)

    def recover(self) -> None:
        """Have the task go on if an interrupt has ended the callback that was to see to that. In a callback
        of its loop; may be repeated.
        """
        if self._waits is NOT_WAITING or self._waits is None or self._waits.done():
            self._woken(self._waits)

    def go_on_within(self, me: asyncio.Task[Any]) -> None:
        """Have the task take a step now, inside that of another one of its loop."""
        loop = self._loop
        left = False
        try:
            _leave_task(loop, me)
            left = True
            step = self.step
            if step is not None and self._context is not None:
                self._context.run(step, self)
        finally:
            if left:
                _enter_task(loop, me)

    def act_within(
        self,
        me: asyncio.Task[Any],
        task: asyncio.Task[Any],
        act: Callable[[Any], Outcome],
        item: object,
        right: list[bool],
    ) -> Outcome:
        """Do something as the resting task, inside the step of another one of its loop: half the price of a
        step of its own coroutine.

        Args:
            me: the task whose step this is.
            task: the one that rests.
            act: called with item; says how the task goes on.
            item: for act.
            right: of whoever wants the task to do something; its element is taken, and given back if the task
                rests again. BUSY if somebody else has taken it.
        """
        if self._to_meet:
            return BUSY
        loop, context = self._loop, self._context
        assert context is not None
        held = False
        outcome = RESTS
        try:
            # Taken, noted and given back without a call in between that an interrupt could come behind.
            try:
                del right[0]
                held = True
            except IndexError:
                return BUSY
            step = self._put_by = self.step
            if step is None:
                # An interrupt has hit it just when it was to rest: see is_lost_to.
                return BUSY
            self.step = None
            enter_task(loop, task)
            outcome = context.run(act, item)
            if outcome is STEPS:
                _leave_task(loop, task)
                context.run(step, self)
        finally:
            if held:
                if outcome is RESTS:
                    if self._put_by is not None:
                        self.step, self._put_by = self._put_by, None
                    right += (True,)
                enter_task(loop, me)
                if self._cancelled is not None:
                    self._cancel_again(task)
        return outcome

    def is_lost_to(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task awaits this and never goes on: an interrupt has hit it just when it began to."""
        waits = getattr(task.get_coro(), "cr_await", None)
        here = getattr(waits, "gi_code", None) is Rest.__await__.__code__
        return here and not task.done() and self.step is None and self._put_by is None

    def wait_for(self, waits: Any) -> bool:
        """Have what acts as the task wait, in place of the task, which then takes a step.

        Args:
            waits: what a coroutine has yielded.

        Returns:
            False if that is none of the two usual things: then the task has to wait for it, which knows all
            of them.
        """
        if waits is None:
            self._loop.call_soon(self._woken, None)
        elif (
            waits.__class__ is asyncio.Future
            and waits._asyncio_future_blocking
            and (waits.get_loop() is self._loop)
        ):
            waits._asyncio_future_blocking = False
            waits.add_done_callback(self._woken)
        else:
            return False
        self._waits = waits
        return True

    def _woken(self, waits: object) -> None:
        step = self._put_by
        # Of another wait, if an interrupt has had this one looked after.
        if step is not None and self._context is not None and waits is self._waits:
            _take_turn(self._loop, self._context, step, self)

    def _cancel_again(self, task: asyncio.Task[Any]) -> None:
        """It was cancelled while it acted, when there was no wait to cancel."""
        cancelled, self._cancelled = self._cancelled, None
        if cancelled is not None:
            if sys.version_info >= (3, 13) and not task.cancelling():
                # Taken back meanwhile.
                return
            # It counts once.
            uncancel(task)
            task.cancel(*cancelled)


class Outcome(enum.Enum):
    """How a task goes on for which something has acted."""

    RESTS = enum.auto()
    STEPS = enum.auto()
    """It takes a step at once."""
    WAITS = enum.auto()
    """See wait_for."""
    BUSY = enum.auto()
    """Nothing has acted: the task is somebody else's at the moment."""


RESTS, STEPS, WAITS, BUSY = Outcome.RESTS, Outcome.STEPS, Outcome.WAITS, Outcome.BUSY
NOT_WAITING: Final = object()


def _take_turn(
    loop: asyncio.AbstractEventLoop, context: Context, step: Callable[[Rest], object], rest: Rest
) -> None:
    """Have a task take a step in a callback of its loop, and then those whom it has given an answer: one turn
    of the loop less for them.
    """
    state = local.state
    answered: list[LoopBell] = []
    state.answered = answered
    try:
        try:
            context.run(step, rest)
        finally:
            # Whom those answer whose turn it is now waits for the next.
            state.answered = None
        while True:
            if not answered:
                break
            answered[0].end_at_once()
            del answered[0]
    except BaseException:
        # An interrupt: it goes first, and the others on in the next turn. (A wait ends once.)
        for bell in answered:
            loop.call_soon(bell.end)
        raise


@types.coroutine
def rest_of(
    begun: Any, waits: object = NOT_WAITING, error: BaseException | None = None
) -> Generator[Any, Any, Any]:
    """Await a coroutine that has taken its first step elsewhere.

    Args:
        begun: it, a coroutine.
        waits: what that step has yielded, if that is still to be waited for.
        error: what came of waiting for it.
    """
    while True:
        if error is None:
            if waits is not NOT_WAITING:
                try:
                    yield waits
                except GeneratorExit:
                    begun.close()
                    raise
                except BaseException as thrown:
                    error = thrown
            if error is None:
                return (yield from begun)
        try:
            waits, error = begun.throw(error), None
        except StopIteration as end:
            return end.value


def has_begun(task: asyncio.Task[Any]) -> bool:
    """Whether a task has taken its first step. One that is cancelled before that never takes it."""
    state = inspect.getcoroutinestate(cast("Coroutine[Any, Any, Any]", task.get_coro()))
    return state != inspect.CORO_CREATED


def uncancel(task: asyncio.Task[Any] | None) -> None:
    """Take note that a task has seen to its cancellation, so that what it awaits next is not taken for
    cancelled (a task group asks, from Python 3.11 on).
    """
    if sys.version_info >= (3, 11) and task is not None:
        task.uncancel()


def start_task(
    live: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context, name: str
) -> asyncio.Task[None]:
    """Make a task that will rest, on the thread of its loop.

    It is of no task factory, since it is no computation of the user's, and not among ``asyncio.all_tasks()``:
    what waits for all of those, or cancels them as ``asyncio.run`` does at its end, is not meant for what
    serves the others, and ends after them.
    """
    if sys.version_info >= (3, 11):
        task: asyncio.Task[None] = asyncio.Task(live, loop=loop, name=name, context=context)
    else:
        # It takes a copy of the context that it is made in.
        task = context.run(partial(asyncio.Task, live, loop=loop, name=name))
    asyncio._unregister_task(task)
    # It is destroyed so when its loop is closed: that is told elsewhere.
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # unknown to typeshed
    return task
