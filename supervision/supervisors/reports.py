"""What a supervisor writes to the log: one line a report, values first, bursts summed up.

The traceback of a crash is in the crash report of the process itself; here is who restarts it, and how often.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final, TypeAlias, cast

from ...actors import Crash, Pid
from ...actors.engine import Bursts, in_words
from .events import GaveUp, WouldNotStop

logger: Final = logging.getLogger("resprout.supervision")

_LONGEST: Final = 500
_Kind: TypeAlias = "tuple[int, str, Any, str]"


def _short(value: object) -> str:
    text = in_words(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


class Reporter:
    """Writes the reports of one supervisor.

    Args:
        supervisor: Whose they are.
    """

    def __init__(self, supervisor: Pid) -> None:
        self._supervisor = supervisor
        self._bursts = Bursts()

    def child_failed(self, context: str, id: Any, reason: object, restarts: int) -> None:
        """A child ended (`context` is "exited") or did not start.

        The crash of a process that ran is in its own report already, with the traceback, so it is only
        information here. One that did not come to run has no report but this one.
        """
        level = logging.INFO if context == "exited" and isinstance(reason, Crash) else logging.WARNING
        if not logger.isEnabledFor(level):
            return
        kind: _Kind = (
            level,
            context,
            id,
            type(reason.exception).__name__ if isinstance(reason, Crash) else _short(reason),
        )
        held = self._bursts.tell(kind, time.monotonic())
        if held is not None:
            more = f" ({held} more of the same since the last report)" if held else ""
            before = f"; restarted {_times(restarts)} before" if restarts else ""
            text = "supervisor %s: child %r %s: %s%s%s"
            crash = reason.exception if context != "exited" and isinstance(reason, Crash) else None
            arguments = (self._supervisor, id, context, _short(reason), before, more)
            logger.log(level, text, *arguments, exc_info=crash)
        if self._bursts.overfull():
            self.flush()

    def gave_up(self, event: GaveUp) -> None:
        """There were too many restarts, or none can succeed."""
        what = "it stops everything and exits" if event.scope == "supervisor" else "the child stays down"
        text = "supervisor %s: %s, last of child %r: %s; %s"
        logger.error(text, event.supervisor, event.cause, event.id, _short(event.reason), what)

    def would_not_stop(self, event: WouldNotStop) -> None:
        """A child had to be killed."""
        where = "".join(f"\n    {line}" for line in event.stack)
        text = "supervisor %s: child %r (%s) did not stop within %.1f s and was killed%s"
        logger.warning(text, event.supervisor, event.id, event.pid, event.seconds, where)

    def flush(self) -> None:
        """Tells what was held back."""
        for summary in self._bursts.flush():
            level, context, id, what = cast("_Kind", summary.kind)
            text = "supervisor %s: child %r %s: %s, %d more of the same since the last report"
            logger.log(level, text, self._supervisor, id, context, what, summary.count)
