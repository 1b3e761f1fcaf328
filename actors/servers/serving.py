"""A server for as long as a coroutine runs: the child of somebody's ``asyncio.TaskGroup``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..processes.amonitor import Monitor
from ..runtime.see_through import hidden_task, see_through
from ..vocabulary.errors import ServerExit
from ..vocabulary.reasons import KILL, SHUTDOWN, is_orderly
from .dispatch import request_stop
from .loop_ends import GRACE, Departure

if TYPE_CHECKING:
    from ..processes.pid import Pid


async def serve(pid: Pid, shutdown: float | None, task_status: Any) -> None:
    """Wait for the end of a server that was just started, and end it when cancelled; see
    ``GenServer.aserve``.
    """
    ended = Monitor(pid)
    if task_status is not None:
        task_status.started(pid)
    try:
        await ended
    except asyncio.CancelledError as cancelled:
        ending = hidden_task(stop_in_order(pid, shutdown), f"the end of {pid}")
        await see_through(ending, cancelled, lambda: pid.signal(None, KILL, direct=True))
        raise
    if not is_orderly(pid.exit_reason):
        raise ServerExit(pid.exit_reason, pid, "its end was awaited")


async def stop_in_order(pid: Pid, shutdown: float | None) -> None:
    """Stop a server as a supervisor does: told to, waited for, and killed when its time is over. If it runs
    on a loop, its code has ended afterwards.
    """
    if not pid.dead and not await request_stop(pid, SHUTDOWN, None, waits=False).wait_async(shutdown):
        pid.signal(None, KILL, direct=True)
    await departed(pid)


async def departed(pid: Pid) -> None:
    """Wait until no code of a process that has died runs on a loop; what is stuck in a thread goes on."""
    if getattr(pid, "loop", None) is not None:
        departure = Departure(asyncio.get_running_loop())
        pid.attach(departure)
        await departure.bell.wait(GRACE)
