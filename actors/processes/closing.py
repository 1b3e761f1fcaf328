"""How a thing is closed: which of its own functions does it, and where that has to run."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import socket
import subprocess
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..runtime.parking import Waiter

if TYPE_CHECKING:
    from .pid import Pid

GRACE = 2.0
"""Seconds that a program has to end after it was told to, before it is killed; at most a quarter of the
closing's time.
"""
LOOK = 0.05
"""Seconds between two looks at a loop that may have been closed with our coroutine in it."""
_NAMES = ("close", "aclose", "dispose", "__exit__", "__aexit__", "shutdown")
_IN_LOOP = ("aclose", "close", "dispose", "__aexit__", "__exit__", "shutdown")

Close = Callable[[float], Any]
"""Closes the thing, given the seconds that are left; may return an awaitable."""


class Owning:
    """One thing that a process owns, and how it is closed."""

    __slots__ = ("_close", "loop", "thing")

    def __init__(self, thing: object, close: Close, loop: asyncio.AbstractEventLoop | None) -> None:
        self.thing = thing
        self._close = close
        self.loop = loop

    @property
    def key(self) -> object:
        """What makes two things the same: identity; for numbers, such as a file descriptor, the value."""
        return ("number", self.thing) if type(self.thing) is int else id(self.thing)

    def close(self, left: float, over: Callable[[], bool]) -> None:
        """Close the thing, from a thread that may wait.

        Args:
            left: seconds that it should take at most.
            over: whether nobody waits for it any more.

        Raises:
            RuntimeError: its event loop is closed.
            TimeoutError: its event loop has not come to it in time.
        """
        if self.loop is None:
            made = self._close(left)
            if inspect.isawaitable(made):
                asyncio.run(_awaited(made))
            return
        if self.loop.is_closed():
            raise RuntimeError(_CLOSED)
        self._close_on(self.loop, left, over)

    def _close_on(self, loop: asyncio.AbstractEventLoop, left: float, over: Callable[[], bool]) -> None:
        async def on_loop() -> None:
            made = self._close(left)
            if inspect.isawaitable(made):
                await made

        closing = on_loop()
        try:
            future = asyncio.run_coroutine_threadsafe(closing, loop)
        except RuntimeError:
            closing.close()
            raise RuntimeError(_CLOSED) from None
        while not concurrent.futures.wait((future,), LOOK).done:
            if loop.is_closed():
                closing.close()
                raise RuntimeError(_CLOSED)
            if over() and not loop.is_running():
                future.cancel()
                raise TimeoutError("its event loop does not run, so that it could not be closed there")
        try:
            future.result()
        except concurrent.futures.CancelledError:
            raise RuntimeError(
                "its event loop cancelled the closing, as asyncio.run does at its end"
            ) from None


_CLOSED = (
    "its event loop is closed, so it can't be closed any more; "
    "close it (or end the process that owns it) before the loop ends"
)


async def _awaited(made: Any) -> None:
    await made


def owning_of(thing: object, close: Callable[..., Any] | None, owner: Pid) -> Owning:
    """Find out how a thing is closed.

    Raises:
        TypeError: it has nothing to close it with, or needs an event loop and none runs here.
    """
    loop = _get_running_loop()
    if close is None:
        call, is_async = _default_of(thing, loop is not None, owner)
    else:
        call, is_async = _given(thing, close), inspect.iscoroutinefunction(close)
    if is_async and loop is None:
        raise TypeError(
            f"{thing!r} is closed by a coroutine function, which needs the event loop that it was made in: "
            f"call own inside a coroutine there, or give a function that closes it without one: "
            f"own(thing, close=function)"
        )
    return Owning(thing, call, loop if loop is not None and (is_async or _lives_on_a_loop(thing)) else None)


def _lives_on_a_loop(thing: object) -> bool:
    """Whether its functions may be called on its event loop only."""
    if hasattr(thing, "get_loop") or getattr(thing, "_loop", None) is not None:
        return True
    return any(kind.__module__.partition(".")[0] in ("asyncio", "uvloop") for kind in type(thing).__mro__)


def _given(thing: object, close: Callable[..., Any]) -> Close:
    """A function of the user's: called with nothing or, if it wants an argument, with the thing."""
    if not callable(close):
        raise TypeError(f"expected close to be a function, got: {close!r}")
    try:
        signature = inspect.signature(close)
    except (TypeError, ValueError):
        # Some functions in C have none: a method of the thing itself wants nothing more.
        takes_thing = getattr(close, "__self__", None) is not thing
    else:
        takes_thing = not _takes(signature)
        if takes_thing and not _takes(signature, thing):
            raise TypeError(
                f"expected close to take no argument or the thing alone, got: {close!r}{signature}"
            )
    if takes_thing:
        return lambda left: close(thing)
    return lambda left: close()


