"""Readiness: a start that is over when the child says so (beyond OTP).

A child whose `init` returns before it can serve (a server that binds its port later, a thread that loads a
model) calls `ready()` when it can; its supervisor, whose spec has a `ready_timeout`, waits for that before it
goes on to the next child. Not for what can simply be done in `init`.
"""

from __future__ import annotations

from typing import Any

import attrs

from ...actors import CallTimeout, ChildSpec, Exited, Pid, process
from ...actors.engine import check_alive
from . import stopping
from .starting import Failed, Outcome, Started


@attrs.frozen
class NotReady:
    """The exit reason and start error of a child that did not say in time that it is ready.

    Attributes:
        id: The child.
        seconds: How long it had.
    """

    id: object
    seconds: float

    def __str__(self) -> str:
        return f"it did not call ready() within {self.seconds:g} s (its ready_timeout)"


@attrs.frozen
class _Ready:
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
            listener.send(_Ready(pid))

    def forget(self, pid: Pid) -> None:
        self._listeners.pop(pid, None)

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._said.pop(pid, None)
        self._listeners.pop(pid, None)

    def owner_left(self, pid: Pid) -> None:
        """Nothing is kept for stragglers."""


_waiting = _Waiting()


def ready(pid: Pid | None = None) -> None:
    """Says that a child can serve now.

    Args:
        pid: The child; by default the current process. A thread that works for a child passes the child's.
    """
    check_alive()
    _waiting.say(process.current() if pid is None else pid)


def await_ready(started: Started, spec: ChildSpec, timeout: float) -> Outcome:
    """Waits, in the supervisor's process, until a child has said that it is ready.

    Args:
        started: The child.
        spec: Its spec.
        timeout: Seconds.

    Returns:
        `started`; or a failure if the child has ended before, or was stopped because it took too long.
    """
    pid = started.pid
    _waiting.listen(pid, process.current())

    def concerns_us(message: Any) -> bool:
        # The child is linked, and nobody else is told of its end: it is not in the table yet.
        # Not by ==, which may be the code of whoever sent some other message.
        return message.__class__ in (_Ready, Exited) and message.pid is pid

    try:
        message = process.receive(matching=concerns_us, timeout=timeout)
    except CallTimeout:
        _waiting.forget(pid)
        stopping.stop(pid, spec.shutdown)
        return Failed(NotReady(spec.id, timeout))
    return Failed(message.reason) if isinstance(message, Exited) else started
