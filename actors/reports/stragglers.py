"""Stragglers: processes that were killed while their handler ran, which goes on because Python cannot stop a
thread.

They are dead to everybody else. Their code meets ``Killed`` at its next call into resprout.
"""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING, Any

import attrs

from ..primitives.atomic import frames
from ..runtime.kernel import kernel
from ..runtime.thread_state import check_alive
from . import telemetry

if TYPE_CHECKING:
    from ..vocabulary.identity import Identity

logger = logging.getLogger("resprout")
PATIENCE = 2.0
"""Seconds after which a straggler is reported."""
_since: dict[int, tuple[Any, float]] = {}


@attrs.frozen
class Straggler:
    """One of them.

    Attributes:
        pid: the dead process.
        reason: its exit reason.
        seconds: for how long its handler has gone on since its death.
        stack: where it is now, innermost frame last; empty when that cannot be seen, as on a free-threaded
            build.
    """

    pid: Any
    reason: object
    seconds: float
    stack: tuple[str, ...]


def straggles(pid: Identity) -> None:
    """Note that a process died while its code ran."""
    since = (pid, time.monotonic())
    if _since.setdefault(pid.id, since) is not since:
        # Its burial has come here before, and was waiting for what it owns to be closed.
        return
    if pid.left:
        # It left between the failed try for its run right and the line above.
        _since.pop(pid.id, None)
        return
    if telemetry._attached:
        telemetry.tell(("resprout", "process", "straggling"), {}, {"pid": pid, "reason": pid.exit_reason})
    kernel.at(time.monotonic() + PATIENCE, lambda: _report(pid))


def _report(pid: Identity) -> None:
    """Say once that one goes on and on, and where it is."""
    if pid.id in _since and not pid.left:
        where = "".join(_stack_of(pid)) or "(its stack cannot be seen)"
        logger.warning(
            "%s was killed (%r) %g s ago, but its handler goes on:\n%s", pid, pid.exit_reason, PATIENCE, where
        )


def caught_up(pid: Identity) -> None:
    """It has left."""
    if _since:
        _since.pop(pid.id, None)


def straggling() -> list[Any]:
    """Only the processes, without a look at where they are."""
    return [pid for pid, _ in list(_since.values()) if not pid.left]


def stragglers() -> list[Straggler]:
    """List the dead processes whose code still runs, oldest first."""
    check_alive()
    now = time.monotonic()
    return [
        Straggler(pid, pid.exit_reason, now - since, _stack_of(pid))
        for pid, since in list(_since.values())
        if not pid.left
    ]


def _stack_of(pid: Identity) -> tuple[str, ...]:
    for frame in frames().values():
        inner = frame
        walk = frame
        while walk is not None:
            # The name first: the locals of a frame that is just being made or left by its thread must not be
            # touched (CPython 3.11 crashed); one that is named so waits for what it called.
            if walk.f_code.co_name == "run" and walk.f_locals.get("self") is pid:
                return tuple(traceback.format_stack(inner))
            if walk.f_back is None:
                break
            walk = walk.f_back
    return ()
