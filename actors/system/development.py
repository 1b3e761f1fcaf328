"""What development mode (``python -X dev``) adds: circles of waits are seen, and who blocks our loop.

Every wait is noted, and the loop is watched.

The methods are exchanged once, when the package is imported, so that otherwise they cost nothing.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

from ..runtime import call_cycles as cycles
from ..runtime import loop as loops
from ..runtime.loop_watch import watch_loop
from ..runtime.parking import check_timeout
from ..runtime.thread_state import local
from ..servers.inline import InlinePid
from ..servers.runnable import begin_call
from ..tasks.task import Task


def set_up() -> None:
    """Exchange the methods, in development mode."""
    if not cycles.DEVELOPMENT:
        return
    InlinePid.call = _call_in_turn  # type: ignore[method-assign]
    for name in ("await_", "yield_"):
        setattr(Task, name, staticmethod(_noting(getattr(Task, name))))
    Task.__await__ = _noting(Task.__await__)  # type: ignore[method-assign]
    loops._serve = _watched(loops._serve)


def _watched(serve: Callable[..., None]) -> Callable[..., None]:
    """Have the loop watched that a thread is going to serve."""

    @functools.wraps(serve)
    def serve_watched(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        watch_loop(loop)
        serve(loop, ready)

    return serve_watched


def _call_in_turn(self: InlinePid, message: object, timeout: float | None = 5.0) -> Any:
    """Call without the short cut, which notes nothing."""
    check_timeout(timeout)
    return self._call_in_turn(begin_call(self, message), local.state, timeout)


_call_in_turn.__doc__ = InlinePid.call.__doc__


def _noting(wait: Callable[..., Any]) -> Callable[..., Any]:
    """Have a wait for a task noted."""

    @functools.wraps(wait)
    def noted(task: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(task, Task) and task.pid is not None and not task._result._box:
            cycles.begin_wait(task.pid, task._result)
        return wait(task, *args, **kwargs)

    return noted
