"""What has changed between two values of JSON, so that only that is sent. Pure.

A change of an object is an object with up to three keys: `set`, new values by key; `in`, changes of values
that are objects; `gone`, keys that are there no more. `stream.js` applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["difference"]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The change from one object to another; empty if there is none."""
    new: dict[str, Any] = {}
    inside: dict[str, Any] = {}
    for key, value in after.items():
        if key not in before:
            new[key] = value
            continue
        old = before[key]
        if isinstance(value, dict) and isinstance(old, dict):
            change = difference(old, value)
            if change:
                inside[key] = change
        elif not _same(old, value):
            new[key] = value
    gone = [key for key in before if key not in after]
    parts = {"set": new, "in": inside, "gone": gone}
    return {name: part for name, part in parts.items() if part}


def _same(one: Any, other: Any) -> bool:
    """Whether they are the same JSON: 1 == True == 1.0, at whatever depth, which that tells apart."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, list):
        return all(map(_same, one, other))
    return not isinstance(one, dict) or all(_same(value, other[key]) for key, value in one.items())
