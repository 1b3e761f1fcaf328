"""Values of a program as JSON and as text, whatever they are: what cannot be shown is described. Pure."""

from __future__ import annotations

import math
from typing import Any

from ..actors.engine import text_shown

__all__ = ["as_json", "label", "shown"]

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
    try:
        return text_shown(value) if isinstance(value, str) else str(value)
    except Exception as error:
        return f"<{type(value).__name__} whose text raised {type(error).__name__}>"


def as_json(value: object, depth: int = 0) -> tuple[bool, Any]:
    """A value as JSON knows it.

    Returns:
        Whether it is the whole value (a tuple becomes a list, and a text that hides itself, such as a secret,
        its repr), and it; or False and None.
    """
    if value is None or isinstance(value, bool):
        return True, value
    if isinstance(value, str):
        return True, text_shown(value)
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
