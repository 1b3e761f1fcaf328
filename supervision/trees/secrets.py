"""Secrets of a tree file: texts that stand in files of their own (`${file:PATH}`), and that nobody prints."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from .sources import near_file

MASK: Final = "(secret)"
"""What is shown in place of a secret."""

_LONGEST: Final = 1 << 16
_SHORTEST: Final = 4
"""Characters; what is shorter would be found, and hidden, in every other word."""
_CUT: Final = 8
"""Characters of the beginning of a secret that are hidden as well, as where a long text was cut."""
_SHOWN: Final = 1_000
# Whoever swaps the file between the look at it and its opening must not make this wait.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class Secret(str):
    """A text whose `repr` does not show it, so that logs, crash reports and errors do not.

    It is a `str` in all else: `str(secret)`, and what is made of it, is the text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret, (str(self),)


def read_secret(path: Path) -> str:
    """The text of a file, without the line end at its end.

    Raises:
        ValueError: It is no regular file, cannot be read, or is no text; the message has nothing of what
            stands in it.
    """
    try:
        text = _read(path).decode()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror or error}{near_file(path)}") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8, and a secret is text") from None
    return text.removesuffix("\n").removesuffix("\r")


def hidden(text: str, secrets: Iterable[str]) -> str:
    """A text with every secret in it masked, also one that was cut or that a `repr` has escaped."""
    given = list(secrets)
    forms = {form for each in given for form in (each, " ".join(each.split()), repr(each)[1:-1])}
    wanted = sorted((each[:_SHOWN] for each in forms if len(each) >= _SHORTEST), key=len, reverse=True)
    for each in wanted:
        text = text.replace(each, MASK)
    for each in wanted:
        if each[:_CUT] in text:
            for length in range(len(each) - 1, _CUT - 1, -1):
                text = text.replace(each[:length], MASK)
    return text


def _read(path: Path) -> bytes:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it cannot be read: expected a regular file")
    handle = os.open(path, _FLAGS | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it cannot be read: expected a regular file")
        parts = []
        left = _LONGEST + 1
        while True:
            part = os.read(handle, min(left, 1 << 16))
            if not part:
                break
            parts.append(part)
            left -= len(part)
            if left <= 0:
                raise ValueError(f"it has more than {_LONGEST:,} bytes, which is the limit for a secret")
        return b"".join(parts)
    finally:
        os.close(handle)
