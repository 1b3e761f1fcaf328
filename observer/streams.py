"""Standard streams as they may be: a pipe whose reader went away, a terminal of another alphabet, or none."""

from __future__ import annotations

import atexit
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["open_streams", "to_nobody_if_gone"]


@contextmanager
def to_nobody_if_gone(stream: IO[str]) -> Iterator[None]:
    """Lets nothing fail inside because nobody looks any more: a pipe whose reader went away (`| head`), a
    terminal that was closed. That is no reason to stop the tree, and children that print must not crash of
    it, nor the interpreter complain at its end of what is left in the buffer; so all that comes goes nowhere.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def open_streams() -> None:
    """Makes standard output and standard error take every text, for a program that begins.

    What their encoding lacks (a C locale has ASCII) is written as an escape. One that was closed before the
    program began, as `>&-` does, takes all and shows nothing.
    """
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # Somebody may have put another kind in its place.
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _nowhere() -> IO[str]:
    stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 -- for as long as the program runs
    atexit.register(stream.close)
    return stream
