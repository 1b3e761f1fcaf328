"""What a placed child and its parent say to each other about the parent's registries: the operations and
facts of any engine (see ``key_operations``), one at a time.

Keys and values are pickles, in texts, since an engine's are texts. They may be of users' classes, so they are
read by whoever wants them, and never on a thread that must not wait.
"""

from __future__ import annotations

import pickle
from typing import Any, TypeAlias

import attrs

from ..actors import NotPicklable
from ..actors.engine import crossing, printed
from ..registry.engine import OnLost
from ..supervision.engine import pack
from .key_operations import ChangeKey, ClaimKey, KeyFact, KeyOperation

OURS = 1
"""The member of facts (see KeyOwned) that is the child which asked."""
OTHERS = 0

# Told to the parent.


@attrs.frozen
class Said:
    """A claim or search of the child's, on the registry of that name."""

    registry: str
    operation: KeyOperation


# Asked of the parent.


@attrs.frozen
class OpenRegistry:
    """What is that registry? Answered by an OpenedRegistry, or by nothing where there is none.

    Attributes:
        node: what people are shown of the process that asks.
    """

    registry: str
    node: str


@attrs.frozen
class OpenedRegistry:
    """What a child needs to know of a registry.

    Attributes:
        unique: whether a key has at most one owner.
        stored: an engine on a server has the keys, so they must be such as that can store.
    """

    name: str
    unique: bool
    partitions: int
    linger: bool
    on_lost: OnLost
    stored: bool


# Told to the child.


@attrs.frozen
class KeyAnswer:
    """What became of an operation, which comes back without its value."""

    operation: KeyOperation
    fact: KeyFact

    @property
    def ref(self) -> int:
        """Of the claim or search."""
        return self.operation.ref


@attrs.frozen
class KeyDenied:
    """A claim or search is over.

    Attributes:
        error: pickled; of ours or Python's own, as no users' code is to run where it is read.
        gone: there is no such registry.
    """

    ref: int
    error: bytes
    gone: bool


@attrs.frozen
class KeyVoid:
    """A claim has its key no more, though nobody gave it up."""

    ref: int


ToChild: TypeAlias = KeyAnswer | KeyDenied | KeyVoid


def packed_key(key: object) -> str:
    """A key as it crosses.

    Raises:
        NotPicklable: it can't.
        ValueError: what arrives there is not equal to it.
    """
    text = packed("key", key)
    there = unpacked(text)
    if not (there == key and hash(there) == hash(key)):
        raise ValueError(
            f"expected a key of the tree's registry to be equal to itself in another OS process, as texts, "
            f"numbers, and tuples and frozen attrs classes of these are; got: {key!r}, which comes back as "
            f"{there!r}"
        )
    return text


def packed(what: str, value: object) -> str:
    """Something as it crosses.

    Args:
        what: what it is, for the error.
        value: itself.

    Raises:
        NotPicklable: it can't.
    """
    return pack(what, value).decode("latin-1")


def packed_or_printed(value: object) -> str:
    """The same, where what can't cross is printed."""
    return crossing(value).decode("latin-1")


def unpacked(text: str) -> Any:
    """What has crossed.

    Raises:
        NotPicklable: this interpreter has not what it is made of.
    """
    data = text.encode("latin-1")
    try:
        return pickle.loads(data)
    except Exception as error:
        why = f"{type(error).__name__}: {error} (classes of keys and values live in modules, not in __main__)"
        raise NotPicklable("key or value", printed(data[:40]), "when it was read", why) from None


def without_value(operation: KeyOperation) -> KeyOperation:
    """An operation as it comes back."""
    match operation:
        case ClaimKey():
            return attrs.evolve(operation, value="")
        case ChangeKey():
            return attrs.evolve(operation, value="")
        case _:
            return operation
