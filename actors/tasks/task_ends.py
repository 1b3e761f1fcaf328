"""Waiting for several tasks at once: which of them end, in the order in which they do."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ..runtime.future import Future
from ..runtime.parking import LoopBell, need_loop
from ..vocabulary.errors import CallTimeout

if TYPE_CHECKING:
    from ..vocabulary.messages import Ref


def deadline_of(timeout: float | None) -> float | None:
    """When a time to wait that begins now is over, by the monotonic clock."""
    return None if timeout is None else time.monotonic() + timeout


def wait_until(future: Future[Any], deadline: float | None) -> bool:
    """Wait for a future; False when its time is over. A time of nothing is a look, also in an event loop."""
    left = None if deadline is None else deadline - time.monotonic()
    if left is not None and left <= 0.0:
        return future.done()
    try:
        future.wait(left)
    except CallTimeout:
        return False
    return True


async def await_until(future: Future[Any], deadline: float | None) -> bool:
    """The form of wait_until for coroutines; one that is cancelled ends the wait only."""
    left = None if deadline is None else deadline - time.monotonic()
    if not future.done() and (left is None or left > 0.0):
        bell = LoopBell(need_loop("this form for coroutines"))
        future.add_done_callback(bell)
        try:
            await bell.wait(left)
        finally:
            future.remove_done_callback(bell)
    return future.done()


class Awaited(Protocol):
    """What can be waited for: a `Task`."""

    @property
    def ref(self) -> Ref:
        """Which one."""

    @property
    def _result(self) -> Future[Any]:
        """Completed when it ends."""


A = TypeVar("A", bound=Awaited)


class Ends(Generic[A]):
    """The ends of tasks, each told once. Used by one thread; the tasks end in whatever threads.

    Args:
        tasks: those to begin with; one that is given twice counts once, one that has ended is told first.

    Attributes:
        waited_for: those that have not been told yet.
    """

    def __init__(self, tasks: Iterable[A] = ()) -> None:
        self.waited_for: dict[Ref, tuple[A, Callable[[object], None]]] = {}
        self._ended: deque[A] = deque()
        self._bell: Future[None] = Future()
        for task in tasks:
            if task.ref not in self.waited_for:
                self.add(task)

    def __enter__(self) -> Ends[A]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, task: A) -> None:
        """Wait for one more."""
        tell = partial(self._tell, task)
        self.waited_for[task.ref] = (task, tell)
        task._result.add_done_callback(tell)

    def _tell(self, task: A, _result: object) -> None:
        # In this order: who waits looks at the list after it has hung up a new bell.
        self._ended.append(task)
        self._bell.try_set(None)

    def next(self, deadline: float | None) -> A | None:
        """The next one that has ended; None when the time is over."""
        while True:
            bell, task = self._look()
            if task is not None:
                return task
            if not wait_until(bell, deadline) and not self._ended:
                return None

    async def anext(self, deadline: float | None) -> A | None:
        """The form of next for coroutines."""
        while True:
            bell, task = self._look()
            if task is not None:
                return task
            if not await await_until(bell, deadline) and not self._ended:
                return None

    def _look(self) -> tuple[Future[None], A | None]:
        """Hang up a new bell, and then see who has ended."""
        self._bell = bell = Future[None]()
        while self._ended:
            task = self._ended.popleft()
            # Not one that was dropped meanwhile.
            if self.waited_for.pop(task.ref, None) is not None:
                return bell, task
        return bell, None

    def drop(self, task: A) -> None:
        """Wait for one no more."""
        _, tell = self.waited_for.pop(task.ref, (task, None))
        if tell is not None:
            task._result.remove_done_callback(tell)

    def close(self) -> None:
        """Wait for none of them any more."""
        for task, _ in list(self.waited_for.values()):
            self.drop(task)