def _takes(signature: inspect.Signature, *args: object) -> bool:
    try:
        signature.bind(*args)
    except TypeError:
        return False
    return True


def _default_of(thing: Any, in_loop: bool, owner: Pid) -> tuple[Close, bool]:
    kind = type(thing)
    if isinstance(thing, socket.socket):
        return lambda left: _close_socket(thing), False
    if _is_kafka_consumer(kind):
        return lambda left: _close_consumer(thing, owner), False
    ends = getattr(kind, "wait", None) or getattr(kind, "join", None)
    if (
        callable(getattr(kind, "terminate", None))
        and callable(getattr(kind, "kill", None))
        and callable(ends)
    ):
        if inspect.iscoroutinefunction(ends):
            return lambda left: _aend_program(thing, left), True
        return lambda left: _end_program(thing, left), False
    for name in _IN_LOOP if in_loop else _NAMES:
        # Special methods are looked up on the class, as `with` does.
        call = getattr(kind, name, None) if name.startswith("__") else getattr(thing, name, None)
        if not callable(call) or isinstance(thing, type):
            continue
        is_async = inspect.iscoroutinefunction(call) or name in ("aclose", "__aexit__")
        if name.startswith("__"):
            return lambda left, call=call: call(thing, None, None, None), is_async
        return lambda left, call=call: call(), is_async
    raise TypeError(
        f"expected a thing with close, aclose, dispose, __exit__, shutdown, or terminate and kill, "
        f"got: {thing!r}; say how it is closed: own(thing, close=function)"
    )


def _close_socket(thing: socket.socket) -> None:
    # On Linux a close alone does not wake a thread that is blocked in accept or recv; the port stays taken
    # until that returns.
    with contextlib.suppress(OSError):
        thing.shutdown(socket.SHUT_RDWR)
    thing.close()


def _is_kafka_consumer(kind: type) -> bool:
    """Whether it is confluent-kafka's. None of its functions come through while another thread polls it in a
    loop, and a close beside a poll waits for a notice that the poll has taken.
    """
    ours = any(each.__module__.partition(".")[0] in ("confluent_kafka", "cimpl") for each in kind.__mro__)
    return ours and hasattr(kind, "subscribe") and hasattr(kind, "poll")


def _close_consumer(consumer: Any, owner: Pid) -> None:
    """Close it when its dead owner's code has left: its poll has returned, and the next call into
    resprout has met the death.
    """
    if owner.dead:
        departure = _Departure()
        owner.attach(departure)
        departure.waiter.wait(None)
    consumer.close()


class _Departure:
    """A resource of a dead process: its code has left."""

    def __init__(self) -> None:
        self.waiter = Waiter()

    def owner_died(self, pid: Pid, reason: object) -> None:
        """Nothing: that is known."""

    def owner_left(self, pid: Pid) -> None:
        self.waiter.wake()


def _end_program(program: Any, left: float) -> None:
    """Terminate, then kill, and fetch the exit status, so that no zombie stays."""
    wait = getattr(program, "wait", None) or program.join
    with contextlib.suppress(ProcessLookupError):
        program.terminate()
    try:
        try:
            # A Popen raises when the time is over, a multiprocessing.Process returns.
            with contextlib.suppress(subprocess.TimeoutExpired):
                wait(timeout=min(GRACE, left / 4))
        finally:
            if _runs(program):
                with contextlib.suppress(ProcessLookupError):
                    program.kill()
            wait()
    finally:
        for pipe in (getattr(program, name, None) for name in ("stdin", "stdout", "stderr")):
            if pipe is not None:
                # What was not written yet has nobody left to read it.
                with contextlib.suppress(OSError):
                    pipe.close()
        if hasattr(program, "join"):
            program.close()


def _runs(program: Any) -> bool:
    return bool(program.poll() is None if hasattr(program, "poll") else program.is_alive())


async def _aend_program(program: Any, left: float) -> None:
    """The same for asyncio's."""
    with contextlib.suppress(ProcessLookupError):
        program.terminate()
    try:
        await asyncio.wait_for(program.wait(), min(GRACE, left / 4))
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.wait()
