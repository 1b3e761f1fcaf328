"""Log records as text for people: lines, folded to the width of a terminal. Pure."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable

from ..actors.engine import printable
from ..monitoring.log_records import JsonFormat, in_one_line, is_crash

__all__ = ["JsonFormat", "TextFormat", "folded", "in_one_line", "is_crash", "printable"]

_MARKS = re.compile(r"[\s^~]+")


def folded(text: str, width: int) -> str:
    """A text whose lines are at most `width` wide; what goes on in the next line is indented further.

    Lines of marks under a piece of a traceback that had to be folded would point anywhere, and go.
    """
    lines: list[str] = []
    cut = False
    for line in text.splitlines():
        if _MARKS.fullmatch(line) and (cut or len(line) > width):
            continue
        indent = line[: len(line) - len(line.lstrip())][: width // 2]
        pieces = textwrap.wrap(
            line,
            max(width, 8),
            subsequent_indent=indent + "  ",
            replace_whitespace=False,
            break_on_hyphens=False,
        )
        cut = len(pieces) > 1
        lines += pieces or [""]
    return "\n".join(lines)


class TextFormat(logging.Formatter):
    """Lines for people.

    Args:
        format: Of a line.
        width: Gives the width that reports of crashes are folded to, None for as wide as they are.
    """

    def __init__(
        self,
        format: str = "%(levelname)s %(name)s: %(message)s",
        *,
        width: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__(format)
        self._width = width

    def format(self, record: logging.LogRecord) -> str:
        """The record, with its traceback."""
        text = super().format(record)
        width = self._width() if is_crash(record) else None
        return text if width is None else folded(text, width)
