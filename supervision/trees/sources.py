"""Where the text of a tree file comes from: a regular file or standard input, and nothing that never ends.

A pipe, a socket or a device may block for ever or yield bytes for ever, so it is refused before it is opened.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import attrs

from .limits import Limits
from .mistakes import NOWHERE, Mistake, Position, did_you_mean, may_hint

STDIN: Final = "-"
"""What stands for standard input instead of a file's path."""

_LOOKED_AT: Final = 1_000
"""Files of a folder among which the nearest is looked for."""
_PIPED: Final = "give its text on standard input instead, with - as the file"
_OTHERS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISDIR, "it is a folder; expected a file in it, such as {path}/tree.yaml"),
    (stat.S_ISFIFO, f"it is a pipe, and may never end; {_PIPED}"),
    (stat.S_ISSOCK, "it is a socket; expected a regular file"),
    (stat.S_ISCHR, f"it is a device, and may never end; expected a regular file, or {_PIPED}"),
    (stat.S_ISBLK, "it is a disk; expected a regular file"),
)
# Whoever swaps the file between the look at it and its opening must not make this wait.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class Unreadable(Exception):
    """There is no text to read; `mistake` says why."""

    def __init__(self, reason: str, position: Position = NOWHERE) -> None:
        self.mistake = Mistake((), position, reason)


@attrs.frozen
class Source:
    """A text and where it came from.

    Args:
        label: What mistakes call it.
        folder: What `${here}` means, and where its modules are.
        text: The text.
        path: The path that was read; `-` for standard input.
    """

    label: str
    folder: Path
    text: str
    path: str


def label_of(path: str) -> str:
    """What the mistakes of a file call it."""
    return "<stdin>" if path == STDIN else path


def read_source(path: str, limits: Limits) -> Source:
    """Reads a text of a bounded size.

    Args:
        path: A file, or `-` for standard input, whose folder is the current one.
        limits: Its `size` is looked at.

    Raises:
        Unreadable: It is no regular file, or too large, or not UTF-8, or cannot be read.
    """
    try:
        raw = _from_stdin(limits.size + 1) if path == STDIN else _from_file(path, limits.size + 1)
        folder = Path.cwd() if path == STDIN else Path(path).resolve().parent
    except OSError as error:
        near = "" if path == STDIN else near_file(Path(path))
        raise Unreadable(f"it cannot be read: {error.strerror or error}{near}") from None
    # A null character in a path, or links that lead in a circle.
    except (ValueError, RuntimeError) as error:
        raise Unreadable(f"it cannot be read: {error}") from None
    if len(raw) > limits.size:
        raise Unreadable(f"it has more than {limits.size:,} bytes, which is the limit for a tree file")
    return Source(label_of(path), folder, _decoded(raw), path)


def _from_file(path: str, most: int) -> bytes:
    _check_kind(path, os.stat(path).st_mode)
    handle = os.open(path, _FLAGS | getattr(os, "O_BINARY", 0))
    try:
        _check_kind(path, os.fstat(handle).st_mode)
        return b"".join(_parts(lambda size: os.read(handle, size), most))
    finally:
        os.close(handle)


def _from_stdin(most: int) -> bytes:
    if sys.stdin is None:
        raise Unreadable("it cannot be read: standard input is closed")
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None:  # Somebody put a text in its place.
        return sys.stdin.read(most).encode("utf-8", "surrogatepass")
    return b"".join(_parts(stream.read, most))


def _parts(read: Callable[[int], bytes], most: int) -> Iterator[bytes]:
    while most > 0 and (part := read(min(most, 1 << 20))):
        yield part
        most -= len(part)


def _check_kind(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = (sentence for matches, sentence in _OTHERS if matches(mode))
        what = next(found, "it is no regular file").format(path=path.rstrip("/"))
        raise Unreadable(f"it cannot be read: {what}")


def near_file(path: Path) -> str:
    """A question about the file in the same folder whose name is nearest, or nothing."""
    if not may_hint():
        return ""
    try:
        with os.scandir(path.parent) as entries:
            return did_you_mean(path.name, [entry.name for entry in islice(entries, _LOOKED_AT)])
    except (OSError, ValueError):
        return ""


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # With a byte order mark in front the error counts from behind it.
        raw = error.object
        before = raw[: error.start]
        at = Position(before.count(b"\n") + 1, len(before[before.rfind(b"\n") + 1 :].decode()) + 1)
        raise Unreadable(f"it is not UTF-8: byte {raw[error.start]:#04x}", at) from None
