"""The runtime's own event loop, in a thread of its own, started on first use."""

from __future__ import annotations

import asyncio
import inspect
import threading

from ..primitives.fork_locks import lock

_lock = lock()
_loop: asyncio.AbstractEventLoop | None = None


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
