"""What the claims of a registry ask of its engine, and what that answers. All of it may be repeated; answers
may come late, or get lost.

Each operation is about one key, and has one answer. Those about the same key are done in the order in which
they are asked.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.define
class ClaimKey:
    """Somebody here wants a key. Answered with KeyClaimed, KeyOwned or KeyUndecided.

    Attributes:
        ref: its ticket, which no other claim of this process ever has, on whatever registry.
        key: as it is stored.
        value: as it is stored.
        who: its process, for people.
    """

    ref: int
    key: str
    value: str
    who: str


@attrs.define
class ReleaseKey:
    """A claim is over; where it has the key, that is free. Answered with KeyDone."""

    ref: int
    key: str


@attrs.define
class ChangeKey:
    """An owner has another value, or is dead and not to be found any more, though the key stays taken.
    Answered with KeyDone, or KeyGone where the claim does not have the key.
    """

    ref: int
    key: str
    value: str
    shown: bool


@attrs.define
class KeepKey:
    """A key is owned here that the engine may have lost, as it may in a crash. While it takes the word of
    those who hold (see Greeting.quiet), a missing row is entered, and one with a lower token replaced.
    Answered with KeyDone, or KeyGone where somebody else has the key, or it is too late.
    """

    ref: int
    key: str
    token: int
    value: str
    shown: bool
    who: str


@attrs.define
class FindKey:
    """Somebody wants to know who has a key. Answered with KeyOwned, KeyFree or KeyUndecided."""

    ref: int
    key: str


KeyOperation: TypeAlias = ClaimKey | ReleaseKey | ChangeKey | KeepKey | FindKey


@attrs.define
class KeyClaimed:
    """The claim has its key; again, when it is asked for again.

    Attributes:
        token: higher than that of every claim that had the key before.
    """

    token: int


@attrs.define
class KeyOwned:
    """Somebody has the key: the claim ``ref`` of a process ``member`` that lives."""

    member: int
    ref: int
    node: str
    who: str
    value: str


@attrs.define
class KeyFree:
    """Nobody has the key."""


@attrs.define
class KeyUndecided:
    """Who has the key may have ended, or the engine may have lost who has it.

    Attributes:
        again: seconds after which it can be decided, and is to be asked for again.
    """

    again: float


@attrs.define
class KeyDone:
    """So it is."""


@attrs.define
class KeyGone:
    """The claim does not have its key any more."""


@attrs.define
class KeyRefused:
    """The engine does not take what was said, and would not. The answer to any operation."""

    error: BaseException


KeyFact: TypeAlias = KeyClaimed | KeyOwned | KeyFree | KeyUndecided | KeyDone | KeyGone | KeyRefused


@attrs.define
class KeyRequest:
    """What the claims of one registry ask, in the order of the keys."""

    registry: str
    operations: list[KeyOperation]


@attrs.frozen
class KeyRow:
    """A claim as the engine has it."""

    key: str
    token: int
