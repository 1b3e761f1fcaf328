"""What is wrong with a configuration file: where, what, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeAlias

import attrs

from ...actors import ConfigError, Killed
from ...actors.engine import printable
from .limits import DEFAULTS

Path: TypeAlias = tuple[object, ...]

_REASON: Final = 1_000
_FOREIGN: Final = 300
_CLOSE: Final = 0.6
_LONGEST_WORD: Final = 100
_STEP: Final = 60
_STEPS: Final = 8
"""Of the beginning and of the end of a path."""


class Position(NamedTuple):
    """A place in a text; lines and columns count from 1, columns in characters.

    Attributes:
        line, column: Where; 0 for a file as a whole.
        file: What to call the file, if it is another than the one that was asked for.
    """

    line: int
    column: int
    file: str = ""


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
        problems: A `ConfigError` for each mistake of the file, in the order of their places; the first of
            them, if there are very many.
        more: How many there are besides.
    """

    def __init__(self, problems: Sequence[ConfigError], more: int = 0) -> None:
        first = problems[0]
        super().__init__(first.file, first.line, first.column, first.path, first.reason)
        self.problems = tuple(problems)
        self.more = more

    def __str__(self) -> str:
        lines = [printable(str(problem)) for problem in self.problems]
        if self.more:
            file, shown = printable(self.file), len(lines)
            lines.append(f"{file}: {shown + self.more:,} mistakes; these are the first {shown:,}")
        return "\n".join(lines)


def invalid_tree(
    file: str,
    mistakes: Iterable[Mistake],
    most: int = DEFAULTS.mistakes_shown,
    hidden: Callable[[str], str] = str,
) -> InvalidTree:
    """The error for the mistakes of one tree, sorted by their places; what an alias repeats is told once.

    Args:
        file: What to call the file that was asked for; its mistakes come first.
        mistakes: At least one.
        most: How many of them to tell; of the others their number.
        hidden: What a reason becomes without the secrets that are in it.
    """
    told: dict[tuple[str, int, int, str], Mistake] = {}
    for mistake in sorted(mistakes, key=_order):
        told.setdefault((*_order(mistake), mistake.reason), mistake)
    shown = list(told.values())[:most]
    problems = [
        ConfigError(
            mistake.position.file or file, *_place(mistake), _bounded(hidden(mistake.reason), _REASON)
        )
        for mistake in shown
    ]
    return InvalidTree(problems, len(told) - len(shown))


def _order(mistake: Mistake) -> tuple[str, int, int]:
    return mistake.position.file, mistake.position.line, mistake.position.column


def _place(mistake: Mistake) -> tuple[int, int, str]:
    return mistake.position.line, mistake.position.column, show_path(mistake.path)


def show_path(path: Path) -> str:
    """Writes a path the way one would follow it in Python: `children[0].args.url`.

    The middle of a long one is left out, as its end says most.
    """
    texts = [f"[{step}]" if isinstance(step, int) else f".{_bounded(str(step), _STEP)}" for step in path]
    if len(texts) > 2 * _STEPS:
        texts[_STEPS:-_STEPS] = ["..."]
    return "".join(texts).removeprefix(".")


def shortened(text: str, most: int = 60) -> str:
    """A text cut to a length, with dots for what is missing."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def told(error: BaseException) -> str:
    """What a foreign exception says, in one line of bounded length, whatever its `str` does."""
    name = shortened(type(error).__name__)
    try:
        text = str(error)
    except (KeyboardInterrupt, Killed):
        raise
    except BaseException as another:
        text = f"(its text cannot be had: {type(another).__name__})"
    text = " ".join(text[:_FOREIGN].split()) + ("..." if len(text) > _FOREIGN else "")
    return f"{name}: {text}" if text else name


def _bounded(text: str, most: int) -> str:
    """A text of a file or of a foreign exception as a located line may have it."""
    return printable(shortened(text, most))


def did_you_mean(word: object, allowed: Iterable[str]) -> str:
    """A question about the allowed word nearest to `word`, or nothing if none is near.

    Returns:
        `; did you mean 'permanent'?` or an empty text.
    """
    if not isinstance(word, str) or len(word) > _LONGEST_WORD:
        return ""
    hints = _hints.get()
    if hints is not None and hints.left <= 0:
        return ""
    letters, length = set(word), len(word)
    # What does not share enough letters is not worth the time that looking at it takes.
    close = [each for each in allowed if 2 * _shared(letters, each) >= _CLOSE * (length + len(each))]
    if not close:
        return ""
    if hints is not None:
        hints.left -= 1
    near = difflib.get_close_matches(word, close, 1, _CLOSE)
    return f"; did you mean {near[0]!r}?" if near else ""


def may_hint() -> bool:
    """Whether one more hint may take time; counts it."""
    hints = _hints.get()
    if hints is None:
        return True
    hints.left -= 1
    return hints.left >= 0


def _shared(letters: set[str], word: str) -> int:
    return sum(map(letters.__contains__, word))


@attrs.define
class _Hints:
    left: int


_hints: ContextVar[_Hints | None] = ContextVar("hints", default=None)


@contextmanager
def few_hints(most: int) -> Iterator[None]:
    """Lets `did_you_mean` think that many times inside, and say nothing after that: of very many mistakes
    most are not told, so nobody needs to know what they meant.
    """
    before = _hints.set(_Hints(most))
    try:
        yield
    finally:
        _hints.reset(before)


def show(value: object) -> str:
    """Writes a value as a file would have it, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, (str, bytes)):
        return shortened(repr(value[:100]))
    return shortened(str(value))
