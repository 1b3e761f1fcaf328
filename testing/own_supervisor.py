"""The supervisor of what `start_supervised` has started in a region: tied to nobody, it ends with that."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..actors import NotFound, Pid, process
from ..actors.engine import Deaths, ask_to_stop
from ..supervision import Supervisor

T = TypeVar("T")
MAX_RESTARTS: Final = 1_000_000
"""Nobody is to give up because a test crashes its children; as in ExUnit."""
LONGEST_KILL: Final = 2.0


class OwnSupervisor:
    """Starts with the first child."""

    def __init__(self) -> None:
        self.pid: Pid | None = None

    def start(self, spec: Any) -> Pid | None:
        """Start a child; see `Region.start_supervised`."""
        return in_thread(lambda: self._start(spec))

    async def astart(self, spec: Any) -> Pid | None:
        """The same, and the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.start, spec)

    def _start(self, spec: Any) -> Pid | None:
        if self.pid is None or self.pid.dead:
            pid = Supervisor.start_link(
                [], strategy="one_for_one", max_restarts=MAX_RESTARTS, max_seconds=1.0
            )
            process.unlink(pid)
            pid.parent = None
            self.pid = pid
        return Supervisor.start_child(self.pid, spec)

    def stop(self, child: Any) -> None:
        """Stop a child; see `Region.stop_supervised`."""
        in_thread(lambda: self._stop(child))

    def _stop(self, child: Any) -> None:
        if self.pid is None or self.pid.dead:
            raise NotFound(f"nothing was started by start_supervised, and so no child {child!r}")
        id = child
        if isinstance(child, Pid):
            rows = Supervisor.which_children(self.pid)
            id = next((row.id for row in rows if row.pid is child), child)
        Supervisor.terminate_child(self.pid, id)
        try:
            Supervisor.delete_child(self.pid, id)
        except NotFound:
            # A temporary one is forgotten as it is.
            pass

    def end(self, deadline: float) -> None:
        """Stop it with all children, the newest first; kill it when the time is over."""
        pid, self.pid = self.pid, None
        if pid is not None and pid.alive:
            in_thread(lambda: stop(pid, deadline))


def stop(pid: Pid, deadline: float) -> bool:
    """Stop a process in order, and wait for it; False when it has to be killed."""
    deaths = Deaths()
    deaths.watch(pid)
    ask_to_stop(pid)
    if deaths.take(max(0.0, deadline - time.monotonic())) is not None:
        return True
    process.exit(pid, "kill")
    deaths.take(LONGEST_KILL)
    return False


def in_thread(fn: Callable[[], T]) -> T:
    """Call a function in a thread and wait for it: so it may block in an event loop, too, and whoever is dead
    or tied to others stays out of it.
    """
    answer: list[T] = []
    error: list[BaseException] = []

    def call() -> None:
        try:
            answer.append(fn())
        except BaseException as problem:
            error.append(problem)

    thread = threading.Thread(target=call, name="resprout-testing", daemon=True)
    thread.start()
    thread.join()
    if error:
        try:
            raise error[0]
        finally:
            error.clear()
    return answer[0]
