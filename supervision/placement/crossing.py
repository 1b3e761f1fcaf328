"""What crosses between OS processes, as bytes: messages whole or not at all, reasons in any case."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from typing import Any, Final

from ...actors import Crash, NotPicklable, Pid, ResproutError
from ...actors.engine import crossing, printed

PROTOCOL: Final = 5
_DEEPEST: Final = 20


class FarTraceback(Exception):
    """The cause of an error that was raised in another OS process: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class FarError(ResproutError):
    """Stands for an error of another OS process that cannot cross, by its printed form."""


def pack(kind: str, value: object) -> bytes:
    """Pickles a value that must arrive as it is.

    Args:
        kind: What it is, for the error.
        value: The value.

    Raises:
        NotPicklable: It cannot be pickled; the error names the part that cannot.
    """
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception as error:
        part, why = _culprit(value, kind, error)
        raise NotPicklable(kind, value, part, why) from None


def _culprit(value: object, where: str, error: Exception) -> tuple[str, str]:
    """The smallest part of a value that cannot be pickled, and why."""
    for _ in range(_DEEPEST):
        for path, part in _parts(value):
            try:
                pickle.dumps(part, PROTOCOL)
            except Exception as problem:
                value, where, error = part, where + path, problem
                break
        else:
            break
    return where, str(error) or type(error).__name__


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from (("{...}", item) for item in value)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"[{key!r}]", item
            yield f"[{key!r}] (the key)", key
    elif not isinstance(value, (type, Pid)):
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        named = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        named.update(getattr(value, "__dict__", {}))
        yield from ((f".{name}", item) for name, item in named.items())


def unpack(body: bytes) -> Any:
    """Reads what `pack` wrote.

    Raises:
        NotPicklable: This interpreter has not what it is made of.
    """
    try:
        return pickle.loads(body)
    except Exception as error:
        why = f"{type(error).__name__}: {error} (classes of messages live in modules, not in __main__)"
        raise NotPicklable("message", printed_bytes(body), "when it was read", why) from None


def printed_bytes(body: bytes) -> object:
    """What stands for a pickle that cannot be read."""
    return printed(body[:40])


def pack_reason(reason: object) -> bytes:
    """Packs an exit reason, or an error; what of it cannot cross is printed."""
    error = reason.exception if isinstance(reason, Crash) else reason
    text = ""
    if isinstance(error, BaseException):
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    kept = error if isinstance(reason, Crash) else reason
    return pickle.dumps((isinstance(reason, Crash), text, str(printed(kept)), crossing(kept)), PROTOCOL)


def unpack_reason(body: bytes) -> Any:
    """Reads what `pack_reason` wrote. An error has its far traceback for a cause."""
    crashed, text, shown, data = pickle.loads(body)
    try:
        value = pickle.loads(data)
    except Exception:
        value = printed_text(shown)
    if text:
        if not isinstance(value, BaseException):
            value = FarError(str(value))
        value.__cause__ = FarTraceback(text)
    return Crash(value) if crashed else value


def printed_text(text: str) -> object:
    """A printed form as a value."""
    return type(printed(None))(text)
