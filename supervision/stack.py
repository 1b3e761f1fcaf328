"""Where a process that would not stop is: the stack of the thread that still runs its code."""

from __future__ import annotations

from ..actors import Pid, process


def stack_of(pid: Pid) -> tuple[str, ...]:
    """The frames of a straggler, outermost first; empty if nothing of it runs."""
    for straggler in process.stragglers():
        if straggler.pid is pid:
            return tuple(straggler.stack)
    return ()
