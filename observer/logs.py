"""Log records while a tree runs: where they go, and which of them nobody needs."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..actors import Crash, CrashReport
from .saboteur import ChaosError

__all__ = ["WithoutChaos", "logging_to"]


_KILLED = re.compile(r" exited: '?killed\b")


class WithoutChaos(logging.Filter):
    """Holds back the reports of crashes that `--chaos` made: they are listed, and nothing is wrong.

    Reports of a supervisor that gave up pass, whatever drove it to that.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is worth showing."""
        report = getattr(record, "crash_report", None)
        if isinstance(report, CrashReport):
            return not (isinstance(report.reason, Crash) and isinstance(report.reason.exception, ChaosError))
        if record.name != "resprout.supervision" or record.levelno >= logging.ERROR:
            return True
        text = record.getMessage()
        return not (ChaosError.__name__ in text or _KILLED.search(text))


@contextmanager
def logging_to(handler: logging.Handler, *, chaos: bool) -> Iterator[None]:
    """Has the records of everybody go to a handler inside the `with`."""
    if chaos:
        handler.addFilter(WithoutChaos())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
