"""What has changed between two values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from resprout.control.web.differences import difference

from .conftest import applied

VALUES = some.recursive(
    some.none() | some.booleans() | some.integers(0, 3) | some.floats(0, 2) | some.sampled_from(["", "a"]),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.sampled_from("abc"), inner),
    max_leaves=8,
)
OBJECTS = some.dictionaries(some.sampled_from("abcd"), VALUES)


@settings(max_examples=40)
@given(OBJECTS, OBJECTS)
def test_a_change_applied_to_what_was_gives_what_is(before: dict[str, Any], after: dict[str, Any]) -> None:
    # As text: 1, 1.0 and true are equal in Python.
    assert json.dumps(applied(before, difference(before, after)), sort_keys=True) == json.dumps(
        after, sort_keys=True
    )


@settings(max_examples=40)
@given(OBJECTS)
def test_nothing_is_sent_of_what_has_not_changed(value: dict[str, Any]) -> None:
    assert difference(value, value) == {}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"in": {"a": {"set": {"c": 3}}}}),
        ({"a": 1, "b": 2}, {"a": 1}, {"gone": ["b"]}),
        ({"a": [1, 2]}, {"a": [1]}, {"set": {"a": [1]}}),
        ({"a": 1}, {"a": True}, {"set": {"a": True}}),
        ({"a": {"b": 1}}, {"a": None}, {"set": {"a": None}}),
        ({"a": [0, {"b": [1]}]}, {"a": [False, {"b": [1]}]}, {"set": {"a": [False, {"b": [1]}]}}),
        ({"a": [0, {"b": [1]}]}, {"a": [0, {"b": [1.0]}]}, {"set": {"a": [0, {"b": [1.0]}]}}),
    ],
)
def test_only_what_has_changed_is_sent(
    before: dict[str, Any], after: dict[str, Any], change: dict[str, Any]
) -> None:
    assert difference(before, after) == change
