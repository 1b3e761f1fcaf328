"""What becomes of processes when the event loop in which they were started ends: stopped in order, or gone.

While that can run, they are stopped in reverse order of their starts; when it is closed, they are dead.
"""

from __future__ import annotations

import asyncio
import sys
import time
import types
from typing import TYPE_CHECKING, Any

from ..processes.ambient import ended_afar
from ..processes.pid import Pid, table
from ..reports.stragglers import not_left_on
from ..runtime.loop import home_in, is_runtime_loop
from ..runtime.loop_bells import bells_of, when_closed, when_recovering
from ..runtime.loop_watch import watch_loop
from ..runtime.parking import LoopBell
from ..vocabulary.reasons import KILL, LOOP_CLOSED
from .dispatch import ServerPid, request_stop

if TYPE_CHECKING:
    import weakref
    from collections.abc import AsyncGenerator, Generator

    from ..runtime.loop_bells import Bells

GRACE = 5.0
"""Seconds that all processes of a loop have together to stop in order, as a worker has under a supervisor."""
PATIENCE = 0.5
"""Seconds that cancelled tasks have to end, before their loop is taken for one that goes on."""
LOOK = 0.02
"""Seconds between two looks at them meanwhile."""
TURNS = 16
"""So many turns of a loop after the end of its tasks ends its asynchronous generators, if it ends."""


def look_after(loop: asyncio.AbstractEventLoop) -> None:
    """See to the processes that live on a loop when it ends. On its thread, in one of its callbacks.

    Whoever runs a loop ends its asynchronous generators before he closes it (``asyncio.run``, ``Runner``,
    uvloop, anyio), after all tasks. So one of ours waits there, and its end is theirs.
    """
    bells = bells_of(loop)
    if bells.keeper is None and not is_runtime_loop(loop):
        watch_loop(loop)
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


def settle(loop: asyncio.AbstractEventLoop) -> bool:
    """Note that something is about to live on a loop, in case that this is closed before it has begun.

    Returns:
        False when the loop is closed or about to be, so that nothing is to be started on it.
    """
    if loop.is_closed():
        return False
    bells = bells_of(loop)
    if not is_runtime_loop(loop):
        bells.inhabited = True
    return not bells.over


def closing(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is about to be closed, so that nothing is to be started on it."""
    return bells_of(loop).over


async def soon_closing(loop: asyncio.AbstractEventLoop, pid: Pid) -> bool:
    """Whether the loop is about to be closed, asked by a process whose wait was cancelled though it was not.

    Whoever ends a loop first cancels all tasks and waits for them, inner ones of a callback's (``gather``)
    included. So it may be that where all are cancelled; who waits for their ends, too, sees. But one that was
    cancelled may go on for as long as it likes, or wait for this very process: so not for long, and no longer
    than it may still be so.
    """
    bells = bells_of(loop)
    # Whatever is started from now on may be what ends the loop.
    others = asyncio.all_tasks(loop)
    deadline = time.monotonic() + PATIENCE
    turns = 0
    try:
        while True:
            if bells.over or not others:
                break
            left = deadline - time.monotonic()
            if left <= 0 or not all(map(_is_cancelled, others)) or _wait_for(pid, others, bells):
                return False
            _, others = await asyncio.wait(others, timeout=min(left, LOOK))
        while True:
            if bells.over or turns == TURNS:
                break
            await _next_turn()
            turns += 1
    except asyncio.CancelledError:
        # It is killed meanwhile.
        pass
    return bells.over


def _is_cancelled(task: asyncio.Task[Any]) -> bool:
    # Before 3.11 a task does not say so: there what takes its time to end keeps this from being seen.
    return sys.version_info >= (3, 11) and task.cancelling() > 0


def _wait_for(pid: Pid, tasks: set[asyncio.Task[Any]], bells: Bells) -> bool:
    """Whether one of these tasks waits for the answer of a process, and is not about to give up."""
    waits = [
        bells.sleeping.get(bell)
        for call in list(pid._calls.values())
        for bell in list(call._callbacks)
        if isinstance(bell, LoopBell)
    ]
    return any(
        wait is not None and not wait.done() and getattr(task, "_fut_waiter", None) is wait
        for wait in waits
        for task in tasks
    )


@types.coroutine
def _next_turn() -> Generator[None, None, None]:
    yield


async def _stop_all(bells: Bells) -> None:
    """Stop whatever lives on the loop, the youngest first; what is supervised, by its topmost supervisor that
    was started in the loop. A process that merely was started there, and has a thread, goes on.
    """
    bells.over = True
    deadline = time.monotonic() + GRACE
    loop = bells.loop
    tops = {_top_of(pid, loop) for pid in list(table.values()) if getattr(pid, "loop", None) is loop}
    for pid in sorted(tops, reverse=True):
        left = max(0.0, deadline - time.monotonic())
        if isinstance(pid, ServerPid):
            pid.give_up_waiting()
            if not await request_stop(pid, LOOP_CLOSED, None, waits=False).wait_async(left):
                pid.signal(None, KILL, direct=True)
        else:
            departure = Departure(loop)
            pid.signal(None, LOOP_CLOSED, direct=True)
            pid.attach(departure)
            await departure.bell.wait(left)


def _top_of(pid: Pid, loop: asyncio.AbstractEventLoop) -> Pid:
    while True:
        above = pid.parent
        if not isinstance(above, ServerPid) or (actor := above.actor) is None or not actor._stops_children:
            return pid
        context = above._context
        if context is None or home_in(context) is not loop:
            return pid
        pid = above


class Departure:
    """A resource of a process: rings when no code of it runs any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = LoopBell(loop)

    def owner_died(self, pid: Pid, reason: object) -> None:
        """Nothing: it may still run."""

    def owner_left(self, pid: Pid) -> None:
        self.bell.wake()


def _loop_closed(ref: weakref.ref[Bells]) -> None:
    """None of its tasks takes another step. May run anywhere, holding anything."""
    bells = ref()
    if bells is None or not bells.inhabited:
        return
    bells.over = True
    keeper, bells.keeper = bells.keeper, None
    for pid in list(table.values()):
        if getattr(pid, "loop", None) is bells.loop:
            ended_afar(pid, (), LOOP_CLOSED)
            pid.abandon()
    for pid in not_left_on(bells.loop):
        # Killed before, and its cancellation never came.
        ended_afar(pid, (), LOOP_CLOSED)
        pid.abandon()
    if keeper is None:
        # Nothing has begun there.
        return
    closing: Any = keeper.aclose()
    try:
        closing.send(None)
    except (StopIteration, StopAsyncIteration):
        return


def _loop_recovers(loop: asyncio.AbstractEventLoop) -> None:
    for pid in list(table.values()):
        if getattr(pid, "loop", None) is loop:
            pid.recover()


when_closed.append(_loop_closed)
when_recovering.append(_loop_recovers)
