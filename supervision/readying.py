"""Who has said that it is ready, and who waits to hear it; see `supervisors.readiness`."""

from __future__ import annotations

import attrs

from ..actors import Pid, process
from ..actors.engine import check_alive


@attrs.frozen
class BecameReady:
    """What whoever listens is sent when a process has said that it is ready."""

    pid: Pid


class _Waiting:
    """Who has said that it is ready, and who waits to hear it.

    Tied to the life of each process that appears in it, so that nothing is left of the dead. Every step is
    one operation on a dict, so whoever comes second, the child or its supervisor, finds what the first has
    left.
    """

    def __init__(self) -> None:
        self._said: dict[Pid, bool] = {}
        self._listeners: dict[Pid, Pid] = {}

    def say(self, pid: Pid) -> None:
        self._said[pid] = True
        pid.attach(self)
        self._tell(pid)

    def listen(self, pid: Pid, listener: Pid) -> None:
        self._listeners[pid] = listener
        pid.attach(self)
        if pid in self._said:
            self._tell(pid)

    def _tell(self, pid: Pid) -> None:
        listener = self._listeners.pop(pid, None)
        if listener is not None:
            listener.send(BecameReady(pid))

    def forget(self, pid: Pid) -> None:
        self._listeners.pop(pid, None)

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._said.pop(pid, None)
        self._listeners.pop(pid, None)

    def owner_left(self, pid: Pid) -> None:
        """Nothing is kept for stragglers."""


waiting = _Waiting()


def ready(pid: Pid | None = None) -> None:
    """Says that a child can serve now.

    Args:
        pid: The child; by default the current process. A thread that works for a child passes the child's.
    """
    check_alive()
    waiting.say(process.current() if pid is None else pid)
