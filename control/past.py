"""What is kept of a system while it runs, to be shown to whoever asks later: crashes and log records."""

from __future__ import annotations

import time

from .crashes import CrashLog
from .logs import LogBook

__all__ = ["Past"]


class Past:
    """Both, from `attach` to `detach`; what was kept until then is kept.

    Attributes:
        crash_log: Listens to crashes.
        log_book: Keeps log records.
        since: When this was made, as a time of the clock.
    """

    def __init__(self) -> None:
        self.crash_log = CrashLog()
        self.log_book = LogBook()
        self.since = time.time()  # noqa: TID251 -- to be shown
        self._began = time.monotonic()
        self._attached = False

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._began

    def attach(self) -> None:
        """Begins to listen; may be repeated."""
        if not self._attached:
            self._attached = True
            self.crash_log.attach()
            self.log_book.attach()

    def detach(self) -> None:
        """Ends that; may be repeated."""
        if self._attached:
            self._attached = False
            self.crash_log.detach()
            self.log_book.detach()
