"""A value that comes later: a pykka.Future that can also be awaited, cancelled and called back.

Completing one is a single atomic step (a ``list.append``, of which the first counts), so it is exactly-once
without a lock,
safe from anywhere, and repeatable: whoever is interrupted between completing and waking may do both again.
"""

from __future__ import annotations

import concurrent.futures
import logging
import sys
from asyncio import _get_running_loop
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from ..vocabulary.errors import AlreadySet, BlockingInLoop, CallTimeout
from ..vocabulary.pykka_types import FutureBase
from .future_mirror import Mirror
from .kernel import kernel
from .parking import LoopBell, Waiter, check_timeout, need_loop, park
from .thread_state import check_alive, dead_but_running

if TYPE_CHECKING:
    from types import TracebackType

    from .pool import Worker

T = TypeVar("T")
M = TypeVar("M")
J = TypeVar("J")
R = TypeVar("R")

logger = logging.getLogger("resprout")


# How a future ended: (value, error). Made anew for each attempt, so that identity tells who completed it; a
# bare tuple, as this is made once a call and a class of our own takes six times as long.
_Outcome: TypeAlias = "tuple[Any, BaseException | None]"


class Future(FutureBase[T]):
    """The answer to a request that has been sent.

    Wait for it with ``result(timeout)`` or Pykka's ``get(timeout=)``, or ``await`` it in any coroutine of
    any loop, which blocks no loop. ``map``, ``filter``, ``join`` and ``reduce`` give futures whose function
    runs where the result is taken, as in Pykka.

    Raises:
        CallTimeout: from result and get, when the wait is over; the future stays pending.
        concurrent.futures.CancelledError: when it was cancelled.
    """

    __slots__ = ("_box", "_callbacks")
    # Only derived futures have these; they go to the instance's dict, which Pykka's class provides and
    # others never make.
    _hook: Callable[[float | None], T] | None = None
    _hooked: list[T]
    _sources: tuple[Any, ...]

    def __init__(self) -> None:
        self._box: list[_Outcome] = []
        self._callbacks: list[Any] = []

    # -- completing ----------------------------------------------------------

    def _complete(self, outcome: _Outcome) -> bool:
        box = self._box
        try:
            box.append(outcome)
            won = box[0] is outcome
            if self._callbacks:
                self._call_back()
        except BaseException:
            # An interrupt: it is completed, so whoever waits is told.
            if box and self._callbacks:
                kernel.pool.submit(_Rest(self))
            raise
        return won

    def _call_back(self) -> None:
        callbacks = self._callbacks
        while callbacks:
            try:
                callback = callbacks[0]
            except IndexError:
                # Somebody else has called it.
                return
            if callback.__class__ is Waiter or callback.__class__ is LoopBell:
                try:
                    callback.wake()
                except RecursionError:
                    # No room on the stack to wake a sleeper: the kernel thread has some. (Not by `post`,
                    # which is a call, too.)
                    posted = kernel.posted
                    posted += (callback.wake,)
                    try:
                        kernel.bell.release()
                    except RecursionError:
                        # Not even for this: whoever completes it has to do it again.
                        raise
                    except RuntimeError:
                        pass
                # Afterwards: cut in between, it is woken again rather than never.
                try:
                    callbacks.remove(callback)
                except ValueError:
                    pass
                continue
            try:
                callback = callbacks.pop(0)
            except IndexError:
                return
            try:
                callback(self)
            except Exception:
                logger.exception("a callback of %r raised", self)

    def try_set(self, value: T) -> bool:
        """Complete with a value; False when it is completed or cancelled already. Never blocks."""
        return self._complete((value, None))

    def try_set_exception(self, error: BaseException) -> bool:
        """Complete with an exception; False when it is completed or cancelled already."""
        return self._complete((None, error))

    def set(self, value: Any = None) -> None:
        """Complete with a value.

        Raises:
            AlreadySet: it is completed already.
        """
        if dead_but_running:
            check_alive()
        if self._hook is not None or not self._complete((value, None)):
            self._refuse()

    def set_exception(self, exc_info: Any = None) -> None:
        """Complete with an exception: an instance, a ``sys.exc_info()`` triple, or None for the one being
        handled.
        """
        if dead_but_running:
            check_alive()
        if exc_info is None:
            exc_info = sys.exc_info()
        error = exc_info if isinstance(exc_info, BaseException) else _error_of(exc_info)
        if self._hook is not None or not self._complete((None, error)):
            self._refuse()

    def _refuse(self) -> None:
        # A cancelled future drops what comes late, silently, as a late reply is dropped.
        if not self.cancelled():
            raise AlreadySet(f"{self!r} is completed already")

    def cancel(self) -> bool:
        """Give up on it; False when it is completed already. What is set later is dropped."""
        if self._hook is not None:
            cancelled = [source.cancel() for source in self._sources]  # all of them, also after a False
            return all(cancelled)
        return self._complete((None, concurrent.futures.CancelledError()))

    # -- looking -------------------------------------------------------------

    def done(self) -> bool:
        """Tell whether it is completed or cancelled."""
        if dead_but_running:
            check_alive()
        if self._hook is not None:
            return all(source.done() for source in self._sources)
        return bool(self._box)

    def cancelled(self) -> bool:
        """Tell whether it was cancelled."""
        if dead_but_running:
            check_alive()
        if self._hook is not None:
            return any(source.cancelled() for source in self._sources)
        return bool(self._box) and type(self._box[0][1]) is concurrent.futures.CancelledError

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "pending"
        return f"<resprout.{type(self).__name__} {state}>"

    # -- waiting -------------------------------------------------------------

    def result(self, timeout: float | None = None) -> T:
        """Wait for the value.

        Args:
            timeout: seconds, None for ever.

        Raises:
            CallTimeout: it did not come in time.
            BlockingInLoop: it is not there yet and an event loop runs in this thread; await it instead.
        """
        if dead_but_running:
            check_alive()
        if self._hook is not None:
            return self._hook_result(timeout)
        box = self._box
        if not box:
            self.wait(timeout)
        value, error = box[0]
        if error is not None:
            try:
                raise error
            finally:
                # Or the error's traceback would refer to this frame, and this frame to the error.
                del error, box, self
        return cast("T", value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return the exception, None when it ended with a value."""
        if dead_but_running:
            check_alive()
        if self._hook is not None:
            try:
                self._hook_result(timeout)
            except CallTimeout:
                raise
            except Exception as error:
                return error
            return None
        if not self._box:
            self.wait(timeout)
        ended = self._box[0][1]
        if type(ended) is concurrent.futures.CancelledError:
            raise ended
        return ended

    def get(self, *, timeout: float | None = None) -> T:
        """The same as result, said Pykka's way."""
        return self.result(timeout)

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end without looking at the outcome.

        Raises:
            CallTimeout: it did not come in time.
        """
        if dead_but_running:
            check_alive()
        if self._box:
            return
        if timeout is not None:
            check_timeout(timeout)
        if _get_running_loop() is not None:
            raise BlockingInLoop(
                f"waiting for {self!r} would block the running event loop; use `await future` instead"
            )
        if not park(self._register, self._unregister, timeout) and not self._box:
            raise CallTimeout(f"no answer within {timeout:g} s" if timeout is not None else "no answer")

    def _register(self, waiter: Waiter) -> bool:
        self._callbacks.append(waiter)
        return bool(self._box)

    def _unregister(self, waiter: Waiter) -> None:
        # Gone when it was called; left over after a timeout or an interrupt.
        try:
            self._callbacks.remove(waiter)
        except ValueError:
            pass

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback(future)`` when it ends, in the thread that completes it; at once when it has
        ended.
        """
        if dead_but_running:
            check_alive()
        if self._hook is not None:
            _after_all(self._sources, lambda: callback(self))
            return
        self._callbacks.append(callback)
        if self._box:
            self._call_back()

    def remove_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Take a callback away that has not been called yet."""
        self._unregister(cast("Waiter", callback))

    def __await__(self) -> Generator[Any, None, T]:
        if dead_but_running:
            check_alive()
        if self._hook is not None:
            for source in self._sources:
                yield from source._await_end()
            return self._hook_result(0.0)
        if not self._box:
            yield from self._await_end()
        return self.result()

    # Pykka lets its own futures be iterated for use in `yield from`.
    __iter__ = __await__

    def _await_end(self) -> Generator[Any, None, None]:
        """Suspend the coroutine until the end; its cancellation cancels this future, so that a late answer
        is dropped.
        """
        if self._hook is not None:
            for source in self._sources:
                yield from source._await_end()
            return
        if self._box:
            return
        bell = LoopBell(need_loop("await future"))
        self._callbacks.append(bell)
        if self._box:
            self._call_back()
        try:
            yield from bell.__await__()
        except BaseException:
            self._unregister(cast("Waiter", bell))
            self.cancel()
            raise

    def as_concurrent(self) -> concurrent.futures.Future[T]:
        """Give a ``concurrent.futures.Future`` that ends as this one does, for code that insists on that
        class.
        """
        if dead_but_running:
            check_alive()
        return Mirror(self)

    # -- derived futures -----------------------------------------------------

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Have ``func(timeout)`` make the value at the first get, as in Pykka."""
        if dead_but_running:
            check_alive()
        if self._box:
            raise AlreadySet(f"{self!r} is completed already")
        self._derive(func, ())

    def _derive(self, func: Callable[[float | None], T], sources: tuple[Any, ...]) -> None:
        self._sources = sources
        self._hooked = []
        self._hook = func

    def _hook_result(self, timeout: float | None) -> T:
        if not self._hooked:
            assert self._hook is not None
            self._hooked.append(self._hook(timeout))
        return self._hooked[0]

    def map(self, func: Callable[[T], M]) -> Future[M]:
        """Pass the value through a function, in the thread that takes the result."""
        if dead_but_running:
            check_alive()
        return _derived(lambda timeout: func(self.result(timeout)), (self,))

    def filter(self: Future[Any], func: Callable[[J], bool]) -> Future[Iterable[J]]:
        """Keep the items of an iterable value that pass the predicate."""
        if dead_but_running:
            check_alive()
        return _derived(lambda timeout: [item for item in self.result(timeout) if func(item)], (self,))

    def join(self: Future[Any], *futures: Any) -> Future[Iterable[Any]]:
        """Gather this and other futures into one list."""
        if dead_but_running:
            check_alive()
        sources = (self, *futures)
        return _derived(lambda timeout: [source.get(timeout=timeout) for source in sources], sources)

    def reduce(self: Future[Any], func: Callable[[R, J], R], *args: R) -> Future[R]:
        """Fold an iterable value into one, optionally from a first value."""
        if dead_but_running:
            check_alive()
        import functools

        return _derived(lambda timeout: functools.reduce(func, self.result(timeout), *args), (self,))


class _Rest:
    """A task of the pool: tell those who wait for a future that they were not told of, when an interrupt hit
    whoever completed it.
    """

    __slots__ = ("_future",)

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def run(self, worker: Worker) -> None:
        self._future._call_back()


def _derived(func: Callable[[float | None], Any], sources: tuple[Any, ...]) -> Future[Any]:
    future: Future[Any] = Future()
    future._derive(func, sources)
    return future


def _after_all(sources: tuple[Any, ...], then: Callable[[], object]) -> None:
    left = list(range(len(sources)))

    def one(_future: object) -> None:
        # Whoever takes the last one, of two that end at once.
        if left.pop() == 0:
            then()

    if not sources:
        then()
    for source in sources:
        source.add_done_callback(one)


def _error_of(
    exc_info: tuple[type[BaseException] | None, BaseException | None, TracebackType | None],
) -> BaseException:
    kind, error, traceback = exc_info
    if error is None:
        assert kind is not None, "set_exception() was called without an exception being handled"
        error = kind()
    return error.with_traceback(traceback)
