"""Crash reports: a value first, text second, logged once."""

from __future__ import annotations

import logging
import reprlib
import sys
import traceback
from typing import TYPE_CHECKING, Any

import attrs

from . import telemetry
from .reasons import Crash

if TYPE_CHECKING:
    from .pid import Pid

logger = logging.getLogger("resprout")
CRASHED = ("resprout", "process", "crashed")
SCREEN = 2000
"""Characters after which a value is cut."""

_repr = reprlib.Repr()
_repr.maxother = _repr.maxstring = _repr.maxlong = SCREEN


@attrs.frozen
class CrashReport:
    """What is known of a process that ended of a fault.

    Attributes:
        pid, name, kind: who; kind is the class.
        parents: the Pid of its parent, that one's parent, and so on.
        reason: its exit reason; the traceback is on ``reason.exception``.
        last_message: what it was handling, cut to a screen.
        state: its state's summary, as ``format_status`` shows it.
        links: who was linked to it.
    """

    pid: Pid
    name: object
    kind: str
    parents: tuple[Pid, ...]
    reason: object
    last_message: str
    state: str
    links: tuple[Pid, ...]

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.pid} ended: {_describe(self.reason)}"]
        if self.parents:
            lines.append("  parents: " + ", ".join(map(str, self.parents)))
        if self.last_message:
            lines.append(f"  last message: {self.last_message}")
        if self.state:
            lines.append(f"  state: {self.state}")
        if isinstance(self.reason, Crash):
            error = self.reason.exception
            lines.append(
                "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
            )
        return "\n".join(lines)


def shorten(value: object) -> str:
    """A value as text of at most a screen; one whose repr raises is described instead."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raised {error!r}>"
    return text if len(text) <= SCREEN else text[: SCREEN - 20] + f"... ({len(text)} chars)"


def crashed(pid: Any, reason: object, item: object) -> None:
    """Report a process that is about to die of a fault. A report that goes wrong must not keep it from
    dying.
    """
    if not (telemetry._attached or logger.isEnabledFor(logging.ERROR)):
        return
    try:
        report = CrashReport(
            pid=pid,
            name=pid.name,
            kind=type(pid.actor).__name__ if pid.actor is not None else pid.kind,
            parents=ancestors(pid),
            reason=reason,
            last_message=_message_of(item),
            state=_state_of(pid),
            links=tuple(pid._links.copy().values()),
        )
        telemetry.emit(CRASHED, {}, {"report": report, "pid": pid, "reason": reason})
        logger.error("%s", report, extra={"crash_report": report})
    except Exception:
        sys.stderr.write(f"the crash report of {pid} could not be made:\n")
        traceback.print_exc()


def ancestors(pid: Pid) -> tuple[Pid, ...]:
    """Who started it, and who started that one."""
    found: list[Pid] = []
    parent = pid.parent
    while parent is not None and len(found) < 32:
        found.append(parent)
        parent = parent.parent
    return tuple(found)


def _message_of(item: object) -> str:
    if item is None:
        return ""
    return shorten(getattr(item, "message", item))


def _state_of(pid: Any) -> str:
    if pid.actor is None:
        return ""
    try:
        return shorten(pid.actor.format_status(pid.state))
    except Exception as error:
        return f"<format_status raised {error!r}>"


def _describe(reason: object) -> str:
    if isinstance(reason, Crash):
        return f"{type(reason.exception).__name__}: {reason.exception}"
    return shorten(reason)
