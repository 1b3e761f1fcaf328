"""What a placed child and its parent say to each other about the parent's locks."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from ..throttle import LockInfo
from ..throttle.engine import OnLost, Outcome
from .far_pid import FarPid

# Told to the parent.


@attrs.frozen
class Claimed:
    """Somebody wants slots.

    Attributes:
        ref: its number, which no other claim of that child ever has.
        once: it does not wait.
        who: its process, for people.
    """

    lock: str
    ref: int
    weight: int
    priority: int
    once: bool
    who: str


@attrs.frozen
class Ended:
    """A claim has left the line, or gives back what it was granted.

    Attributes:
        asserted: a transaction was told to go on only with that, and may be open still.
    """

    ref: int
    outcome: Outcome
    asserted: bool = False


@attrs.frozen
class Resized:
    """Somebody there has changed the number of slots."""

    lock: str
    num_slots: int


@attrs.frozen
class Paused:
    """Somebody there wants that nobody is granted, or that this is over."""

    lock: str
    paused: bool


# Asked of the parent.


@attrs.frozen
class Open:
    """What is that lock? Answered by Opened, or by nothing where there is none.

    Attributes:
        node: what people are shown of the process that asks.
    """

    lock: str
    node: str


@attrs.frozen
class Look:
    """Who holds that lock, and who waits? Answered by a list of Listed, an error, or nothing."""

    lock: str


@attrs.frozen
class Opened:
    """What a child needs to know of a lock.

    Attributes:
        dropped: the exceptions that tell an adaptive lock that it was asked for too much; pickled.
        schema: of a lock that an engine keeps: where in its database.
    """

    info: LockInfo
    on_lost: OnLost
    dropped: bytes
    schema: str | None


@attrs.frozen
class Listed:
    """Somebody who holds a lock, or waits for it.

    Attributes:
        ref: of a claim of the child that asks.
        pid: of any other.
        token: None while it waits.
    """

    ref: int | None
    pid: FarPid
    token: int | None
    weight: int
    priority: int
    seconds: float
    straggler: bool


# Told to the child.


@attrs.frozen
class Given:
    """A claim has its slots."""

    ref: int
    token: int


@attrs.frozen
class Denied:
    """A claim does not get them.

    Attributes:
        error: pickled; empty where it did not want to wait.
        gone: there is no such lock any more.
    """

    ref: int
    error: bytes
    gone: bool


@attrs.frozen
class Void:
    """A grant is over, though nobody gave it back."""

    ref: int


ToParent: TypeAlias = Claimed | Ended | Resized | Paused
Question: TypeAlias = Open | Look
ToChild: TypeAlias = Given | Denied | Void
