"""Patterns: what a value must look like, in Python's terms.

============================  ==========================================================
pattern                       matches
============================  ==========================================================
``ANY``                       everything
a class                       its instances
any other callable            values for which it returns something true
a tuple or list               one of the same type and length whose items match, in order
a dict                        a mapping that has these keys, with values that match
``Equal(x)``, anything else   what is ``==`` to it
============================  ==========================================================

``Equal`` is for values that are themselves classes, callables, tuples or dicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs


class _Any:
    """Matches everything."""

    def __repr__(self) -> str:
        return "ANY"

    def __reduce__(self) -> str:
        return "ANY"


ANY: Final = _Any()
"""Matches everything: Elixir's ``:_``."""


@attrs.frozen
class Equal:
    """Matches what is equal to the value, whatever that is."""

    value: Any


def matches(pattern: Any, value: Any) -> bool:
    """Tell whether a value matches a pattern.

    >>> matches((ANY, int), ("x", 1)), matches({"state": "busy"}, {"state": "idle"})
    (True, False)
    >>> matches(lambda number: number > 2, 3)
    True
    """
    if pattern is ANY:
        return True
    if isinstance(pattern, Equal):
        return bool(pattern.value == value)
    if isinstance(pattern, type):
        return isinstance(value, pattern)
    if callable(pattern):
        return bool(pattern(value))
    if isinstance(pattern, (tuple, list)):
        return (
            isinstance(value, tuple if isinstance(pattern, tuple) else list)
            and len(pattern) == len(value)
            and all(map(matches, pattern, value))
        )
    if isinstance(pattern, Mapping):
        return isinstance(value, Mapping) and all(
            key in value and matches(wanted, value[key]) for key, wanted in pattern.items()
        )
    return bool(pattern == value)
