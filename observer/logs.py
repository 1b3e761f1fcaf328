"""Log records while a tree runs: where they go, in which form, and which of them nobody needs.

The records of everybody, INFO and above, go to the screen's handler and to the file of `--log-file`. Modules
configure logging, too, when they are imported. What they chose stands, except where it would show a record
twice or write into the live picture.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TextIO

import attrs
from typing_extensions import override

from ..actors import Crash, CrashReport
from .formats import JsonFormat, TextFormat
from .ports import PortReports
from .saboteur import ChaosError
from .streams import to_nobody_if_gone

__all__ = [
    "LEVELS",
    "LogFormat",
    "LogOptions",
    "OnConsole",
    "WithoutChaos",
    "is_console",
    "logging_from_the_start",
    "logging_to",
    "unwritable_log",
]

LogFormat = Literal["text", "json"]
LEVELS = ("debug", "info", "warning", "error", "critical")

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:
    _StreamHandler = logging.StreamHandler  # which is no generic class before Python 3.11

_WITH_TIME = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LIBRARIES = ("resprout", "uvicorn")
"""Of which nobody wants to hear that all is well: the library itself, and what runs its `asgi:` children."""
_KILLED = re.compile(r" exited: '?killed\b")


@attrs.frozen
class LogOptions:
    """What of the log is wanted.

    Args:
        level: The least level that is shown, of LEVELS. None: INFO of everybody (with `--quiet`
            WARNING), WARNING of the library itself, unless a module has said otherwise.
        format: Text for people, or an object of JSON a line. None: text, as a module has configured it.
        file: Where all of it goes as well, at the end of what is there.
    """

    level: str | None = None
    format: LogFormat | None = None
    file: Path | None = None


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


class OnConsole(_StreamHandler):
    """Writes to standard error, folded to its width if it is a terminal; a reader may go away."""

    def __init__(self, format: LogFormat | None) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonFormat() if format == "json" else TextFormat(width=_width_of(sys.stderr)))

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        """Is called where writing failed."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EIO):
            with to_nobody_if_gone(self.stream):
                raise error
        else:
            super().handleError(record)


class _InFile(logging.FileHandler):
    """Writes to a file; says once that it cannot, and then is silent."""

    def __init__(self, path: Path, format: LogFormat | None, *, delay: bool = False) -> None:
        super().__init__(path, "a", encoding="utf-8", delay=delay, errors="backslashreplace")
        self.setFormatter(JsonFormat() if format == "json" else TextFormat(_WITH_TIME))
        self._told = False

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        """Is called where writing failed."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            print(f"resprout: the log cannot be written: {error}", file=sys.stderr)

    @override
    def close(self) -> None:
        """Closes the file."""
        try:
            super().close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


def _width_of(stream: IO[str]) -> Callable[[], int | None]:
    def width() -> int | None:
        try:
            terminal = stream.isatty()
        except ValueError:  # it was closed
            return None
        return shutil.get_terminal_size().columns if terminal else None

    return width


def unwritable_log(path: Path) -> str | None:
    """Why no log could be written to `path`, or None: to be asked before a run."""
    try:
        with path.open("a", encoding="utf-8"):
            return None
    except OSError as error:
        return f"{path}: {error.strerror}"


def is_console(handler: logging.Handler) -> bool:
    """Whether a handler writes to standard output or standard error, or hands over to one that does."""
    behind = (
        getattr(handler, "target", None),  # of a MemoryHandler
        *getattr(getattr(handler, "listener", None), "handlers", ()),  # of a QueueHandler since Python 3.12
    )
    if any(isinstance(other, logging.Handler) and is_console(other) for other in behind):
        return True
    stream = getattr(handler, "stream", None) or getattr(getattr(handler, "console", None), "file", None)
    if stream is None:
        return False
    if any(stream is known for known in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        return True
    try:
        return os.isatty(number := stream.fileno()) or number in (1, 2)
    except (AttributeError, OSError, ValueError):
        return False


class _Early(logging.Handler):
    """Shows what is logged while there is no handler yet."""

    def __init__(self, options: LogOptions) -> None:
        super().__init__()
        self._handlers: list[logging.Handler] = [OnConsole(options.format)]
        if options.file is not None:
            self._handlers.append(_InFile(options.file, options.format, delay=True))

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Shows one record."""
        for handler in self._handlers:
            with suppress(OSError):  # That the file cannot be opened is told before the run.
                handler.handle(record)

    @override
    def close(self) -> None:
        """Closes the file."""
        for handler in self._handlers:
            handler.close()
        super().close()


