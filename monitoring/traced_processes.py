"""How a trace goes with what processes say to each other; knows nothing of what a trace is.

While nobody traces, none of this is there: a call, a cast, a job and a batch of events are what they always
are. When somebody begins to, the functions that make these are replaced by ones which give each of them
whatever is being traced where it is made, and each server gets callbacks of its own that take it up again.
Servers that had those keep them after the end, in which they do nothing: a message on its way may need them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol, TypeAlias

from ..actors import Agent, Pid, process, telemetry
from ..actors.engine import Call, LibraryServer, RunnablePid, lock
from ..stages import Events
from ..throttle.engine import Job

_Inside: TypeAlias = "AbstractContextManager[object]"
_STARTED: Final = ("resprout", "process", "started")


class Tracer(Protocol):
    """What traces."""

    def carry(self) -> object:
        """What is being traced here, for whoever is told something from here."""

    def working(
        self, what: str, pid: Pid, carried: object, message: object
    ) -> AbstractContextManager[object]:
        """Inside it a server is at work at a `"call"`, a `"cast"` or `"events"`, for what was carried to it;
        that is None where nobody has given it anything.
        """

    def executing(self, lock: str, carried: object) -> _Inside:
        """Inside it a job of `execute` is at work."""

    def taking(self, carried: object) -> _Inside:
        """Inside it what was carried is being traced, with nothing more to tell."""


class Carried:
    """The message of a cast, with what was being traced where it was cast."""

    __slots__ = ("message", "trace")

    def __init__(self, message: object, trace: object) -> None:
        self.message = message
        self.trace = trace

    def __repr__(self) -> str:
        return repr(self.message)


class _Tracing:
    """Whether somebody traces, and what was replaced for that."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None
        self._changing = lock()
        self._replaced: list[tuple[type, str, Any]] = []

    def begin(self, tracer: Tracer) -> None:
        """Traces from now on.

        Raises:
            RuntimeError: Somebody does already.
        """
        with self._changing:
            if self.tracer is not None:
                raise RuntimeError("expected that nobody traces yet; end the tracing that there is first")
            self.tracer = tracer
            for kind, name, make in _REPLACEMENTS:
                before = getattr(kind, name)
                self._replaced.append((kind, name, before))
                setattr(kind, name, make(before))
            telemetry.attach(self, _STARTED, self._started)
        for pid in process.processes():
            _follow(pid)

    def end(self, tracer: Tracer) -> None:
        """Traces no more; does nothing if that one does not trace."""
        with self._changing:
            if self.tracer is not tracer:
                return
            self.tracer = None
            telemetry.detach(self)
            for kind, name, before in self._replaced:
                setattr(kind, name, before)
            self._replaced.clear()

    def _started(
        self, event: telemetry.Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        _follow(metadata["pid"])


tracing: Final = _Tracing()


# What is said ---------------------------------------------------------------------------------------


def _making_calls(before: Any) -> Any:
    def made(self: Any, message: object, server: Any, pid: Any) -> None:
        before(self, message, server, pid)
        tracer = tracing.tracer
        if tracer is not None:
            self.trace = tracer.carry()

    return made


def _casting(before: Any) -> Any:
    def cast(self: Any, message: object) -> None:
        tracer = tracing.tracer
        if tracer is not None and _followed(self.actor):
            message = Carried(message, tracer.carry())
        before(self, message)

    cast.__doc__ = before.__doc__
    return cast


def _making_jobs(before: Any) -> Any:
    def made(self: Any, core: Any, call: Any, is_coroutine: bool, priority: int) -> None:
        before(self, core, call, is_coroutine, priority)
        tracer = tracing.tracer
        if tracer is not None:
            work = _awaited if is_coroutine else _done
            self.call = work(tracer, core.settings.name, tracer.carry(), call)

    return made


def _done(tracer: Tracer, lock: str, carried: object, call: Callable[[], Any]) -> Callable[[], Any]:
    def execute() -> Any:
        if tracing.tracer is not tracer:
            return call()  # That has ended while the job was in line.
        with tracer.executing(lock, carried):
            return call()

    return execute


def _awaited(tracer: Tracer, lock: str, carried: object, call: Callable[[], Any]) -> Callable[[], Any]:
    async def execute() -> Any:
        if tracing.tracer is not tracer:
            return await call()
        with tracer.executing(lock, carried):
            return await call()

    return execute


def _making_events(before: Any) -> Any:
    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        before(self, *args, **kwargs)
        tracer = tracing.tracer
        if tracer is not None:
            object.__setattr__(self, "trace", tracer.carry())

    return made


_REPLACEMENTS: Final = (
    (Call, "__init__", _making_calls),
    (RunnablePid, "cast", _casting),
    (RunnablePid, "cast_at_once", _casting),
    (Job, "__init__", _making_jobs),
    (Events, "__init__", _making_events),
)


# Who hears it -----------------------------------------------------------------------------------------


def _followed(actor: object) -> bool:
    return "_traced" in getattr(actor, "__dict__", ())


def _follow(pid: Pid) -> None:
    """Give a server callbacks of its own. The library's own servers do nothing that users would look for, and
    who stands for a server in another OS process only passes on.
    """
    actor: Any = pid.actor
    if pid.kind != "server" or not hasattr(actor, "__dict__") or _followed(actor):
        return
    if isinstance(actor, LibraryServer) and not isinstance(actor, Agent):
        return
    if getattr(actor, "stands_for_another", False):
        return
    for name, follow in _FOLLOWED.items():
        callback = getattr(actor, name, None)
        if callback is not None:
            setattr(actor, name, follow(pid, callback))
    actor._traced = True


def _follow_calls(pid: Pid, callback: Any) -> Any:
    if inspect.iscoroutinefunction(callback):

        async def ahandle_call(message: Any, from_: Any, state: Any) -> Any:
            tracer = tracing.tracer
            if tracer is None:
                return await callback(message, from_, state)
            with tracer.working("call", pid, getattr(from_, "trace", None), message):
                return await callback(message, from_, state)

        return ahandle_call

    def handle_call(message: Any, from_: Any, state: Any) -> Any:
        tracer = tracing.tracer
        if tracer is None:
            return callback(message, from_, state)
        with tracer.working("call", pid, getattr(from_, "trace", None), message):
            return callback(message, from_, state)

    return handle_call


def _follow_casts(pid: Pid, callback: Any) -> Any:
    if inspect.iscoroutinefunction(callback):

        async def ahandle_cast(message: Any, state: Any) -> Any:
            tracer, message, carried = _unpacked(message)
            if tracer is None:
                return await callback(message, state)
            with tracer.working("cast", pid, carried, message):
                return await callback(message, state)

        return ahandle_cast

    def handle_cast(message: Any, state: Any) -> Any:
        tracer, message, carried = _unpacked(message)
        if tracer is None:
            return callback(message, state)
        with tracer.working("cast", pid, carried, message):
            return callback(message, state)

    return handle_cast


def _unpacked(message: Any) -> tuple[Tracer | None, Any, object]:
    if message.__class__ is Carried:
        return tracing.tracer, message.message, message.trace
    return tracing.tracer, message, None


def _follow_events(pid: Pid, callback: Any) -> Any:
    if inspect.iscoroutinefunction(callback):

        async def ahandle_events(events: Any, from_: Any, state: Any) -> Any:
            tracer = tracing.tracer
            if tracer is None:
                return await callback(events, from_, state)
            with tracer.working("events", pid, tracer.carry(), events):
                return await callback(events, from_, state)

        return ahandle_events

    def handle_events(events: Any, from_: Any, state: Any) -> Any:
        tracer = tracing.tracer
        if tracer is None:
            return callback(events, from_, state)
        with tracer.working("events", pid, tracer.carry(), events):
            return callback(events, from_, state)

    return handle_events


def _follow_messages(pid: Pid, callback: Any) -> Any:
    """Of a stage, to which events come as messages: what was traced where they were made goes on."""
    if inspect.iscoroutinefunction(callback):

        async def ahandle_info(message: Any, state: Any) -> Any:
            tracer = tracing.tracer
            if tracer is None or message.__class__ is not Events:
                return await callback(message, state)
            with tracer.taking(getattr(message, "trace", None)):
                return await callback(message, state)

        return ahandle_info

    def handle_info(message: Any, state: Any) -> Any:
        tracer = tracing.tracer
        if tracer is None or message.__class__ is not Events:
            return callback(message, state)
        with tracer.taking(getattr(message, "trace", None)):
            return callback(message, state)

    return handle_info


_FOLLOWED: Final = {
    "handle_call": _follow_calls,
    "handle_cast": _follow_casts,
    "handle_events": _follow_events,
    "handle_info": _follow_messages,
}
