"""Streams: a function called with each of many items, so many at once, in tasks.

Semantics: Elixir's ``Task.async_stream``. Differs from OTP: the tasks are linked to the owner itself, not to
a process in between; nothing of that shows in its mailbox.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Protocol

import attrs

from ..processes.pid import Pid
from ..runtime.parking import check_timeout, need_loop
from ..runtime.thread_state import check_alive
from ..vocabulary.errors import CallTimeout, ServerExit
from ..vocabulary.messages import TaskExit
from .task_ends import Awaited, Ends, await_until, deadline_of, wait_until


class Streamed(Awaited, Protocol):
    """A task of a stream: a `Task`, which the stream of its results ends like its owner would."""

    @property
    def owner(self) -> Pid:
        """Who takes the results."""

    def _take(self) -> Any:
        """Give the result, or raise what came in its place."""

    def _let_go(self, *, take: bool = True) -> None:
        """End what ties it to its owner."""

    def _kill(self, *, take: bool = True) -> None:
        """End it."""


CPUS = os.cpu_count() or 1
_NONE: Any = object()
"""In the place of an item or a result: there is none."""


@attrs.frozen
class StreamOptions:
    """How a stream goes about its items; see ``Task.async_stream``.

    Attributes:
        max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit: as there.
        tolerant: whether a failed item is yielded also for an owner that does not trap exits, as its tasks
            are not linked to it.
    """

    max_concurrency: int
    ordered: bool
    timeout: float | None
    on_timeout: str
    zip_input_on_exit: bool
    tolerant: bool = False


def make_stream(
    iterable: Iterable[Any],
    function: Callable[..., Any],
    options: StreamOptions,
    begin: Callable[[Callable[..., Any], Any], Streamed],
) -> Iterator[Any]:
    """Check the arguments now, not at the first next, and make the stream.

    Args:
        iterable, function, options: see ``Task.async_stream``.
        begin: starts the task for one item.
    """
    _check(function, options)
    return _Stream(iter(iterable), options).results(lambda item: begin(function, item))


def make_astream(
    iterable: Iterable[Any],
    function: Callable[..., Any],
    options: StreamOptions,
    begin: Callable[[Callable[..., Any], Any], Awaitable[Streamed]],
) -> AsyncResults:
    """The form of make_stream for coroutines; see ``Task.astream``."""
    _check(function, options)
    return AsyncResults(_Stream(iter(iterable), options), lambda item: begin(function, item))


def _check(function: object, options: StreamOptions) -> None:
    check_alive()
    room = options.max_concurrency
    if isinstance(room, bool) or not isinstance(room, int) or room < 1:
        raise ValueError(f"expected max_concurrency to be a positive integer, got: {room!r}")
    if options.on_timeout not in ("exit", "kill_task"):
        raise ValueError(f"expected on_timeout to be 'exit' or 'kill_task', got: {options.on_timeout!r}")
    if not callable(function):
        raise TypeError(f"expected a function, got: {function!r}")
    check_timeout(options.timeout)


@attrs.frozen
class _Item:
    """One item at work."""

    task: Streamed
    item: object
    deadline: float | None


class _Stream:
    """The state of one stream."""

    def __init__(self, items: Iterator[Any], options: StreamOptions) -> None:
        self._items = items
        self._options = options
        self._at_work: dict[object, _Item] = {}
        """The oldest first, by the Ref of its task."""
        self._ends: Ends[Streamed] = Ends()
        self._more = True

    def results(self, begin: Callable[[Any], Streamed]) -> Iterator[Any]:
        # Whether the owner's code asks for the next result: else this is closed, whoever does so, and it may
        # be inside the garbage collector.
        asked = True
        try:
            while True:
                while True:
                    item = self._item()
                    if item is _NONE:
                        break
                    self._begun(begin(item), item)
                if not self._at_work:
                    return
                result = self._next()
                asked = False
                yield result
                asked = True
        finally:
            self.end(take=asked)

    async def anext(self, begin: Callable[[Any], Awaitable[Streamed]]) -> Any:
        """The next result, awaited; `_NONE` at the end."""
        while True:
            item = self._item()
            if item is _NONE:
                break
            self._begun(await begin(item), item)
        if not self._at_work:
            return _NONE
        return await self._anext()

    def end(self, *, take: bool) -> None:
        """End what is at work, also when the owner is dead, and without a wait."""
        self._more = False
        self._ends.close()
        at_work, self._at_work = self._at_work, {}
        for one in at_work.values():
            one.task._kill(take=take)

    def _item(self) -> Any:
        """The next item, if there is one and room for its task; else `_NONE`."""
        if not self._more or len(self._at_work) >= self._options.max_concurrency:
            return _NONE
        item = next(self._items, _NONE)
        self._more = item is not _NONE
        return item

    def _begun(self, task: Streamed, item: object) -> None:
        self._at_work[task.ref] = _Item(task, item, deadline_of(self._options.timeout))
        if not self._options.ordered:
            self._ends.add(task)

    def _next(self) -> Any:
        """The next result: of the oldest task or, unordered, of the first that is done."""
        check_alive()
        # The time is the same for all, so that of the oldest is over first.
        oldest = next(iter(self._at_work.values()))
        if self._options.ordered:
            ended = oldest.task if wait_until(oldest.task._result, oldest.deadline) else None
        else:
            ended = self._ends.next(oldest.deadline)
        return self._too_late(oldest) if ended is None else self._result(self._at_work.pop(ended.ref))

    async def _anext(self) -> Any:
        check_alive()
        oldest = next(iter(self._at_work.values()))
        if self._options.ordered:
            ended = oldest.task if await await_until(oldest.task._result, oldest.deadline) else None
        else:
            ended = await self._ends.anext(oldest.deadline)
        return self._too_late(oldest) if ended is None else self._result(self._at_work.pop(ended.ref))

    def _result(self, one: _Item) -> Any:
        """The result of one that has ended. The link of one that failed stays where it is to be felt."""
        try:
            value = one.task._take()
        except ServerExit as error:
            if not (self._options.tolerant or one.task.owner.trap_exit):
                raise
            value = self._exit(one, error.reason)
        one.task._let_go()
        return value

    def _too_late(self, one: _Item) -> Any:
        if self._options.on_timeout == "exit":
            raise CallTimeout(f"an item of the stream took more than {self._options.timeout:g} s")
        del self._at_work[one.task.ref]
        self._ends.drop(one.task)
        one.task._kill()
        return self._exit(one, "timeout")

    def _exit(self, one: _Item, reason: object) -> TaskExit:
        return TaskExit((one.item, reason) if self._options.zip_input_on_exit else reason)


class AsyncResults(AsyncIterator[Any]):
    """The results of ``Task.astream``. Whatever leaves it, be it an error, the cancellation of who waits for
    the next result, ``aclose()``, or nobody referring to it any more, ends the tasks that are at work.
    """

    __slots__ = ("_asked", "_begin", "_stream")

    def __init__(self, stream: _Stream, begin: Callable[[Any], Awaitable[Streamed]]) -> None:
        self._stream = stream
        self._begin = begin
        self._asked = False

    def __aiter__(self) -> AsyncResults:
        return self

    async def __anext__(self) -> Any:
        need_loop("async for of a stream of tasks")
        if self._asked:
            raise RuntimeError("expected one to ask for the next result at a time, got: two")
        self._asked = True
        try:
            result = await self._stream.anext(self._begin)
        except BaseException:
            self._stream.end(take=True)
            raise
        finally:
            self._asked = False
        if result is _NONE:
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """End the tasks that are at work. Again: nothing."""
        self._stream.end(take=True)

    def __del__(self) -> None:
        # It may be inside the garbage collector.
        self._stream.end(take=False)
