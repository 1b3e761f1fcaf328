"""Keys: any hashable object, compared with ``==``, yet never a line of user code inside a step of the
table.

Most keys hash and compare in C: ``str``, ``int``, ``bytes``, objects that compare by identity, tuples of
those. They go into the table as they are. A key whose ``__hash__`` or ``__eq__`` is Python code (an attrs
class, an Enum member, a UUID) could, when a dict calls it, switch threads, re-enter the registry or raise.
So it is represented by a `Stand`, which compares by identity; finding the stand runs the key's code
beforehand, where it can do no harm.

A stand is held by the entries that use it and by whoever is about to, and only weakly by the chain it is
found in. So the reference count decides, in one step, that it is not needed any more: two equal keys never
get two stands.

``1``, ``1.0`` and ``True`` are one key, as in every dict, shown as it was first registered. A plain key and
one that needs a stand are never the same key, whatever their ``==`` says (``Fraction(1)`` and ``1``).
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Any, cast

from ..actors.engine import remove_empty, replace

_PLAIN_TYPES = frozenset({str, int, bytes, bool, float, complex, type(None), type(...)})
_PLAIN_HASHES = tuple(kind.__hash__ for kind in (object, str, int, bytes, float, complex))
_PLAIN_EQUALS = tuple(kind.__eq__ for kind in (object, str, int, bytes, float, complex))


def is_plain(key: object) -> bool:
    """Tell whether a dict can hash and compare this key without calling Python code.

    >>> is_plain(("user", 7)), is_plain(object()), is_plain(frozenset())
    (True, True, False)
    """
    kind = type(key)
    if kind in _PLAIN_TYPES:
        return True
    if kind is tuple and _PLAIN_TYPES.issuperset(map(type, cast("tuple[Any, ...]", key))):
        # The same as below for the most common compound keys, in a quarter of the time.
        return True
    if isinstance(key, tuple):
        # Named tuples, too; what hashes a tuple hashes its items.
        return (
            kind.__hash__ is tuple.__hash__
            and kind.__eq__ is tuple.__eq__
            and all(is_plain(item) for item in tuple.__iter__(key))
        )
    return kind.__hash__ in _PLAIN_HASHES and kind.__eq__ in _PLAIN_EQUALS


class Stand:
    """What represents a key that hashes or compares in Python. Hashable by identity, and in C."""

    __slots__ = ("__weakref__", "key")

    def __init__(self, key: Hashable) -> None:
        self.key = key


class _Link(weakref.ref[Stand]):
    """A weak reference that knows the hash of its stand's key."""

    __slots__ = ("hashed",)
    hashed: int


ABSENT = Stand(None)
"""Stands for keys that no table can have, so whoever looks for it finds nothing."""


def key_of(ident: Any) -> Any:
    """The user's key behind what the table holds."""
    return ident.key if type(ident) is Stand else ident


class Keyring:
    """Finds what represents a key in one table."""

    def __init__(self) -> None:
        # By the key's hash. A chain is replaced whole, never changed.
        self.chains: dict[int, tuple[_Link, ...]] = {}

    def find(self, key: Any) -> Any:
        """What represents a key; ABSENT when that would be a stand and there is none. Runs the key's code."""
        if type(key) in _PLAIN_TYPES or is_plain(key):
            return key
        return self._search(self.chains.get(hash_of(key), ()), key) or ABSENT

    def take(self, key: Any) -> Any:
        """What represents a key, made if need be. Runs the key's code; if that raises, nothing is done."""
        if type(key) in _PLAIN_TYPES or is_plain(key):
            return key
        hashed = hash_of(key)
        while True:
            chain = self.chains.get(hashed)
            there = self._search(chain or (), key)
            if there is not None:
                return there
            stand = Stand(key)
            link = _Link(stand, self._forget)
            link.hashed = hashed
            longer = (*(chain or ()), link)
            # Only in the place of the chain that was searched: an equal key that came meanwhile is in
            # another.
            if chain is None:
                added = self.chains.setdefault(hashed, longer) is longer
            else:
                added = replace(self.chains, hashed, chain, longer)
            if added:
                return stand

    @staticmethod
    def _search(chain: tuple[_Link, ...], key: Any) -> Stand | None:
        for link in chain:
            stand = link()
            if stand is not None and (stand.key is key or stand.key == key):
                return stand
        return None

    def _forget(self, link: weakref.ref[Stand]) -> None:
        # Runs wherever the last reference went, so it does not wait: it steps, and again when somebody was
        # faster.
        assert isinstance(link, _Link)
        chains, hashed = self.chains, link.hashed
        while True:
            chain = chains.get(hashed, ())
            shorter = tuple([each for each in chain if each is not link])
            if len(shorter) == len(chain) or replace(chains, hashed, chain, shorter):
                break
        remove_empty(chains, hashed)


def hash_of(key: object) -> int:
    """Hash a key.

    Raises:
        TypeError: it has no hash; the message shows it.
    """
    try:
        return hash(key)
    except TypeError as error:
        raise TypeError(f"expected key to be hashable, got: {key!r}") from error
