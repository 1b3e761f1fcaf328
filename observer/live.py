"""The live picture of rich, and what children print and log above it; the only files that know rich, which is
optional, are this one and `pictures.py`.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from datetime import datetime
from typing import IO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

from .formats import JsonFormat, TextFormat, folded, in_one_line, is_crash
from .logs import LogFormat, LogOptions, OnConsole
from .pictures import picture, summary_picture
from .report import Outcome
from .snapshot import Snapshot
from .streams import to_nobody_if_gone

__all__ = ["LiveScreen"]

_STYLES = ((logging.ERROR, "red"), (logging.WARNING, "yellow"), (logging.INFO, "green"))


class LiveScreen:
    """The live picture of rich; what children print and log scrolls by above it.

    It takes no more than the terminal has, and leaves nothing behind: the cursor is there again when it is
    closed, and should it never be, when the interpreter ends.

    Args:
        console: Of the terminal.
        shared: Whether standard error is on that terminal, too. If not, it may be a file, where what is
            written to it belongs.
    """

    interval = 0.2

    def __init__(self, console: Console, *, shared: bool = True) -> None:
        self._console = console
        self._shared = shared
        # Without auto_refresh rich starts no thread of its own: the watching thread is the only one.
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=shared,
            vertical_overflow="crop",
        )
        self._handler: _AbovePicture | None = None
        self._whole_elsewhere = False
        self.alone: Callable[[IO[str]], IO[str]] | None = self._above if shared else None

    def open(self) -> None:
        """Takes over the end of the terminal."""
        atexit.register(self._restore)
        with to_nobody_if_gone(self._console.file):
            self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        """Draws the next frame."""
        with to_nobody_if_gone(self._console.file):
            # One row less than there are, for the cursor, which stands below.
            self._live.update(picture(snapshot, self._console.height - 1), refresh=True)

    def close(self) -> None:
        """Gives the terminal back, without the last frame: the summary takes its place."""
        with to_nobody_if_gone(self._console.file):
            self._live.stop()
        atexit.unregister(self._restore)

    def summary(self, outcome: Outcome, words: str) -> None:
        """Draws the table and the job's words; of a run that failed, the last crash whole, too."""
        crash = "" if self._handler is None else self._handler.last_crash
        with to_nobody_if_gone(self._console.file):
            if crash and not self._whole_elsewhere:
                if outcome.exit_status:
                    self._console.print(Text(f"The last crash:\n{folded(crash, self._console.width)}"))
                else:
                    self._console.print(Text("--log-file FILE has the whole of each crash", style="dim"))
            self._console.print(summary_picture(outcome, words))

    def log_handler(self, options: LogOptions) -> logging.Handler:
        """Above the picture, unless standard error goes elsewhere."""
        if not self._shared:
            return OnConsole(options.format)
        self._whole_elsewhere = options.file is not None or options.format == "json"
        self._handler = _AbovePicture(self._console, options.format)
        return self._handler

    def _above(self, stream: IO[str]) -> IO[str]:
        return cast("IO[str]", FileProxy(self._console, stream))

    def _restore(self) -> None:
        """At the end of an interpreter that was ended where nobody closed the screen."""
        with to_nobody_if_gone(self._console.file):
            self._console.show_cursor()


class _AbovePicture(logging.Handler):
    """Prints records above the picture: a crash in one line, everything else folded to the terminal's width.

    Attributes:
        last_crash: The last crash whole, "" if there was none.
    """

    def __init__(self, console: Console, format: LogFormat | None) -> None:
        super().__init__()
        self.last_crash = ""
        self._console = console
        self._json = format == "json"
        if self._json:
            self.setFormatter(JsonFormat())

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one record."""
        try:
            if is_crash(record):
                self.last_crash = TextFormat().format(record)
            with to_nobody_if_gone(self._console.file):
                if self._json:
                    self._console.print(Text(self.format(record)), soft_wrap=True)
                elif is_crash(record):
                    self._console.print(
                        self._line(record, in_one_line(record)), no_wrap=True, overflow="ellipsis"
                    )
                elif self.formatter is not None:  # that of somebody's module
                    self._console.print(Text.from_ansi(self.format(record)))
                else:
                    self._console.print(self._line(record, TextFormat("%(message)s").format(record)))
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord, text: str) -> Text:
        style = next((style for level, style in _STYLES if record.levelno >= level), "dim")
        line = Text(f"{datetime.fromtimestamp(record.created):%H:%M:%S} ")
        line.append(record.levelname, style)
        # Who crashed says itself who it is.
        return line.append(" ").append_text(
            Text.from_ansi(text if is_crash(record) else f"{record.name}: {text}")
        )