@contextmanager
def logging_from_the_start(options: LogOptions, *, quiet: bool = False) -> Iterator[None]:
    """Sets the level of the root logger inside the `with`, and shows what modules log when they are imported.

    They may configure logging then as if this were not there: it is only what Python falls back on where
    nobody has. To be entered before the modules are imported, and `logging_to` afterwards.

    Args:
        options: What is wanted of the log.
        quiet: As for `logging_to`.
    """
    root = logging.getLogger()
    level, resort = root.level, logging.lastResort
    early = _Early(options)
    if options.level is not None:
        root.setLevel(options.level.upper())
    elif level == logging.WARNING and not (quiet and options.file is None):
        root.setLevel(logging.INFO)
    logging.lastResort = early
    try:
        yield
    finally:
        logging.lastResort = resort
        root.setLevel(level)
        early.close()


@contextmanager
def logging_to(
    handler: logging.Handler,
    options: LogOptions | None = None,
    *,
    chaos: bool = False,
    quiet: bool = False,
    alone: Callable[[IO[str]], IO[str]] | None = None,
    held: Callable[[logging.Handler], PortReports] | None = None,
) -> Iterator[None]:
    """Has the records of everybody go to a handler, and to the log file, inside the `with`.

    A record that a module's own handler writes to the console does not go to `handler` as well.

    Args:
        handler: The screen's.
        options: What is wanted of the log.
        chaos: Whether crashes on purpose are held back; the file has them.
        quiet: Whether nothing but warnings and errors is shown by default.
        alone: Given where nothing else may write to the terminal. The console handlers of the root logger
            (as `basicConfig` makes them) then rest, and those of other loggers write to what this gives
            instead of their streams.
        held: Gives what holds reports back from a handler for a while; the file has them.
    """
    options = LogOptions() if options is None else options
    with ExitStack() as stack:
        root = logging.getLogger()
        if alone is not None or quiet or options.format is not None:
            _set_aside(root, handler, options, stack)
        redirected = [] if alone is None else _redirect(alone, stack)
        handler.addFilter(_NotShown(handler, redirected))
        holding: list[PortReports] = []
        for each in (handler, *filter(is_console, root.handlers)):
            if chaos:
                _filter_in(stack, each, WithoutChaos())
            if held is not None:
                holding.append(held(each))
                _filter_in(stack, each, holding[-1])
        if quiet and options.level is None:
            handler.setLevel(max(handler.level, logging.WARNING))
        _set_levels(options, stack)
        handlers = [handler]
        if options.file is not None:
            handlers.append(_InFile(options.file, options.format))
        for each in handlers:
            root.addHandler(each)
            stack.callback(each.close)
            stack.callback(root.removeHandler, each)
        try:
            yield
        finally:
            for last in holding:
                last.release()


def _filter_in(stack: ExitStack, handler: logging.Handler, wanted: logging.Filter) -> None:
    handler.addFilter(wanted)
    stack.callback(handler.removeFilter, wanted)


def _set_aside(root: logging.Logger, handler: logging.Handler, options: LogOptions, stack: ExitStack) -> None:
    """Has the console handlers of the root logger rest, while `handler` writes in their format."""
    for other in filter(is_console, root.handlers[:]):
        root.removeHandler(other)
        stack.callback(root.addHandler, other)
        if options.format is None and other.formatter is not None:
            handler.setFormatter(other.formatter)
        if options.level is None:
            handler.setLevel(max(handler.level, other.level))


def _redirect(alone: Callable[[IO[str]], IO[str]], stack: ExitStack) -> list[logging.Handler]:
    """Has the console handlers of other loggers write where they may; gives those."""
    found: list[logging.Handler] = []
    for logger in list(logging.root.manager.loggerDict.values()):
        for other in getattr(logger, "handlers", ()):
            if isinstance(other, logging.StreamHandler) and is_console(other):
                stack.callback(other.setStream, other.stream)
                other.setStream(alone(other.stream))
                found.append(other)
    return found


class _NotShown(logging.Filter):
    """Holds back what a handler of somebody else writes to the console anyway."""

    def __init__(self, own: logging.Handler, redirected: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._own = own
        self._redirected = redirected

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether nobody else shows the record."""
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None:
            for other in logger.handlers:
                if other in self._redirected or (other is not self._own and is_console(other)):
                    return False
            logger = logger.parent if logger.propagate else None
        return True


def _set_levels(options: LogOptions, stack: ExitStack) -> None:
    root = logging.getLogger()
    libraries = [logging.getLogger(name) for name in _LIBRARIES]
    for logger in (root, *libraries):
        stack.callback(logger.setLevel, logger.level)
    if options.level is not None:
        root.setLevel(options.level.upper())  # A module may have chosen another.
        return
    for logger in libraries:
        if logger.level == logging.NOTSET:
            logger.setLevel(max(logging.WARNING, root.level))
