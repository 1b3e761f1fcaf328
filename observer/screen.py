"""Where a run shows itself: a live picture on a terminal, plain lines anywhere else, or nothing.

A screen is also told where log records go, so that a line of a child never lands inside the live picture.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from .display import clock, plain_line, summary_rows
from .report import Outcome
from .snapshot import Snapshot
from .streams import to_nobody_if_gone as _to_nobody_if_gone

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LiveScreen", "Look", "PlainScreen", "QuietScreen", "Screen", "screen_for"]

Look = Literal["auto", "plain", "quiet"]


class Screen(Protocol):
    """What a run shows itself on; all methods but `show` are called by the thread that runs the tree."""

    interval: float

    def open(self) -> None:
        """Called once, before the tree starts."""
        ...

    def show(self, snapshot: Snapshot) -> None:
        """Shows how things are now; called by the watching thread, every `interval` seconds."""
        ...

    def close(self) -> None:
        """Called once, after the tree has stopped and nobody shows anything any more."""
        ...

    def summary(self, outcome: Outcome, words: str) -> None:
        """Shows how it ended; called after `close`."""
        ...

    def log_handler(self) -> logging.Handler:
        """Where log records go while the screen is open."""
        ...


def screen_for(look: Look, stream: TextIO) -> Screen:
    """The screen that suits: the live picture needs a terminal and rich (`pip install resprout[cli]`)."""
    if look == "quiet":
        return QuietScreen()
    if look == "auto" and stream.isatty():
        try:
            from rich.console import Console
        except ImportError:
            return PlainScreen(stream)
        console = Console(file=stream)
        # A dumb terminal can't move its cursor, so a live picture would scroll away.
        if console.is_terminal and not console.is_dumb_terminal:
            return LiveScreen(console)
    return PlainScreen(stream)


def _stderr_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    return handler


class QuietScreen:
    """Shows nothing; log records still go to stderr."""

    interval = 60.0

    def open(self) -> None:
        """Nothing to open."""

    def show(self, snapshot: Snapshot) -> None:
        """Shows nothing."""

    def close(self) -> None:
        """Nothing to close."""

    def summary(self, outcome: Outcome, words: str) -> None:
        """Shows nothing."""

    def log_handler(self) -> logging.Handler:
        """To stderr."""
        return _stderr_handler()


class PlainScreen:
    """A line whenever something has changed, at most one a second: for logs, pipes and CI."""

    interval = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def open(self) -> None:
        """Nothing to open."""

    def show(self, snapshot: Snapshot) -> None:
        """Writes the line, unless it says what the last one said."""
        line = plain_line(snapshot)
        if line != self._last:
            self._last = line
            self._write(f"{snapshot.name} {clock(snapshot.seconds)}: {line}")

    def close(self) -> None:
        """Nothing to close."""

    def summary(self, outcome: Outcome, words: str) -> None:
        """Writes the table in aligned lines, and the job's words."""
        table = summary_rows(outcome)
        width = max(len(label) for label, _ in table)
        self._write(f"{outcome.name}:")
        for label, value in table:
            self._write(f"  {label:<{width}}  {value}")
        if words:
            self._write(words)

    def log_handler(self) -> logging.Handler:
        """To stderr."""
        return _stderr_handler()

    def _write(self, line: str) -> None:
        with _to_nobody_if_gone(self._stream):
            print(line, file=self._stream, flush=True)


class LiveScreen:
    """The live picture of rich; what children print and log scrolls by above it."""

    interval = 0.2

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._console = console
        # Without auto_refresh rich starts no thread of its own: the watching thread is the only one.
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def open(self) -> None:
        """Takes over the end of the terminal."""
        with _to_nobody_if_gone(self._console.file):
            self._live.start()

    def show(self, snapshot: Snapshot) -> None:
        """Draws the next frame."""
        from .pictures import picture

        with _to_nobody_if_gone(self._console.file):
            self._live.update(picture(snapshot), refresh=True)

    def close(self) -> None:
        """Gives the terminal back, without the last frame: the summary takes its place."""
        with _to_nobody_if_gone(self._console.file):
            self._live.stop()

    def summary(self, outcome: Outcome, words: str) -> None:
        """Draws the table and the job's words."""
        from .pictures import summary_picture

        with _to_nobody_if_gone(self._console.file):
            self._console.print(summary_picture(outcome, words))

    def log_handler(self) -> logging.Handler:
        """Above the picture, on the same terminal."""
        from rich.logging import RichHandler

        return RichHandler(console=self._console, show_path=False)
