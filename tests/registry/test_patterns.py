from __future__ import annotations

from typing import Any

import pytest

from resprout.registry import ANY, Equal
from resprout.registry.patterns import matches


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        (ANY, None, True),
        (7, 7, True),
        (7, 8, False),
        (None, None, True),
        (None, 0, False),
        ("busy", "busy", True),
        (int, 7, True),
        (int, "7", False),
        (lambda value: value > 1, 2, True),
        (lambda value: value > 1, 1, False),
        ((1, ANY, ANY), (1, "atom", 1), True),
        ((1, ANY), (1, "atom", 1), False),
        ((ANY, str), (1, 2), False),
        ((1, 2), [1, 2], False),
        ([int, ANY], [1, 2], True),
        ({"state": "busy"}, {"state": "busy", "since": 3}, True),
        ({"state": "busy"}, {"state": "idle"}, False),
        ({"state": ANY}, {}, False),
        ({}, {"any": "mapping"}, True),
        ({"state": "busy"}, "busy", False),
        ({"at": (int, {"x": 1})}, {"at": (5, {"x": 1, "y": 2})}, True),
        (Equal(int), int, True),
        (Equal(int), 7, False),
        (Equal((ANY,)), (1,), False),
    ],
)
def test_patterns(pattern: Any, value: Any, expected: bool) -> None:
    assert matches(pattern, value) is expected
