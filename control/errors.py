"""Why a request is refused: a word for programs, and a sentence for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..actors import ResproutError

__all__ = ["NO_OBSERVER", "Refusal", "near"]

NO_OBSERVER = "the page for browsers needs starlette and uvicorn: pip install 'resprout[observe]'"


class Refusal(ResproutError):
    """A request that is not carried out, or that failed.

    Args:
        kind: One of the words of docs/control.md: `unknown_process`, `bad_request`, `failed`, ...
        message: What was expected, what was got, and what to do.
        meant: What may have been meant instead, the likeliest first.

    Attributes:
        kind, message, meant: The same.
    """

    def __init__(self, kind: str, message: str, meant: Iterable[str] = ()) -> None:
        self.kind = kind
        self.meant = tuple(meant)
        hint = f"; did you mean {self.meant[0]!r}?" if self.meant else ""
        self.message = f"{message}{hint}"
        super().__init__(self.message)


def near(word: str, allowed: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The words of `allowed` that are closest to one that is not among them."""
    return tuple(difflib.get_close_matches(word, list(allowed), most))
