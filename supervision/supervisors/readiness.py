"""Readiness: a start that is over when the child says so (beyond OTP).

A child whose `init` returns before it can serve (a server that binds its port later, a thread that loads a
model) calls `ready()` when it can; its supervisor, whose spec has a `ready_timeout`, waits for that before it
goes on to the next child. Not for what can simply be done in `init`.
"""

from __future__ import annotations

from typing import Any

import attrs

from ...actors import CallTimeout, ChildSpec, Exited, process
from ..readying import BecameReady, waiting
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
    waiting.listen(pid, process.current())

    def concerns_us(message: Any) -> bool:
        # The child is linked, and nobody else is told of its end: it is not in the table yet.
        # Not by ==, which may be the code of whoever sent some other message.
        return message.__class__ in (BecameReady, Exited) and message.pid is pid

    try:
        message = process.receive(matching=concerns_us, timeout=timeout)
    except CallTimeout:
        waiting.forget(pid)
        stopping.stop(pid, spec.shutdown)
        return Failed(NotReady(spec.id, timeout))
    return Failed(pid.exit_reason) if isinstance(message, Exited) else started
