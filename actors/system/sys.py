"""Looking into servers and holding them still: OTP's ``:sys``, for debugging and tests.

The requests are handled in order with the server's messages, also by one that is suspended. Supervisors,
registries and locks are servers, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Literal, cast

import attrs

from ..process import status
from ..processes.mailbox import System
from ..processes.pid import Pid
from ..processes.resolving import resolve
from ..runtime.call import Call
from ..runtime.parking import check_timeout, forbid_loop
from ..runtime.thread_state import check_alive
from ..servers import debug_functions as debug
from ..servers.debug_functions import DebugFunction, Event, In, NewState, Out
from ..servers.dispatch import Interrupted
from ..servers.inline import InlinePid
from ..servers.runnable import RunnablePid, begin_call
from ..vocabulary.errors import CallbackFailed, Killed
from ..vocabulary.reasons import Crash, ExitRequest

__all__ = [
    "In",
    "NewState",
    "Out",
    "Statistics",
    "Status",
    "get_state",
    "get_status",
    "install",
    "log",
    "log_to_file",
    "no_debug",
    "remove",
    "replace_state",
    "resume",
    "statistics",
    "suspend",
    "trace",
]

DEFAULT_LOG = 10
"""Events that a log keeps, as in OTP."""


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
    """A function to be run inside the server, or inside the one that this server stands for."""

    __slots__ = ("args", "call", "what")

    def __init__(self, call: Call, what: str, args: tuple[Any, ...]) -> None:
        self.call = call
        self.what = what
        self.args = args

    def handle(self, pid: Any) -> Any:
        call = self.call
        try:
            if pid.actor._ask_far(call, self.what, self.args):
                return None
            value = _FUNCTIONS[self.what](pid, *self.args)
        except Exception as error:
            call.answer_error(error)
        except Killed:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and pid.keep_back(error):
                call.answer_error(Interrupted(f"{pid} was interrupted by Ctrl-C before it answered"))
            else:
                # The function was the caller's, and so is its exit.
                reason = error.reason if isinstance(error, ExitRequest) else Crash(error)
                call.answer_error(CallbackFailed(pid, str(call.message), reason))
        else:
            call.answer(value)
        return None


def _ask(what: str, server: Any, timeout: float | None, *args: Any) -> Any:
    check_alive()
    check_timeout(timeout)
    pid = resolve(server)
    if not isinstance(pid, RunnablePid):
        raise TypeError(f"{pid} is a {pid.kind}, which answers no system requests")
    if not isinstance(pid, InlinePid):
        forbid_loop(f"sys.{what}", f"asyncio.to_thread(sys.{what}, server)")
    call = begin_call(pid, what)
    pid.deliver(_Query(call, what, args))
    if not call.done():
        call.wait_for_answer(timeout)
    return call.result()


def ask_later(what: str, pid: Any, args: tuple[Any, ...]) -> Call:
    """Make a request of this module, without waiting, for whoever has asked for it from afar."""
    call = Call(what, pid, None)
    call.promise()
    pid.deliver(_Query(call, what, args))
    return call


def get_state(server: Any, timeout: float | None = 5.0) -> Any:
    """The server's state, by reference: look, do not touch."""
    return _ask("get_state", server, timeout)


def replace_state(server: Any, function: Callable[[Any], Any], timeout: float | None = 5.0) -> Any:
    """Make ``function(state)`` the state and return it.

    Args:
        server: a Pid, a name or a Via.
        function: called in the server.
        timeout: seconds.

    Raises:
        CallbackFailed: the function exited (``process.exit``); the state stays, and the server lives on. What
            else it raises is raised here as it is, and harms the server as little.
    """
    check_alive()
    if not callable(function):
        raise TypeError(f"expected a function of the state, got: {function!r}")
    return _ask("replace_state", server, timeout, function)


def _replace(pid: Any, function: Callable[[Any], Any]) -> Any:
    pid.state = function(pid.state)
    return pid.state


