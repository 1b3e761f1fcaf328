"""Functions that watch a server: OTP's debug functions (``sys``), of which traces and logs are made.

They run in the server, between its messages. While it has none, its ``tracer`` is None and it pays nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import attrs

from ..processes.mailbox import Cast, System, Tick
from ..processes.resources import disown, own
from ..runtime.call import Call
from ..vocabulary.errors import Killed, NotOwned, brief
from ..vocabulary.messages import TIMEOUT

if TYPE_CHECKING:
    from ..processes.pid import Pid

logger = logging.getLogger("resprout.trace")
DONE = "done"


@attrs.frozen
class In:
    """A server has taken a message out of its mailbox, and is about to handle it.

    Attributes:
        message: what the callback gets.
        kind: ``"call"``, ``"cast"`` or ``"message"``.
        sender: who calls; None for anything else, and when nobody in particular does.
    """

    message: object
    kind: str = "message"
    sender: Pid | None = None


@attrs.frozen
class Out:
    """A callback has returned a reply, which is about to be sent.

    Attributes:
        message: the reply.
        to: who called; None when nobody in particular did.
        state: the state after it.
    """

    message: object
    to: Pid | None
    state: object


@attrs.frozen
class NewState:
    """A callback has returned, without a reply.

    Attributes:
        state: the state after it.
    """

    state: object


Event: TypeAlias = "In | Out | NewState"
DebugFunction: TypeAlias = Callable[[Any, Event, Any], Any]


def text_of(pid: Any, event: Event) -> str:
    """One line of a trace. A state is shown as the server's ``format_status`` shows it."""
    match event:
        case In(message, "call", sender):
            return f"{pid} got call {_repr(message)} from {sender}"
        case In(message, kind):
            return f"{pid} got {kind} {_repr(message)}"
        case Out(message, to, state):
            return f"{pid} sent {_repr(message)} to {to}, new state {_shown(pid, state)}"
        case NewState(state):
            return f"{pid} new state {_shown(pid, state)}"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return brief(value)


def _shown(pid: Any, state: object) -> str:
    return _repr(pid.actor.format_status(state))


class Watch:
    """One function at work, and its own state."""

    __slots__ = ("function", "state")

    def __init__(self, function: DebugFunction, state: object) -> None:
        self.function = function
        self.state = state


class Debugger:
    """All functions that watch one server; only that server uses it."""

    __slots__ = ("watches",)

    def __init__(self) -> None:
        self.watches: list[Watch] = []

    def took(self, pid: Any, item: Any) -> None:
        """The server is about to handle an item. Requests of the runtime's are not shown."""
        kind = item.__class__
        if kind is Call:
            self.tell(pid, In(item.message, "call", item.pid))
        elif kind is Cast:
            self.tell(pid, In(item.message, "cast"))
        elif kind is Tick:
            if item is pid._tick:
                self.tell(pid, In(TIMEOUT))
        elif not isinstance(item, System):
            self.tell(pid, In(item))

    def sends(self, pid: Any, call: Call, value: object) -> None:
        """The server is about to send a reply."""
        self.tell(pid, Out(value, call.pid, pid.state))

    def settled(self, pid: Any) -> None:
        """A callback of the server has returned without a reply."""
        self.tell(pid, NewState(pid.state))

    def tell(self, pid: Any, event: Event) -> None:
        """Show every function an event. One that says so is done; one that raises is, too."""
        for watch in tuple(self.watches):
            try:
                after = watch.function(watch.state, event, pid.state)
            except Killed:
                raise
            except BaseException as error:
                if not (isinstance(error, KeyboardInterrupt) and pid.keep_back(error)):
                    logger.warning("%s: %r raised %r and is removed", pid, watch.function, error)
                    self._drop(watch)
                continue
            if isinstance(after, str) and after == DONE:
                self._drop(watch)
            else:
                watch.state = after
        if not self.watches:
            pid.tracer = None

    def _drop(self, watch: Watch) -> None:
        if watch in self.watches:
            self.watches.remove(watch)
        if isinstance(watch.function, FileLog):
            watch.function.close()


def watch_of(pid: Any, wanted: Callable[[DebugFunction], bool]) -> Watch | None:
    """The first function that watches a server and is wanted; called in the server."""
    debugger = pid.tracer
    if debugger is None:
        return None
    return next((watch for watch in debugger.watches if wanted(watch.function)), None)


def install(pid: Any, function: DebugFunction, state: object) -> None:
    """Have a function watch a server, unless it does already; called in the server."""
    if watch_of(pid, lambda other: other == function) is None:
        if pid.tracer is None:
            pid.tracer = Debugger()
        pid.tracer.watches.append(Watch(function, state))


def remove(pid: Any, unwanted: Callable[[DebugFunction], bool]) -> None:
    """End the watch of functions; called in the server."""
    debugger = pid.tracer
    if debugger is None:
        return
    for watch in tuple(debugger.watches):
        if unwanted(watch.function):
            debugger._drop(watch)
    if not debugger.watches:
        pid.tracer = None


class TraceLog:
    """Logs every event through the logger ``resprout.trace`` at INFO."""

    def __init__(self, pid: Pid) -> None:
        self._pid = pid

    def __call__(self, state: Any, event: Event, of_server: Any) -> Any:
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s", text_of(self._pid, event))


class Ring:
    """Keeps the newest events."""

    def __init__(self, size: int) -> None:
        self.events: deque[Event] = deque(maxlen=size)

    def __call__(self, state: Any, event: Event, of_server: Any) -> Any:
        self.events.append(event)


class FileLog:
    """Writes every event as a line of a file, which is closed with the server."""

    def __init__(self, pid: Pid, path: Any) -> None:
        self._pid = pid
        file = open(path, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # the server's, until it ends
        self._file: IO[str] = own(file)

    def __call__(self, state: Any, event: Event, of_server: Any) -> Any:
        self._file.write(text_of(self._pid, event) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; in the server."""
        with contextlib.suppress(NotOwned):
            disown(self._file)
        self._file.close()
