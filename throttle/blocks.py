"""Functions whose calls run with a slot: ``run``, ``arun`` and the decorator ``limited``.

All of them hold the slot until the work is over. A call of a generator function returns before its body has
begun, so ``limited`` holds the slot from the first item to the end, and the others refuse.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar, cast, overload

from ..actors.engine import check_alive, dead_but_running
from .slot import slot
from .unfinished import (
    check_callable,
    check_finished,
    is_async_generator_function,
    is_coroutine_function,
    is_generator_function,
)

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class _Run(slot):
    __slots__ = ()
    _refused = ("throttle.run(...)", "throttle.arun(...)")


class _Limited(slot):
    __slots__ = ()
    _refused = ("a call of what throttle.limited(...) decorates", "asyncio.to_thread(function, ...)")


# Here and in execute.py: options of ours cannot stand beside a function's own parameters (PEP 612), so where
# one is given a type checker looks at the result only.
@overload
def run(
    name: str, fn: Callable[..., T], /, *args: Any, timeout: float | None, priority: int = 0, **kwargs: Any
) -> T: ...
@overload
def run(name: str, fn: Callable[..., T], /, *args: Any, priority: int, **kwargs: Any) -> T: ...
@overload
def run(name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
def run(  # type: ignore[misc]  # timeout and priority are ours
    name: str,
    fn: Callable[..., Any],
    /,
    *args: Any,
    timeout: float | None = None,
    priority: int = 0,
    **kwargs: Any,
) -> Any:
    """Call a function with a slot of a lock, here: the caller is the holder.

    The slot comes back when the function returns or raises. To have the work done elsewhere, use ``execute``.

    Args:
        name: the lock.
        fn: called with args and kwargs.
        timeout: seconds to wait for the slot at most, None for ever; the call itself has no limit.
        priority: higher goes first.

    Returns:
        What fn returns.

    Raises:
        LockNotFound, CallTimeout, QueueFull, BlockingInLoop: as ``acquire``.
        TypeError: fn is not callable, or its call is not over when it returns: it is a coroutine function
            (``arun``) or a generator function (``limited``), or returns what one of those makes.

    Semantics: ExSleeplock.execute/2. Differs: called while the slot is held already, it does not free that
        slot at its end.
    """
    if dead_but_running:
        check_alive()
    check_callable(fn, "run")
    with _Run(name, timeout, priority):
        return check_finished(fn(*args, **kwargs), fn, "run")


@overload
async def arun(
    name: str,
    coro_fn: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    timeout: float | None,
    priority: int = 0,
    **kwargs: Any,
) -> T: ...
@overload
async def arun(
    name: str, coro_fn: Callable[..., Awaitable[T]], /, *args: Any, priority: int, **kwargs: Any
) -> T: ...
@overload
async def arun(name: str, coro_fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
async def arun(  # type: ignore[misc]  # timeout and priority are ours
    name: str,
    coro_fn: Callable[..., Any],
    /,
    *args: Any,
    timeout: float | None = None,
    priority: int = 0,
    **kwargs: Any,
) -> Any:
    """Await a coroutine function with a slot of a lock; otherwise the same as ``run``.

    A plain function is called, and blocks the event loop for as long as it takes.
    """
    if dead_but_running:
        check_alive()
    check_callable(coro_fn, "arun")
    async with slot(name, timeout, priority):
        result = coro_fn(*args, **kwargs)
        value = await result if isawaitable(result) else result
        return check_finished(value, coro_fn, "arun")


def limited(
    name: str, *, timeout: float | None = None, priority: int = 0, weight: int = 1
) -> Callable[[F], F]:
    """Decorate a function, coroutine function, generator function or async generator function: every call
    runs with a slot of the lock.

    A generator takes its slot when the first item is asked for, and gives it back at its end: exhausted,
    closed, collected, or left by an exception.

    Example:
        >>> from resprout import throttle
        >>> _ = throttle.new("printer", 1)
        >>> @throttle.limited("printer")
        ... def print_page(text):
        ...     return len(text)
        >>> print_page("hello")
        5
        >>> throttle.stop_lock("printer")
    """
    if dead_but_running:
        check_alive()

    def block() -> slot:
        return _Limited(name, timeout, priority, weight)

    def decorate(fn: F) -> F:
        if not callable(fn):
            raise TypeError(f"expected limited() to decorate something callable, got: {fn!r}")
        if is_coroutine_function(fn):
            return cast("F", _coroutine(fn, block))
        if is_generator_function(fn):
            return cast("F", _generator(fn, block))
        if is_async_generator_function(fn):
            return cast("F", _async_generator(fn, block))
        return cast("F", _plain(fn, block))

    return decorate


def _plain(fn: Callable[..., Any], block: Callable[[], slot]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def in_slot(*args: Any, **kwargs: Any) -> Any:
        with block():
            return check_finished(fn(*args, **kwargs), fn, "limited")

    return in_slot


def _coroutine(fn: Callable[..., Any], block: Callable[[], slot]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def in_slot(*args: Any, **kwargs: Any) -> Any:
        async with block():
            return await fn(*args, **kwargs)

    return in_slot


def _generator(fn: Callable[..., Any], block: Callable[[], slot]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def in_slot(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with block():
            return (yield from fn(*args, **kwargs))

    return in_slot


def _async_generator(fn: Callable[..., Any], block: Callable[[], slot]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def in_slot(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        async with block(), aclosing(fn(*args, **kwargs)) as inner:
            # What `yield from` does, for which there is no async form.
            step = inner.__anext__()
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)

    return in_slot
