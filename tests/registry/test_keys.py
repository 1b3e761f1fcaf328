from __future__ import annotations

import enum
import gc
import uuid
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

from resprout.registry.keys import ABSENT, Keyring, Stand, is_plain, key_of

from .user_id import UserId


class Point(NamedTuple):
    x: Any
    y: Any


class Topic(str):
    __slots__ = ()


class Loud(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    __hash__ = str.__hash__


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


PLAIN = [
    "x",
    1,
    1.5,
    True,
    None,
    b"x",
    ("a", 1),
    ((1,), "b"),
    object(),
    Point(1, 2),
    Topic("t"),
    Level.LOW,
]
NOT_PLAIN = [
    UserId(1),
    Colour.RED,
    uuid.UUID(int=7),
    Fraction(1),
    (1, UserId(1)),
    Point(1, UserId(2)),
    Loud("x"),
]


@pytest.mark.parametrize("key", PLAIN, ids=repr)
def test_keys_that_hash_in_c_stand_for_themselves(key: Any) -> None:
    ring = Keyring()
    assert is_plain(key)
    assert ring.take(key) is key
    assert ring.find(key) is key
    assert ring.chains == {}


@pytest.mark.parametrize("key", NOT_PLAIN, ids=repr)
def test_keys_with_code_of_their_own_get_a_stand(key: Any) -> None:
    ring = Keyring()
    assert not is_plain(key)
    assert ring.find(key) is ABSENT
    stand = ring.take(key)
    assert type(stand) is Stand
    assert ring.find(key) is stand
    assert key_of(stand) is key


def test_equal_keys_share_a_stand() -> None:
    ring = Keyring()
    stand = ring.take(UserId(7))
    assert ring.take(UserId(7)) is stand
    assert ring.find(UserId(7)) is stand
    assert ring.take(UserId(8)) is not stand


def test_a_stand_goes_with_its_last_user() -> None:
    ring = Keyring()
    first, second = ring.take(UserId(7)), ring.take(UserId(8))
    del first
    gc.collect()
    assert ring.find(UserId(7)) is ABSENT
    assert ring.find(UserId(8)) is second
    del second
    gc.collect()
    assert ring.chains == {}


def test_keys_with_the_same_hash_are_told_apart() -> None:
    class Same:
        def __init__(self, name: str) -> None:
            self.name = name

        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same) and other.name == self.name

    ring = Keyring()
    stands = [ring.take(Same(name)) for name in "abcab"]
    assert stands[0] is stands[3]
    assert stands[1] is stands[4]
    assert len(set(stands)) == 3
    del stands[2]
    gc.collect()
    assert ring.find(Same("c")) is ABSENT
    assert ring.find(Same("a")) is stands[0]


def test_a_key_that_enters_the_ring_while_it_is_compared_is_found() -> None:
    ring = Keyring()
    nested: list[Any] = []

    class Nosy:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            if not nested:
                # In the middle of a search, somebody else takes an equal key.
                nested.append(None)
                nested[0] = ring.take(Nosy())
            return True

    first = ring.take(Other())
    assert ring.take(Nosy()) is first


class Other:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return NotImplemented


def test_an_error_of_a_key_leaves_nothing_behind() -> None:
    class Broken:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparing")

    ring = Keyring()
    stand = ring.take(Broken())
    with pytest.raises(RuntimeError, match="no comparing"):
        ring.take(Broken())
    assert len(ring.chains[1]) == 1
    del stand


@pytest.mark.parametrize("key", [[], {}, ("a", []), {1}], ids=repr)
def test_an_unhashable_key_is_named(key: Any) -> None:
    with pytest.raises(TypeError, match="expected key to be hashable, got: "):
        Keyring().take(key)
    with pytest.raises(TypeError, match="expected key to be hashable, got: "):
        Keyring().find(key)
