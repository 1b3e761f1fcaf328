"""Work under a lock in the caller: ``with slot(...)``, ``run``, ``arun`` and the decorator ``limited``."""

from __future__ import annotations

import functools
import inspect
from asyncio import _get_running_loop
from collections.abc import Awaitable, Callable
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..actors import forbid_loop
from ..actors.engine import current, kernel, local
from .caller import GRANTED, TaskCaller
from .claim import Hold
from .desk import watched
from .lock import ONE, ZERO, check_request
from .table import books, table
from .values import Grant, check_on_kill
from .wait import hand_on, queue_up, queue_up_async

if TYPE_CHECKING:
    from types import TracebackType

    from .book import Book

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class slot:  # noqa: N801  # used as a function: with slot("name"):
    """A block that runs with a slot of a lock, and gives it back however it ends.

    ``with slot(name) as grant:`` in threads and actors, ``async with slot(name) as grant:`` in coroutines.
    Make one for each block.

    Args:
        name: the lock.
        timeout: seconds to wait at most, None for ever.
        priority: higher goes first.
        weight: how many slots to take.
        on_kill: whether the slot of a killed actor whose handler goes on comes back when that has left
            (``"hold"``) or at once (``"release"``; then more than num_slots may be at work for a while).

    Raises:
        LockNotFound, CallTimeout, QueueFull, BlockingInLoop, ValueError: on entering, as ``acquire``.
    """

    __slots__ = ("_book", "_hold", "_kill", "_name", "_priority", "_timeout", "_weight")

    def __init__(
        self,
        name: str,
        timeout: float | None = None,
        priority: int = 0,
        weight: int = 1,
        on_kill: str = "hold",
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._priority = priority
        self._weight = weight
        self._kill = False if on_kill == "hold" else check_on_kill(on_kill)
        self._hold: Hold | None = None

    def __enter__(self) -> Grant:
        if _get_running_loop() is not None:
            forbid_loop("with throttle.slot()", "async with throttle.slot()")
        book = self._open()
        me = current()
        hold = None
        try:
            hold = book.take(me, self._weight, self._kill)
            if hold is None:
                here = local.state
                hold = queue_up(book, me, here, self._timeout, self._priority, self._weight, self._kill)
            self._book = book
            self._hold = hold
            return hold
        except BaseException:
            if hold is not None:
                book.give_back(hold)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # No look at the current process: it may be dead (its slot comes back when it has left, unless this
        # does it now), and a thread that got an exit signal is another process by now.
        hold = self._hold
        if hold is not None:
            depth = hold.depth
            if depth > 0:
                try:
                    if error is not None:
                        self._book.ledger.judge(hold, error)
                    self._book.give_back(hold)
                except BaseException:
                    if hold.depth == depth:
                        # It came before the first bytecode of that.
                        self._book.give_back(hold)
                    else:
                        # There may have been no room on the stack even for this; here is more.
                        try:
                            kernel.bell.release()
                        except RuntimeError:
                            pass
                    raise
            if hold.depth <= 0:
                self._hold = None

    async def __aenter__(self) -> Grant:
        # _open(), written out.
        book = books.get(self._name)
        if (
            book is None
            or self._weight is not ONE
            or self._priority is not ZERO
            or self._timeout is not None
            or self._hold is not None
        ):
            book = self._open()
        me = current()
        ledger = book.ledger
        hold = None
        if (
            not ledger.line.size
            or not ledger.simple
            or me.id in ledger.holders
            or me.id not in book.attached
            or watched
        ):
            # Otherwise it would return None.
            hold = book.take(me, self._weight, self._kill)
        if hold is None:
            claim = TaskCaller(self._name, me, self._priority, self._weight, self._kill)
            if self._timeout is None and not self._kill:
                # What queue_up_async does, for the common case, without two more coroutines on the way.
                try:
                    book.join(claim)
                    if claim.answer is None:
                        await claim.bell
                except BaseException:
                    claim.depth = 0
                    try:
                        hand_on(book, claim)
                    except RecursionError:
                        # As in queue_up.
                        claim.book = book
                        requests = book.requests
                        requests += (claim.leave,)
                        posted = kernel.posted
                        posted += (book.gate.drain,)
                        try:
                            kernel.bell.release()
                        except RuntimeError:
                            pass
                        raise
                    raise
            if claim.answer is GRANTED:
                hold = claim
            else:
                hold = await queue_up_async(book, me, claim, self._timeout)
        self._book = book
        self._hold = hold
        return hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        hold = self._hold
        if hold is not None:
            depth = hold.depth
            if depth > 0:
                try:
                    if error is not None:
                        self._book.ledger.judge(hold, error)
                    self._book.give_back(hold)
                except BaseException:
                    if hold.depth == depth:
                        self._book.give_back(hold)
                    else:
                        # There may have been no room on the stack even for this; here is more.
                        try:
                            kernel.bell.release()
                        except RuntimeError:
                            pass
                    raise
            if hold.depth <= 0:
                self._hold = None

    def _open(self) -> Book:
        book = books.get(self._name)
        if book is None:
            book = table.find(self._name)
        if self._weight is not ONE or self._timeout is not None or self._priority is not ZERO:
            check_request(book, self._timeout, self._priority, self._weight)
        hold = self._hold
        if hold is not None and hold.depth > 0 and hold.pid is not current():
            raise RuntimeError(
                f"this slot of lock {self._name!r} is in use by {hold.pid}; make one for each block, "
                f"as in `with slot({self._name!r}):`"
            )
        return book


def run(
    name: str,
    fn: Callable[..., T],
    /,
    *args: Any,
    timeout: float | None = None,
    priority: int = 0,
    **kwargs: Any,
) -> T:
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
        TypeError: fn is not callable, or a coroutine function (``arun``).

    Semantics: ExSleeplock.execute/2. Differs: called while the slot is held already, it does not free that
        slot at its end.
    """
    check_callable(fn, "run")
    with slot(name, timeout, priority):
        return fn(*args, **kwargs)


async def arun(
    name: str,
    coro_fn: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    timeout: float | None = None,
    priority: int = 0,
    **kwargs: Any,
) -> T:
    """Await a coroutine function with a slot of a lock; otherwise the same as ``run``.

    A plain function is called, and blocks the event loop for as long as it takes.
    """
    if not callable(coro_fn):
        check_callable(coro_fn, "arun")
    async with slot(name, timeout, priority):
        result = coro_fn(*args, **kwargs)
        return await result if inspect.isawaitable(result) else cast("T", result)


def limited(
    name: str, *, timeout: float | None = None, priority: int = 0, weight: int = 1
) -> Callable[[F], F]:
    """Decorate a function or coroutine function: every call runs with a slot of the lock.

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

    def decorate(fn: F) -> F:
        if not callable(fn):
            raise TypeError(f"expected limited() to decorate something callable, got: {fn!r}")
        if is_coroutine_function(fn):

            @functools.wraps(fn)
            async def in_slot_async(*args: Any, **kwargs: Any) -> Any:
                async with slot(name, timeout, priority, weight):
                    return await fn(*args, **kwargs)

            return cast("F", in_slot_async)

        @functools.wraps(fn)
        def in_slot(*args: Any, **kwargs: Any) -> Any:
            with slot(name, timeout, priority, weight):
                return fn(*args, **kwargs)

        return cast("F", in_slot)

    return decorate


def is_coroutine_function(fn: object) -> bool:
    """Tell whether calling fn makes a coroutine; sees through partial and callable objects."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, (type, BuiltinFunctionType)):
        # For certain not; asking inspect costs as much as taking the lock.
        return False
    if isinstance(fn, FunctionType) and fn.__code__.co_flags & inspect.CO_COROUTINE:
        return True
    if inspect.iscoroutinefunction(fn):
        return True
    return inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004  # the method


def check_callable(fn: object, form: str) -> None:
    """Refuse what can't be called, or not by this form.

    Raises:
        TypeError: which says what was expected.
    """
    if not callable(fn):
        raise TypeError(f"expected fn to be callable, got: {fn!r}")
    if form == "run" and is_coroutine_function(fn):
        raise TypeError(
            f"expected fn to be a plain function, got the coroutine function {fn!r}; use `await arun`"
        )
