"""What a ledger asks of its engine, and what that answers. All of it may be repeated; answers may come late,
come twice or get lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from ..throttle import Rate

if TYPE_CHECKING:
    from collections.abc import Sequence


@attrs.define
class Join:
    """A claim wants slots.

    Attributes:
        ref: its ticket, which no other claim of this process ever has, on whatever lock.
        once: it does not wait: granted, or refused.
        max_waiting: so many may wait, of all processes; refused beyond that.
        who: its process, for people.
        place: the one it had in the line of an engine that has lost it since.
        block: so many tokens come with its grant, all of them its own.
    """

    ref: int
    weight: int
    priority: int
    once: bool
    max_waiting: int | None
    who: str
    place: int | None = None
    block: int = 1


@attrs.define
class Leave:
    """A claim leaves the line, or what it was granted is given back."""

    ref: int


@attrs.define
class Keep:
    """A grant is held that the engine has lost, as it may have in a crash.

    Attributes:
        token: the first of its block.
    """

    ref: int
    token: int
    weight: int
    priority: int
    who: str
    block: int = 1


@attrs.frozen
class Declare:
    """A lock is started with so many slots.

    Attributes:
        rate: how often they may be granted, by the clock of the engine; None for as often as there are any.
    """

    num_slots: int
    paused: bool
    rate: Rate | None = None


@attrs.frozen
class Resize:
    """Somebody has changed the number of slots."""

    num_slots: int


@attrs.frozen
class Pause:
    """Nobody is granted, until it is over."""

    paused: bool


Operation: TypeAlias = Join | Leave | Keep | Declare | Resize | Pause


def leaves_first(operations: Sequence[Operation]) -> list[Operation]:
    """In the order in which they make the least work: whoever comes may find free what others give back; and
    without what is over before it was said.
    """
    leaves: list[Operation] = []
    others: list[Operation] = []
    left: set[int] = set()
    for each in reversed(operations):
        if isinstance(each, Leave):
            leaves.append(each)
            left.add(each.ref)
        elif not (isinstance(each, (Join, Keep)) and each.ref in left):
            others.append(each)
    return [*reversed(leaves), *reversed(others)]


LASTING: tuple[type, ...] = (Declare, Resize, Pause)
"""What is not made anew from the tickets there are, and so is kept until it is answered."""


@attrs.define
class Granted:
    """A claim has its slots.

    Attributes:
        token: the first of its block.
    """

    ref: int
    token: int


@attrs.define
class Queued:
    """A claim waits."""

    ref: int
    place: int


@attrs.define
class Refused:
    """A claim is not taken: the lock has too few slots (``heavy``) or too many waiters (``full``), or it did
    not want to wait (``busy``); or for what else the engine says.
    """

    ref: int
    why: str


@attrs.define
class Lost:
    """A grant is over, though nobody gave it back here."""

    ref: int


@attrs.define
class Locked:
    """What was given back stays taken until a transaction ends that has asserted it."""

    ref: int


@attrs.define
class Redeclared:
    """The lock had another number of slots, by the start before."""

    num_slots: int


@attrs.define
class Rerated:
    """The lock had another rate, by the start before."""

    rate: Rate | None


@attrs.define
class Reaped:
    """A session had ended, and its claims are gone."""

    node: str
    claims: int


Fact: TypeAlias = Granted | Queued | Refused | Lost | Locked | Redeclared | Rerated | Reaped


@attrs.define
class Answer:
    """What the engine says of one lock.

    Attributes:
        facts: in the order in which they came about.
        watch: this process is to look after those who hold the lock, so that it hears of deaths soon; None
            where it was not asked.
        again: seconds after which it is to ask again, at the latest: somebody may have died by then, or the
            rate may allow the next grant.
    """

    num_slots: int
    paused: bool
    facts: tuple[Fact, ...]
    watch: bool | None = None
    again: float | None = None


@attrs.frozen
class Row:
    """A claim as the engine has it.

    Attributes:
        token: the first of its block; None while it waits.
    """

    token: int | None
    place: int