def get_status(server: Any, timeout: float | None = 5.0) -> Status:
    """What is known of a server, its state included."""
    found: Status = _ask("get_status", server, timeout)
    if isinstance(found.pid, Pid):
        return found
    # Of a server in another OS process, whom this one knows by the Pid that stands for it.
    pid = resolve(server)
    return attrs.evolve(found, pid=pid, name=pid.name, parent=pid.parent)


def _look(pid: Any) -> Status:
    return Status(
        pid=pid,
        name=pid.name,
        parent=pid.parent,
        module=type(pid.actor),
        status="suspended" if status(pid) == "suspended" else "running",
        state=pid.actor.format_status(pid.state),
        message_queue_len=pid.mailbox_length(),
    )


def suspend(server: Any, timeout: float | None = 5.0) -> None:
    """Have a server leave its messages alone until ``resume``; returns when it does."""
    _ask("suspend", server, timeout)


def resume(server: Any, timeout: float | None = 5.0) -> None:
    """Have a suspended server go on, with its messages in the order in which they came."""
    _ask("resume", server, timeout)


def _set_suspended(pid: Any, flag: bool) -> None:
    pid._suspended = flag


def trace(server: Any, flag: bool, timeout: float | None = 5.0) -> None:
    """Log what a server gets, what it replies and the states between, through the logger ``resprout.trace``
    at INFO, or stop that. (What ``format_status`` hides is hidden there, too.)
    """
    check_alive()
    _check_flag("flag", flag)
    _ask("trace", server, timeout, flag)


def _trace(pid: Any, flag: bool) -> None:
    debug.remove(pid, lambda function: isinstance(function, debug.TraceLog))
    if flag:
        debug.install(pid, debug.TraceLog(pid), None)


def install(server: Any, function: DebugFunction, state: object = None, timeout: float | None = 5.0) -> None:
    """Have a function see everything that a server gets, replies and becomes.

    Args:
        server: a Pid, a name or a Via.
        function: called in the server, in order, as ``function(state, event, state_of_server)``. The event is
            an ``In``, an ``Out`` or a ``NewState``. What it returns is its next state, and ``"done"`` ends
            it; so does raising, which is logged and harms nobody else. It must be quick, and must not change
            the server's state.
        state: its first state.
        timeout: seconds.

    Raises:
        TypeError: it is not callable.

    A function that is installed already stays as it is, with the state that it has.

    Semantics: OTP sys(3), ``install/2``, and its debug functions (which do not see what ``GenServer.reply``
    sends either).

    Example:
        >>> from resprout import Agent
        >>> agent = Agent.start(dict)
        >>> seen = []
        >>> install(agent, lambda state, event, of_server: seen.append(type(event).__name__))
        >>> agent.send("a message")  # it logs that it does not know it
        >>> get_state(agent)
        {}
        >>> seen
        ['In', 'NewState']
        >>> agent.stop()
        True
    """
    check_alive()
    if not callable(function):
        raise TypeError(
            f"expected a function of its state, an event and the server's state, got: {function!r}"
        )
    _ask("install", server, timeout, function, state)


def remove(server: Any, function: DebugFunction, timeout: float | None = 5.0) -> None:
    """End the watch of a function that was installed; none is no error."""
    check_alive()
    _ask("remove", server, timeout, function)


def no_debug(server: Any, timeout: float | None = 5.0) -> None:
    """End whatever watches a server: functions, traces and logs."""
    check_alive()
    _ask("no_debug", server, timeout)


