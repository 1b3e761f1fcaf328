"""How a task rests between two pieces of work, and goes on when told: in its loop or, at once, inside the
step of another task.

An asyncio task gives what it awaits the function that wakes it, and lets that be any object with a future's
protocol. So ours keeps the function, and whoever has work for the task calls it: then the task takes its next
step there and then, as itself, with its own context, its own ``current_task`` and its own cancel scopes, and
is back at rest, or waits for something else, when the call returns. No task and no future is made for that.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import _enter_task, _leave_task
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context


class Rest:
    """What a resting task awaits, again and again; belongs to one task.

    Attributes:
        step: has the task take its next step; None while it does not rest.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_loop", "step")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The names of asyncio, which reads them: the loop that it belongs to, and that it was yielded by an
        # await.
        self._loop = loop
        self._asyncio_future_blocking = False
        self._context: Context | None = None
        self.step: Callable[[Rest], object] | None = None

    def __await__(self) -> Generator[Rest, None, None]:
        self._asyncio_future_blocking = True
        yield self

    # What the task asks of a future.

    def add_done_callback(self, step: Callable[[Rest], object], *, context: Context) -> None:
        """The task rests."""
        self._context = context
        self.step = step

    def result(self) -> None:
        """Nothing: the task looks itself for what there is to do."""

    def cancel(self, msg: object = None) -> bool:
        """The task was cancelled while it rests: it takes a step, and meets that."""
        self._loop.call_soon(self.go_on)
        return False

    # What whoever has work for it calls, on the thread of its loop.

    def go_on(self) -> None:
        """Have the task take a step, in a callback of its loop; nothing happens when it does not rest."""
        step, self.step = self.step, None
        if step is not None and self._context is not None:
            self._context.run(step, self)

    def go_on_within(self, task: asyncio.Task[Any]) -> None:
        """Have the task take a step now, inside that of another one of its loop."""
        loop = self._loop
        left = False
        try:
            _leave_task(loop, task)
            left = True
            self.go_on()
        finally:
            if left:
                _enter_task(loop, task)


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
