"""What development mode (``python -X dev``) adds: every wait is noted, so that circles of them are seen.

The methods are exchanged once, when the package is imported, so that otherwise they cost nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..runtime import call_cycles as cycles
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
