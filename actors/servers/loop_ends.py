"""What becomes of processes when the event loop in which they were started ends: stopped in order, or gone.

While that can run, they are stopped in reverse order of their starts; when it is closed, they are dead.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..processes.ambient import ended_afar
from ..processes.pid import Pid, table
from ..runtime.loop import home_in, is_runtime_loop
from ..runtime.loop_bells import bells_of, when_closed
from ..runtime.parking import LoopBell
from ..vocabulary.reasons import KILL, LOOP_CLOSED
from .dispatch import ServerPid, request_stop

if TYPE_CHECKING:
    import asyncio
    import weakref
    from collections.abc import AsyncGenerator

    from ..runtime.loop_bells import Bells

GRACE = 5.0
"""Seconds that all processes of a loop have together to stop in order, as a worker has under a supervisor."""


def look_after(loop: asyncio.AbstractEventLoop) -> None:
    """See to the processes that live on a loop when it ends. On its thread, in one of its callbacks.

    Whoever runs a loop ends its asynchronous generators before he closes it (``asyncio.run``, ``Runner``,
    uvloop, anyio), after all tasks. So one of ours waits there, and its end is theirs.
    """
    bells = bells_of(loop)
    if bells.keeper is None and not is_runtime_loop(loop):
        bells.keeper = keeper = _keep(bells.ref)
        try:
            keeper.asend(None).send(None)
        except StopIteration:
            # It waits.
            return


async def _keep(ref: weakref.ref[Bells]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        bells = ref()
        if bells is not None and not bells.over:
            await _stop_all(bells)


def closing(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is about to be closed, so that nothing is to be started on it."""
    return bells_of(loop).over


async def _stop_all(bells: Bells) -> None:
    """Stop whatever was started in the loop: the topmost processes, the youngest first."""
    bells.over = True
    deadline = time.monotonic() + GRACE
    ours = _processes_of(bells.loop)
    for pid in sorted(ours.values(), reverse=True):
        if pid.parent is not None and pid.parent.id in ours:
            # That stops it.
            continue
        left = max(0.0, deadline - time.monotonic())
        if isinstance(pid, ServerPid):
            pid.give_up_waiting()
            if not await request_stop(pid, LOOP_CLOSED, None, waits=False).wait_async(left):
                pid.signal(None, KILL, direct=True)
        else:
            departure = Departure(bells.loop)
            pid.signal(None, LOOP_CLOSED, direct=True)
            pid.attach(departure)
            await departure.bell.wait(left)


class Departure:
    """A resource of a process: rings when no code of it runs any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = LoopBell(loop)

    def owner_died(self, pid: Pid, reason: object) -> None:
        """Nothing: it may still run."""

    def owner_left(self, pid: Pid) -> None:
        self.bell.wake()


def _processes_of(loop: asyncio.AbstractEventLoop) -> dict[int, Pid]:
    return {pid.id: pid for pid in list(table.values()) if _home_of(pid) is loop}


def _home_of(pid: Pid) -> object:
    context = pid._context
    return getattr(pid, "loop", None) or (None if context is None else home_in(context))


def _loop_closed(ref: weakref.ref[Bells]) -> None:
    """None of its tasks takes another step. May run anywhere, holding anything."""
    bells = ref()
    if bells is None or (keeper := bells.keeper) is None:
        return
    bells.over = True
    bells.keeper = None
    for pid in list(table.values()):
        if getattr(pid, "loop", None) is bells.loop:
            ended_afar(pid, (), LOOP_CLOSED)
    closing: Any = keeper.aclose()
    try:
        closing.send(None)
    except (StopIteration, StopAsyncIteration):
        return


when_closed.append(_loop_closed)
