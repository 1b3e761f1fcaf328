"""Keys and values of registries as engines store them."""

from __future__ import annotations

import enum
import json
import math
from collections import namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resprout.cluster.stored_keys import stored_key, stored_value, value_of

Point = namedtuple("Point", "x y")  # the plain one


class Colour(str, enum.Enum):
    RED = "red"


plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
keys = st.recursive(plain, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
small = st.sampled_from([0, 1, True, False, 0.0, -0.0, 1.0, "1", "", b"", b"1", None, 2**53, 2.0**53, 0.1])


@given(keys | small, keys | small)
def test_two_keys_are_stored_as_one_text_just_when_they_are_equal(one: Any, other: Any) -> None:
    assert (stored_key(one) == stored_key(other)) == (one == other)
    assert (stored_key((one, 1)) == stored_key((other, 1))) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (2**60, float(2**60)),
        (math.inf, float("inf")),
        (("user", 1), ("user", 1.0)),
    ],
)
def test_keys_that_are_equal_in_python_are_one_key(one: Any, other: Any) -> None:
    assert stored_key(one) == stored_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", 1),
        (b"1", "1"),
        (None, "null"),
        (("a",), "a"),
        ((), ""),
        (math.inf, -math.inf),
        (2**53, 2**53 + 1),
        ('{"bytes":"31"}', b"1"),
        (("bytes", "31"), b"1"),
    ],
)
def test_keys_that_are_not_equal_are_not(one: Any, other: Any) -> None:
    assert stored_key(one) != stored_key(other)


@pytest.mark.parametrize(
    ("key", "error", "why"),
    [
        (math.nan, ValueError, "nan, which can never be found again"),
        ((1, math.nan), ValueError, "nan"),
        (
            [1],
            TypeError,
            r"made of str, int, bool, float, None, bytes and tuples.*got: \[1\] \(list\)",
        ),
        (frozenset(), TypeError, "frozenset"),
        (Colour.RED, TypeError, "Colour"),
        (Point(1, 2), TypeError, "Point"),
        (object(), TypeError, "object"),
        (("user", [7]), TypeError, r"got: \[7\] \(list\) in \('user', \[7\]\)"),
        ("\ud800", ValueError, "surrogates"),
        ("x" * 2000, ValueError, "at most 1,500 characters when it is stored, got 2,002"),
        (1 << 5000, ValueError, "at most 4,096 bits"),
    ],
)
def test_a_key_that_cannot_be_stored_is_refused_with_what_can(
    key: object, error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        stored_key(key)


def test_tuples_in_tuples_without_end_are_refused() -> None:
    key: Any = 1
    for _ in range(5000):
        key = (key,)
    with pytest.raises(TypeError, match="20 deep"):
        stored_key(key)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(json_values)
def test_a_value_comes_back_as_it_was_and_a_database_has_it_as_plain_text(value: Any) -> None:
    text = stored_value(value)
    assert value_of(text) == value
    assert text.isascii()
    assert "\0" not in text
    assert json.loads(json.dumps(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        (1, 2),
        {1: "a"},
        {"a": (1,)},
        math.nan,
        math.inf,
        b"x",
        lambda: 1,
        # What a pickle would run.
        Colour,
    ],
)
def test_a_value_that_json_does_not_give_back_is_refused_with_what_can_be_stored(value: object) -> None:
    with pytest.raises(TypeError, match="None, a bool, a number, a text, or a list or dict"):
        stored_value(value)


def test_a_value_without_end_and_one_that_is_too_long_are_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(TypeError, match="Circular"):
        stored_value(value)
    with pytest.raises(ValueError, match="at most 65,536 characters"):
        stored_value("x" * 70_000)