def log(
    server: Any, flag: bool | int | Literal["get", "print"], timeout: float | None = 5.0
) -> list[Event] | None:
    """Have a server keep its newest events, or look at them.

    Args:
        server: a Pid, a name or a Via.
        flag: True keeps 10 events and a number so many, also when there is a log already; False ends it;
            ``"get"`` returns them, ``"print"`` prints them.
        timeout: seconds.

    Returns:
        For ``"get"`` the events, the oldest first, none without a log; otherwise None.

    Raises:
        TypeError, ValueError: flag is none of these.

    Semantics: OTP sys(3), ``log/2`` (whose ``{true, N}`` is a plain number here).
    """
    check_alive()
    if isinstance(flag, str):
        if flag not in ("get", "print"):
            raise ValueError(f"expected flag to be True, False, a number, 'get' or 'print', got: {flag!r}")
        if flag == "get":
            return cast("list[Event]", _ask("logged", server, timeout))
        for text in _ask("logged_text", server, timeout):
            print(text)  # noqa: T201  # what was asked for
        return None
    if not isinstance(flag, int):
        raise TypeError(f"expected flag to be True, False, a number, 'get' or 'print', got: {flag!r}")
    size = DEFAULT_LOG if flag is True else flag
    if size < 0:
        raise ValueError(f"expected the number of events to keep to be at least 0, got: {flag!r}")
    _ask("log", server, timeout, size)
    return None


def _ring_of(pid: Any) -> debug.Ring | None:
    watch = debug.watch_of(pid, lambda function: isinstance(function, debug.Ring))
    return None if watch is None else cast("debug.Ring", watch.function)


def _keep(pid: Any, size: int) -> None:
    ring = _ring_of(pid)
    debug.remove(pid, lambda function: function is ring)
    if size:
        fresh = debug.Ring(size)
        if ring is not None:
            fresh.events.extend(ring.events)
        debug.install(pid, fresh, None)


def _logged(pid: Any) -> list[Event]:
    ring = _ring_of(pid)
    return [] if ring is None else list(ring.events)


def _logged_text(pid: Any) -> list[str]:
    return [debug.text_of(pid, event) for event in _logged(pid)]


def log_to_file(
    server: Any, path: str | os.PathLike[str] | Literal[False], timeout: float | None = 5.0
) -> None:
    """Have a server write its events to a file, a line each, or stop that.

    Args:
        server: a Pid, a name or a Via.
        path: the file, which is emptied first; False closes the one that there is.
        timeout: seconds.

    Raises:
        OSError: the file cannot be opened; a former one is still written to.
        TypeError: path is none.

    The file belongs to the server, and is closed with it. A disk that is full ends the log, with a warning.

    Semantics: OTP sys(3), ``log_to_file/2``.
    """
    check_alive()
    if path is not False and not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"expected path to be a path or False, got: {path!r}")
    _ask("log_to_file", server, timeout, path)


def _write(pid: Any, path: Any) -> None:
    fresh = None if path is False else debug.FileLog(pid, path)
    debug.remove(pid, lambda function: isinstance(function, debug.FileLog))
    if fresh is not None:
        debug.install(pid, fresh, None)


def _check_flag(name: str, flag: object) -> None:
    if not isinstance(flag, bool):
        raise TypeError(f"expected {name} to be True or False, got: {flag!r}")


def statistics(server: Any, timeout: float | None = 5.0) -> Statistics:
    """Counts of a server's life."""
    return _ask("statistics", server, timeout)  # type: ignore[no-any-return]  # what _count returns


def _count(pid: Any) -> Statistics:
    return Statistics(
        uptime=time.monotonic() - pid.started_at,
        messages_in=pid.handled,
        message_queue_len=pid.mailbox_length(),
        rejected=getattr(pid, "rejected", 0),
        dropped=getattr(pid, "dropped", 0),
    )


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "get_state": lambda pid: pid.state,
    "replace_state": _replace,
    "get_status": _look,
    "suspend": lambda pid: _set_suspended(pid, True),
    "resume": lambda pid: _set_suspended(pid, False),
    "trace": _trace,
    "install": debug.install,
    "remove": lambda pid, function: debug.remove(pid, lambda other: other == function),
    "no_debug": lambda pid: debug.remove(pid, lambda function: True),
    "log": _keep,
    "logged": _logged,
    "logged_text": _logged_text,
    "log_to_file": _write,
    "statistics": _count,
}
"""What a request does in the server. By name, since a function of ours does not travel."""
