"""Looking into servers and holding them still: OTP's ``:sys``, for debugging and tests.

The requests are handled in order with the server's messages, also by one that is suspended. Supervisors,
registries and locks are servers, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import attrs

from .call import Call
from .context import current
from .errors import SelfCall
from .inline import InlinePid
from .local import look
from .mailbox import System
from .pid import Pid
from .process import status
from .resolving import no_process, resolve
from .runnable import RunnablePid
from .waiting import check_timeout, forbid_loop

__all__ = [
    "Statistics",
    "Status",
    "get_state",
    "get_status",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
]

logger = logging.getLogger("resprout.trace")


@attrs.frozen
class Status:
    """What ``get_status`` tells.

    Attributes:
        pid, name, parent: who.
        module: the class of its callbacks.
        status: ``"running"`` or ``"suspended"``.
        state: as the server's ``format_status`` shows it.
        message_queue_len: messages that wait.
    """

    pid: Pid
    name: object
    parent: Pid | None
    module: type
    status: str
    state: Any
    message_queue_len: int


@attrs.frozen
class Statistics:
    """What ``statistics`` tells.

    Attributes:
        uptime: seconds since it was started.
        messages_in: items handled so far, requests of this module included.
        message_queue_len: messages that wait.
        rejected, dropped: messages that a bounded mailbox did not take or threw away.
    """

    uptime: float
    messages_in: int
    message_queue_len: int
    rejected: int
    dropped: int


class _Query(System):
    """A function to be run inside the server."""

    __slots__ = ("call", "function")

    def __init__(self, call: Call, function: Callable[[Any], Any]) -> None:
        self.call = call
        self.function = function

    def handle(self, pid: Any) -> Any:
        try:
            value = self.function(pid)
        except Exception as error:
            self.call.answer_error(error)
        else:
            self.call.answer(value)
        return None


def _ask(what: str, server: Any, function: Callable[[Any], Any], timeout: float | None) -> Any:
    look()
    check_timeout(timeout)
    pid = resolve(server)
    if not isinstance(pid, RunnablePid):
        raise TypeError(f"{pid} is a {pid.kind}, which answers no system requests")
    if not isinstance(pid, InlinePid):
        forbid_loop(f"sys.{what}", f"asyncio.to_thread(sys.{what}, server)")
    caller = current()
    if caller is pid:
        raise SelfCall(f"{pid} would wait for its own answer")
    if pid.dead:
        raise no_process(pid)
    call = Call(what, pid, caller)
    pid.deliver(_Query(call, function))
    if not call.done():
        call.wait_for_answer(timeout)
    return call.result()


def get_state(server: Any, timeout: float | None = 5.0) -> Any:
    """The server's state, by reference: look, do not touch."""
    return _ask("get_state", server, lambda pid: pid.state, timeout)


def replace_state(server: Any, function: Callable[[Any], Any], timeout: float | None = 5.0) -> Any:
    """Make ``function(state)`` the state and return it. A function that raises changes nothing and raises
    here.
    """
    look()
    if not callable(function):
        raise TypeError(f"expected a function of the state, got: {function!r}")

    def replace(pid: Any) -> Any:
        pid.state = function(pid.state)
        return pid.state

    return _ask("replace_state", server, replace, timeout)


def get_status(server: Any, timeout: float | None = 5.0) -> Status:
    """What is known of a server, its state included."""

    def look(pid: Any) -> Status:
        return Status(
            pid=pid,
            name=pid.name,
            parent=pid.parent,
            module=type(pid.actor),
            status="suspended" if status(pid) == "suspended" else "running",
            state=pid.actor.format_status(pid.state),
            message_queue_len=pid.mailbox_length(),
        )

    return _ask("get_status", server, look, timeout)  # type: ignore[no-any-return]  # what look returns


def suspend(server: Any, timeout: float | None = 5.0) -> None:
    """Have a server leave its messages alone until ``resume``; returns when it does."""

    def stop_looking(pid: Any) -> None:
        pid._suspended = True

    _ask("suspend", server, stop_looking, timeout)


def resume(server: Any, timeout: float | None = 5.0) -> None:
    """Have a suspended server go on, with its messages in the order in which they came."""

    def look_again(pid: Any) -> None:
        pid._suspended = False

    _ask("resume", server, look_again, timeout)


def trace(server: Any, flag: bool, timeout: float | None = 5.0) -> None:
    """Log every item that a server handles, through the logger ``resprout.trace`` at INFO, or stop that."""
    look()
    if not isinstance(flag, bool):
        raise TypeError(f"expected flag to be True or False, got: {flag!r}")

    def watch(pid: Any) -> None:
        pid.tracer = _log if flag else None

    _ask("trace", server, watch, timeout)


def _log(pid: Pid, item: object) -> None:
    logger.info("%s got %s %r", pid, type(item).__name__.lower(), getattr(item, "message", item))


def statistics(server: Any, timeout: float | None = 5.0) -> Statistics:
    """Counts of a server's life."""

    def count(pid: Any) -> Statistics:
        return Statistics(
            uptime=time.monotonic() - pid.started_at,
            messages_in=pid.handled,
            message_queue_len=pid.mailbox_length(),
            rejected=getattr(pid, "rejected", 0),
            dropped=getattr(pid, "dropped", 0),
        )

    return _ask("statistics", server, count, timeout)  # type: ignore[no-any-return]  # what count returns
