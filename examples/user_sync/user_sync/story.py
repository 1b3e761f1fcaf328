"""What a run says of itself: a line for each worker that the remote system made crash.

Crashes are reported with all that is known of them, which is right for what nobody has thought of. Here
the story is about a crash that everybody has thought of, so its reports are held back: `--log-level debug`
shows them.
"""

from __future__ import annotations

import logging

from resprout import Crash, CrashReport

from .requests import Request

logger = logging.getLogger("user_sync")


class RemoteTrouble(Exception):
    """The remote system did something unexpected."""


class Expected(logging.Filter):
    """Holds back the crash reports of remote trouble."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        report = getattr(record, "crash_report", None)
        if not isinstance(report, CrashReport) or not _is_trouble(report.reason):
            return True
        return logger.isEnabledFor(logging.DEBUG)


def tell(request: Request, reason: object) -> None:
    """Says that the worker of a request has died, and what comes of it."""
    logger.info("user %d: worker %s; queued again", request.user, _words(reason))


def _words(reason: object) -> str:
    if isinstance(reason, Crash):
        return str(reason.exception) if _is_trouble(reason) else "crashed"
    return str(reason)


def _is_trouble(reason: object) -> bool:
    return isinstance(reason, Crash) and isinstance(reason.exception, RemoteTrouble)


logging.getLogger("resprout").addFilter(Expected())
