"""Crash reports: a value first, text second, logged once."""

from __future__ import annotations

import logging
import reprlib
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import attrs

from ..primitives.fork_locks import lock
from ..runtime.kernel import kernel
from ..vocabulary.errors import Killed, brief
from ..vocabulary.reasons import Crash, ExitRequest, is_orderly
from . import telemetry
from .bursts import Bursts
from .other_loops import explain

if TYPE_CHECKING:
    from ..vocabulary.identity import Identity

logger = logging.getLogger("resprout")
FREE = 25
"""Crashes of one kind that are logged before the rest of a burst is counted only."""
QUIET = 5.0
"""Seconds after which the count is logged."""
CRASHED = ("resprout", "process", "crashed")
CLOSE_FAILED = ("resprout", "process", "close_failed")
SCREEN = 2000
"""Characters after which a value is cut."""

_repr = reprlib.Repr()
_repr.maxother = _repr.maxstring = _repr.maxlong = SCREEN


_bursts = Bursts(quiet_for=QUIET, free=FREE)
_books = lock()


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
        callers: on whose behalf it worked, the nearest first (see ``process.callers``).
        owned: what it owned, which is closed now.
    """

    pid: Identity
    name: object
    kind: str
    parents: tuple[Identity, ...]
    reason: object
    last_message: str
    state: str
    links: tuple[Identity, ...]
    owned: tuple[str, ...] = ()
    callers: tuple[Identity, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.kind} {self.pid} ended: {_describe(self.reason)}"]
        if self.parents:
            lines.append("  parents: " + ", ".join(map(str, self.parents)))
        if self.callers:
            lines.append("  callers: " + ", ".join(map(str, self.callers)))
        if self.last_message:
            lines.append(f"  last message: {self.last_message}")
        if self.state:
            lines.append(f"  state: {self.state}")
        if self.owned:
            lines.append("  owned: " + ", ".join(self.owned))
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
    """Report a process that is about to die of a fault. A report that goes wrong must not keep it from dying.

    Telemetry is told of each; the log of the first FREE of a kind within QUIET seconds, and of how many more
    there were.
    """
    logged = logger.isEnabledFor(logging.ERROR)
    if not (telemetry._attached or logged):
        return
    try:
        before = _to_log(_kind_of(pid, reason)) if logged else None
        if before is None and not telemetry._attached:
            return
        report = CrashReport(
            pid=pid,
            name=pid.name,
            kind=class_of(pid),
            parents=ancestors(pid),
            reason=reason,
            last_message=_message_of(item),
            state=_state_of(pid),
            links=tuple(pid._links.copy().values()),
            owned=_owned_by(pid),
            callers=pid._ties.get("callers", ()),
        )
        telemetry.tell(CRASHED, {}, {"report": report, "pid": pid, "reason": reason})
        if before is not None:
            logger.error("%s", report, extra={"crash_report": report})
    except Exception:
        sys.stderr.write(f"the crash report of {pid} could not be made:\n")
        traceback.print_exc()


def reason_of(pid: Identity, error: BaseException) -> object:
    """The exit reason of code that ended in an exception; a fault is reported."""
    if isinstance(error, Killed):
        return pid.exit_reason
    explain(pid, error)
    reason = error.reason if isinstance(error, ExitRequest) else Crash(error)
    if not is_orderly(reason) and not pid._fate:
        crashed(pid, reason, None)
    return reason


def _owned_by(pid: Any) -> tuple[str, ...]:
    estate = pid._ties.get("estate")
    return () if estate is None else tuple(brief(each.thing) for each in list(estate.entries.values()))


def close_failed(
    pid: Identity, kind: str, thing: object, error: BaseException, left: tuple[object, ...]
) -> None:
    """Report that what a dead process owned could not be closed.

    Args:
        pid, kind: the process, and what it was.
        thing: what it was.
        error: what its close raised.
        left: what is closed after it.
    """
    try:
        report = CrashReport(
            pid=pid,
            name=pid.name,
            kind=kind,
            parents=ancestors(pid),
            reason=Crash(error),
            last_message=f"closing {brief(thing)}",
            state="",
            links=(),
            owned=tuple(brief(each) for each in left),
        )
        telemetry.tell(CLOSE_FAILED, {}, {"report": report, "pid": pid, "thing": thing, "error": error})
        logger.error(
            "what %s (dead: %r) owned could not be closed: %s\n%s",
            pid,
            pid.exit_reason,
            brief(thing),
            "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip(),
            extra={"crash_report": report},
        )
    except Exception:
        sys.stderr.write(f"the report that something of {pid} could not be closed could not be made:\n")
        traceback.print_exc()


@attrs.frozen
class Kind:
    """What makes two crashes the same for the log: the class, the error's type, the line that raised it."""

    who: str
    what: str
    where: tuple[str, int] | None

    def __str__(self) -> str:
        where = "" if self.where is None else f" at {self.where[0]}:{self.where[1]}"
        return f"{self.who} ended: {self.what}{where}"


def class_of(pid: Any) -> str:
    """What a process is called among its like: the class of its server."""
    return type(pid.actor).__name__ if pid.actor is not None else str(pid.kind)


def _kind_of(pid: Any, reason: object) -> Kind:
    if not isinstance(reason, Crash):
        return Kind(class_of(pid), brief(reason), None)
    trace = reason.exception.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = None if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    return Kind(class_of(pid), type(reason.exception).__name__, where)


def _to_log(kind: Kind) -> int | None:
    """Whether a crash is logged (None: it is only counted, and the count is logged when the burst is
    over).
    """
    # Whoever finds the books in use logs: a crash must not wait for a log.
    if not _books.acquire(False):
        return 0
    try:
        told = _bursts.tell(kind, time.monotonic())
        first_held = told is None and _bursts.held(kind) == 1
        if _bursts.overfull():
            for summary in _bursts.flush():
                _sum_up(summary.kind, summary.count)
    finally:
        _books.release()
    if first_held:
        kernel.at(time.monotonic() + QUIET, lambda: kernel.pool.submit(_Sum(kind)))
    return told


class _Sum:
    """A task of the pool: log how many of a kind were held back."""

    __slots__ = ("_kind",)

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def run(self, worker: object) -> None:
        with _books:
            count = _bursts.take(self._kind)
        _sum_up(self._kind, count)


def _sum_up(kind: object, count: int) -> None:
    if count:
        logger.error("%s (%d more times)", kind, count)


def forget_held() -> None:
    """After a fork: what was held back is the parent's to tell."""
    global _bursts
    _bursts = Bursts(quiet_for=QUIET, free=FREE)


def tell_held() -> None:
    """Log what is held back, at the interpreter's exit."""
    with _books:
        summaries = _bursts.flush()
    for summary in summaries:
        _sum_up(summary.kind, summary.count)


def ancestors(pid: Identity) -> tuple[Identity, ...]:
    """Who started it, and who started that one."""
    found: list[Identity] = []
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
