"""Log records for machines: JSON, with the child of a tree that has logged it; and a crash in one line."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import datetime, timezone
from typing import Any

from ..actors import Crash, CrashReport, Pid
from ..actors.engine import current_if_any, in_words, printable, text_shown
from ..supervision.engine import lineage
from .labels import path_of

__all__ = ["ChildPath", "JsonFormat", "child_of", "in_one_line", "is_crash"]

_LIBRARY = "resprout"
_OURS = {"message", "asctime", "taskName", "crash_report", "proxy", "child"}
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | _OURS
"""What every record has; the rest is what `extra=` gave it."""


def child_of(record: logging.LogRecord) -> str | None:
    """Which child of a tree has logged a record: the ids that lead to it, as in `orders/consumer`.

    What a child has started (a task, a spawned function) logs for it. A report of a crash is the child's that
    crashed, and a record that came from another OS process (`placement: process`) is that child's.

    Args:
        record: To be asked on the thread that logs it, unless `ChildPath` has noted it.

    Returns:
        None for the log of anybody else.
    """
    known = getattr(record, "child", None)
    if known is not None:
        return str(known)
    report = getattr(record, "crash_report", None)
    pid = report.pid if isinstance(report, CrashReport) else getattr(record, "proxy", None)
    if not isinstance(pid, Pid):
        pid = current_if_any()
    if not isinstance(pid, Pid):
        return None
    found = lineage(pid)
    return path_of(found.top, found.steps) if found.steps else None


class ChildPath(logging.Filter):
    """Gives each record its `child`, for formats of one's own: `handler.addFilter(ChildPath())`, and then
    `%(child)s`.

    It belongs on a handler, whose filters see the records of all loggers, on the thread that logs them.

    Args:
        nobody: What stands there for the log of anybody else.
    """

    def __init__(self, nobody: str = "") -> None:
        super().__init__()
        self._nobody = nobody

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass."""
        record.child = child_of(record) or self._nobody
        return True


def is_crash(record: logging.LogRecord) -> bool:
    """Whether a record tells of a process that crashed or did not start, with all that is known of it."""
    if isinstance(getattr(record, "crash_report", None), CrashReport):
        return True
    ours = record.name == _LIBRARY or record.name.startswith(f"{_LIBRARY}.")
    return ours and bool(record.exc_info)


def in_one_line(record: logging.LogRecord) -> str:
    """What a record says first: who ended, and of what. Its control characters are escaped."""
    report = getattr(record, "crash_report", None)
    if not isinstance(report, CrashReport):
        return printable(record.getMessage())
    if record.args and isinstance(record.args, tuple) and record.args[0] is not report:
        return printable(record.getMessage().splitlines()[0])  # of what it owned, which could not be closed
    return f"{report.kind} {report.pid} ended: {printable(in_words(report.reason))}"


class JsonFormat(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `child` if a child of a tree has logged it,
    `message`, then `exception` or `crash` where there is one, and whatever the record was given by `extra=`.
    What JSON does not know is written as `str` does; a text that hides itself, such as a secret, as `repr`.

    `child` is what `ChildPath` has found, or else is looked up here: a handler that formats on another thread
    wants that filter.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "child": child_of(record),
            "message": record.getMessage(),
        }
        if not told["child"]:
            del told["child"]
        report = getattr(record, "crash_report", None)
        if isinstance(report, CrashReport):
            told["message"] = in_one_line(record)
            told["crash"] = _crash(report)
        elif record.exc_info and record.exc_info[0] is not None:
            told["exception"] = self.formatException(record.exc_info)
        extra = {key: value for key, value in vars(record).items() if key not in _USUAL and key not in told}
        try:
            return json.dumps({**told, **_shown(extra)}, ensure_ascii=False, allow_nan=False, default=str)
        except (ValueError, TypeError, RecursionError):
            plain = {key: _text(value) for key, value in extra.items()}
            return json.dumps({**told, **plain}, ensure_ascii=False, default=str)


def _crash(report: CrashReport) -> dict[str, object]:
    error = report.reason.exception if isinstance(report.reason, Crash) else None
    return {
        "process": str(report.pid),
        "name": None if report.name is None else str(report.name),
        "kind": report.kind,
        "reason": in_words(report.reason),
        "parents": [str(pid) for pid in report.parents],
        "callers": [str(pid) for pid in report.callers],
        "links": [str(pid) for pid in report.links],
        "last_message": report.last_message,
        "state": report.state,
        "owned": list(report.owned),
        "traceback": None
        if error is None
        else "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    }


def _shown(value: Any) -> Any:
    """A value whose texts are shown as they may be."""
    if isinstance(value, str):
        return text_shown(value)
    if isinstance(value, dict):
        return {_shown(key): _shown(item) for key, item in value.items()}
    return [_shown(item) for item in value] if isinstance(value, (list, tuple)) else value


def _text(value: object) -> str:
    try:
        return text_shown(value) if isinstance(value, str) else str(value)
    except Exception as error:
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"
