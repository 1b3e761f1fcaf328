"""Keys and values of registries as an engine stores them: texts that mean the same in every process, and run
no code anywhere.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST_KEY = 1500
LONGEST_VALUE = 65_536
DEEPEST = 20
"""Tuples in tuples."""
LARGEST = 4096
"""Bits of an integer, which is more than any float has."""
KEYS = "str, int, bool, float, None, bytes and tuples of these"


def stored_key(key: object) -> str:
    """What stands for a key: the same text for equal keys, ``1``, ``1.0`` and ``True`` included.

    Raises:
        TypeError: the key is of a kind that can't be stored.
        ValueError: it is too long, or equal to nothing (NaN).
    """
    text = json.dumps(_packed(key, key, DEEPEST), separators=(",", ":"))
    if len(text) > LONGEST_KEY:
        raise ValueError(
            f"expected a key of a registry with an engine to have at most {LONGEST_KEY:,} characters when it "
            f"is stored, got {len(text):,}: {_shown(key)}"
        )
    return text


def _packed(part: object, key: object, deep: int) -> Any:
    # Of these very classes: one derived from them may be equal to something else.
    kind = type(part)
    if kind is str:
        try:
            part.encode()  # type: ignore[attr-defined]  # a str
        except UnicodeEncodeError as error:
            raise ValueError(
                f"expected the texts of a key to be Unicode without lone surrogates: {error}"
            ) from None
        return part
    if part is None:
        return None
    if kind is bytes:
        return {"bytes": part.hex()}  # type: ignore[attr-defined]  # bytes
    if kind is tuple and deep:
        return [_packed(each, key, deep - 1) for each in part]  # type: ignore[attr-defined]  # a tuple
    if kind is float:
        if part != part:
            raise ValueError(
                "expected a key that is equal to itself, got: nan, which can never be found again"
            )
        return int(part) if part.is_integer() else part  # type: ignore[call-overload,attr-defined]  # a float
    if kind in (int, bool):
        if part.bit_length() > LARGEST:  # type: ignore[attr-defined]  # an int
            raise ValueError(f"expected the integers of a key to have at most {LARGEST:,} bits")
        return int(part)  # type: ignore[call-overload]  # an int
    where = "" if part is key else f" in {_shown(key)}"
    raise TypeError(
        f"expected a key of a registry with an engine to be made of {KEYS}, at most {DEEPEST} deep, since "
        f"other processes have to find it; got: {_shown(part)} ({kind.__name__}){where}"
    )


def stored_value(value: object) -> str:
    """What stands for a value.

    Raises:
        TypeError: it is nothing that JSON gives back as it was.
        ValueError: it is too long.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        same = bool(json.loads(text) == value)
        why = "it would come back as something else, as a tuple does as a list" if not same else ""
    except (TypeError, ValueError, RecursionError) as error:
        same, why, text = False, str(error), ""
    if not same:
        raise TypeError(
            f"expected a value of a registry with an engine to be None, a bool, a number, a text, or a list "
            f"or dict (its keys texts) of these, since other processes read it; got: {_shown(value)} ({why})"
        )
    if len(text) > LONGEST_VALUE:
        raise ValueError(
            f"expected a value of a registry with an engine to have at most {LONGEST_VALUE:,} characters in "
            f"JSON, got: {len(text):,}"
        )
    return text


def value_of(text: str) -> Any:
    """The value that a text stands for."""
    return json.loads(text)


def _shown(thing: object) -> str:
    try:
        text = repr(thing)
    except Exception as error:
        text = f"<{type(thing).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 100 else f"{text[:97]}..."
