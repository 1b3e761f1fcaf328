"""A port that cannot be had: a start that fails of one is told in a line of its own, without a traceback."""

from __future__ import annotations

import errno
import logging
from typing import Literal

from ..actors import Crash, CrashReport, StartError
from ..supervision import Application
from ..supervision.engine import failed_start

__all__ = ["PortReports", "port_obstacle"]

_NOT_TO_BE_HAD = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
_OUT_OF_RANGE = "port must be 0-65535"  # So Python says of every socket.
_OF_STARTS = ("resprout.supervision", "resprout.application")


def port_obstacle(application: Application) -> str | None:
    """Why the tree did not start, if that was a port: the place in the file, the child, and what to do.

    Returns:
        One line; None if the tree has started, or something else was wrong.
    """
    error = application.start_error
    if type(error) is not StartError:
        return None
    path, reason = failed_start(error.reason)
    problem = _problem(reason)
    if problem is None or not path:
        return None
    entry = application.tree.entry(path)
    names = [] if entry is None else [name for name in entry.variables if "port" in name.lower()]
    advice = f" with --set {names[0]}=..." if names else ""
    child = "/".join(map(str, path))
    return f"{application.tree.place(path)}: child {child!r}: {problem}; choose another port{advice}"


def _problem(reason: object) -> str | None:
    error = reason.exception if isinstance(reason, Crash) else reason
    if isinstance(error, OSError) and error.errno in _NOT_TO_BE_HAD:
        # In one line, whatever the program has made of it.
        return " ".join(str(error.strerror or error).split())
    if isinstance(error, OverflowError) and _OUT_OF_RANGE in str(error):
        return "expected a port from 0 to 65535"
    return None


class PortReports(logging.Filter):
    """Holds back what is logged of ports while a tree starts, for one handler, until it is known what becomes
    of the start: if it fails of a port, the line of `port_obstacle` stands for all of it; else it is shown.

    Args:
        application: Whose start it is.
        handler: Where what is shown goes.
    """

    def __init__(self, application: Application, handler: logging.Handler) -> None:
        super().__init__()
        self._application = application
        self._handler = handler
        self._held: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be shown now."""
        verdict = self.settle()
        if verdict == "show" or not _may_tell_of_a_port(record):
            return True
        if verdict == "hold":
            self._held.append(record)
        return False

    def settle(self) -> Literal["hold", "drop", "show"]:
        """Shows what was held back as soon as it is known that it was not for a port."""
        application = self._application
        if application.root is None and application.start_error is None:
            return "hold"
        held, self._held = self._held, []
        if port_obstacle(application) is not None:
            return "drop"
        for record in held:
            self._handler.handle(record)
        return "show"

    def release(self) -> None:
        """Shows what is still held back: the run is over."""
        held, self._held = self._held, []
        if port_obstacle(self._application) is None:
            self._handler.removeFilter(self)
            for record in held:
                self._handler.handle(record)


def _may_tell_of_a_port(record: logging.LogRecord) -> bool:
    report = getattr(record, "crash_report", None)
    if isinstance(report, CrashReport):
        return _problem(report.reason) is not None
    return record.name in _OF_STARTS and " did not start: " in record.getMessage()
