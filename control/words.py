"""Values of a program as JSON and as text, whatever they are: what cannot be shown is described. Pure."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["as_json", "label", "printable", "shown"]

_DEEPEST = 32
SCREEN = 4_000
"""Characters of a value's text that are shown."""


def shown(value: object, most: int = SCREEN) -> str:
    """The repr of a value, cut to a screen; one whose repr raises is described instead."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def label(value: object) -> str:
    """An id or a name as text; one whose text cannot be made is described instead."""
    if type(value) is str:
        return value
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


def as_json(value: object, depth: int = 0) -> tuple[bool, Any]:
    """A value as JSON knows it.

    Returns:
        Whether it is the whole value (a tuple becomes a list), and it; or False and None.
    """
    if value is None or isinstance(value, (bool, str)):
        return True, value
    if isinstance(value, int):
        return True, int(value)
    if isinstance(value, float):
        return (True, float(value)) if math.isfinite(value) else (False, None)
    if depth >= _DEEPEST:
        return False, None
    if type(value) in (list, tuple):
        items = [as_json(item, depth + 1) for item in value]  # type: ignore[attr-defined]  # one of the two
        return (True, [item for _, item in items]) if all(whole for whole, _ in items) else (False, None)
    if type(value) is dict and all(type(key) is str for key in value):
        pairs = {key: as_json(item, depth + 1) for key, item in list(value.items())}
        whole = all(good for good, _ in pairs.values())
        return (True, {key: item for key, (_, item) in pairs.items()}) if whole else (False, None)
    return False, None


def printable(text: str) -> str:
    """A text with line ends and all else escaped that a terminal would obey rather than show."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )
