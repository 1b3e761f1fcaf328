"""Where coroutines of processes run: the runtime's own event loop, in a thread of its own, started on first
use, or the loop in which a tree was started.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from asyncio import _get_running_loop
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from ..primitives.fork_locks import lock
from .thread_state import ASK, local

if TYPE_CHECKING:
    from contextvars import Context

Where = Literal["here", "runtime"]
_lock = lock()
_loop: asyncio.AbstractEventLoop | None = None
_home: ContextVar[asyncio.AbstractEventLoop | None] = ContextVar("resprout_home_loop", default=None)
"""In the context of a process that was started in a coroutine: the loop of that, wherever the process runs
itself. Contexts are copied at each start, so whatever is started below finds it, a restarted child too.
"""


def runtime_loop() -> asyncio.AbstractEventLoop:
    """The loop on which coroutine callbacks and spawned coroutine functions run."""
    global _loop
    loop = _loop
    if loop is None:
        with _lock:
            if _loop is None:
                fresh = asyncio.new_event_loop()
                ready = threading.Event()
                thread = threading.Thread(
                    target=_serve, args=(fresh, ready), name="resprout-loop", daemon=True
                )
                thread.start()
                ready.wait()
                _loop = fresh
            loop = _loop
    return loop


def loop_here(loop: asyncio.AbstractEventLoop | None = ASK) -> asyncio.AbstractEventLoop | None:
    """The loop whose coroutine or callback this code is; None in a thread, and in the callback of a server
    that runs on its sender's thread, whichever that is.

    Args:
        loop: as for ``current_if_any``.
    """
    if loop is ASK:
        loop = _get_running_loop()
    return None if loop is local.state.loop else loop


def home_loop(where: Where | None = None) -> asyncio.AbstractEventLoop:
    """The loop on which what is started by this code lives.

    Args:
        where: "runtime" for the runtime's loop; "here" for that of the coroutine that starts it or in which
            its tree was started; None for the second where there is one, else the first.

    Raises:
        TypeError: where is something else.
        RuntimeError: "here", and there is no such loop.
    """
    if where not in (None, "here", "runtime"):
        raise TypeError(f'expected loop to be "here", "runtime" or None, got: {where!r}')
    if where != "runtime":
        loop = loop_here() or _home.get()
        if loop is not None:
            return loop
        if where == "here":
            raise RuntimeError(
                'loop = "here" needs an event loop: start it in a coroutine (`await Server.astart(...)`), '
                "or its tree (`await application.astart()`), or leave the option out for the runtime's loop"
            )
    return runtime_loop()


def home_in(context: Context) -> asyncio.AbstractEventLoop | None:
    """The loop that is noted in the context of a process."""
    return context.get(_home)


def home_of(pid: Any) -> asyncio.AbstractEventLoop | None:
    """The loop on which lives what a process starts, unless that is the runtime's; None also of the dead."""
    context = pid._context
    return None if context is None else home_in(context)


def is_runtime_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is the runtime's own."""
    return loop is _loop


def make_home(context: Context, loop: asyncio.AbstractEventLoop | None = ASK) -> None:
    """Note the loop of this coroutine in the context of a process that it starts."""
    loop = loop_here(loop)
    if loop is not None and context.get(_home) is not loop:
        context.run(_home.set, loop)


def _serve(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
    asyncio.set_event_loop(loop)
    loop.call_soon(ready.set)
    loop.run_forever()


def close_loop(timeout: float = 5.0) -> None:
    """Stop the loop and its thread, so that a test leaves nothing behind; the next use starts a new one."""
    global _loop
    with _lock:
        loop, _loop = _loop, None
    if loop is None:
        return
    done = threading.Event()

    async def finish() -> None:
        await loop.shutdown_asyncgens()
        await loop.shutdown_default_executor()
        loop.call_soon(loop.stop)

    future = asyncio.run_coroutine_threadsafe(finish(), loop)
    future.add_done_callback(lambda _: done.set())
    done.wait(timeout)
    for thread in threading.enumerate():
        if thread.name == "resprout-loop":
            thread.join(timeout)
    if not loop.is_running():
        loop.close()


def forget_loop() -> None:
    """After a fork: the loop's thread is in the parent."""
    global _loop
    _loop = None


def makes_coroutine(function: object) -> bool:
    """Whether calling it gives a coroutine: a coroutine function, a partial of one, an object whose
    ``__call__`` is one.
    """
    call = type(function).__call__ if callable(function) else None
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
