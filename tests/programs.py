"""Programs of the tests' own."""

from __future__ import annotations

import sys

PYTHON = [sys.executable, "-W", "error", "-W", "ignore:resprout is experimental"]
"""An interpreter in which a warning is an error, but for the one of free-threaded builds."""


def resprout(*arguments: object) -> list[str]:
    """The command line of resprout, with these arguments."""
    return [*PYTHON, "-m", "resprout", *map(str, arguments)]
