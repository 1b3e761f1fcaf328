"""What is wrong with a configuration file: where, what, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import attrs

from ..actors import ConfigError

Path: TypeAlias = tuple[object, ...]


@attrs.frozen(order=True)
class Position:
    """A place in a text; lines and columns count from 1, columns in characters."""

    line: int
    column: int


NOWHERE = Position(0, 0)
"""The place of what is wrong with no line in particular."""


@attrs.frozen
class Mistake:
    """One thing that is wrong with a file."""

    path: Path
    position: Position
    reason: str


class InvalidTree(ConfigError):
    """A tree file has mistakes, and nothing of it was started.

    It is a `ConfigError` for the first of them; `str()` has one line for each,
    `file:line:column: path: what is wrong`.

    Attributes:
        problems: A `ConfigError` for every mistake of the file, in the order of their places.
    """

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        super().__init__(first.file, first.line, first.column, first.path, first.reason)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def invalid_tree(file: str, mistakes: Iterable[Mistake]) -> InvalidTree:
    """The error for the mistakes of one file, sorted by their places; what an alias repeats is told once."""
    told: dict[tuple[Position, str], ConfigError] = {}
    for mistake in sorted(mistakes, key=lambda mistake: mistake.position):
        at, reason = mistake.position, mistake.reason
        told.setdefault((at, reason), ConfigError(file, at.line, at.column, show_path(mistake.path), reason))
    return InvalidTree(list(told.values()))


def show_path(path: Path) -> str:
    """Writes a path the way one would follow it in Python: `children[0].args.url`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """A question about the allowed word nearest to `word`, or nothing if none is near.

    Returns:
        `; did you mean 'permanent'?` or an empty text.
    """
    near = difflib.get_close_matches(word, list(allowed), 1) if isinstance(word, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def show(value: object) -> str:
    """Writes a value as a file would have it, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
