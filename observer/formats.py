"""Log records as text: for people as lines, for machines as JSON, and a crash in one line. Pure."""

from __future__ import annotations

import json
import logging
import re
import textwrap
import traceback
from collections.abc import Callable
from datetime import datetime, timezone

from ..actors import Crash, CrashReport
from ..actors.engine import in_words

__all__ = ["JsonFormat", "TextFormat", "folded", "in_one_line", "is_crash"]

_LIBRARY = "resprout"
_MARKS = re.compile(r"[\s^~]+")
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "crash_report"}
"""What every record has; the rest is what `extra=` gave it."""


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


def printable(text: str) -> str:
    """A text with line ends and all else escaped that a terminal would obey rather than show."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


def folded(text: str, width: int) -> str:
    """A text whose lines are at most `width` wide; what goes on in the next line is indented further.

    Lines of marks under a piece of a traceback that had to be folded would point anywhere, and go.
    """
    lines: list[str] = []
    cut = False
    for line in text.splitlines():
        if _MARKS.fullmatch(line) and (cut or len(line) > width):
            continue
        indent = line[: len(line) - len(line.lstrip())][: width // 2]
        pieces = textwrap.wrap(
            line,
            max(width, 8),
            subsequent_indent=indent + "  ",
            replace_whitespace=False,
            break_on_hyphens=False,
        )
        cut = len(pieces) > 1
        lines += pieces or [""]
    return "\n".join(lines)


class TextFormat(logging.Formatter):
    """Lines for people.

    Args:
        format: Of a line.
        width: Gives the width that reports of crashes are folded to, None for as wide as they are.
    """

    def __init__(
        self,
        format: str = "%(levelname)s %(name)s: %(message)s",
        *,
        width: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__(format)
        self._width = width

    def format(self, record: logging.LogRecord) -> str:
        """The record, with its traceback."""
        text = super().format(record)
        width = self._width() if is_crash(record) else None
        return text if width is None else folded(text, width)


class JsonFormat(logging.Formatter):
    """An object a line: `time` (UTC), `level`, `logger`, `message`, then `exception` or `crash` where there
    is one, and whatever the record was given by `extra=`. What JSON does not know is written as `str` does.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record in one line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        report = getattr(record, "crash_report", None)
        if isinstance(report, CrashReport):
            told["message"] = in_one_line(record)
            told["crash"] = _crash(report)
        elif record.exc_info and record.exc_info[0] is not None:
            told["exception"] = self.formatException(record.exc_info)
        extra = {key: value for key, value in vars(record).items() if key not in _USUAL and key not in told}
        try:
            return json.dumps({**told, **extra}, ensure_ascii=False, allow_nan=False, default=str)
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


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}>"
