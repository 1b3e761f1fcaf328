"""What one process claims of the keys of a registry that an engine keeps. Pure: no threads, no clock, no
logging.

Each attempt to register is a *claim* with a number of its own. It is asked for, and then has its key, or is
refused; a claim that has its key is *taken* once its owner is in the table of the registry. Whatever is over
is released, without waiting. Claims and releases of one key go to the engine in the order in which they were
made, so whoever releases a key here and claims it anew is never in its own way.

The engine matches claims by number, and says of each operation what became of it. So whatever is said twice
is done once, and what got lost is said again:

- while the engine is away nothing is noted for it: when it is back, it says what it has of this process, and
  what differs from that is made anew from the claims that there are (``reassert``);
- a key that it grants to a claim that is over is released;
- a release or a change that it refuses is said again after a pause, until it is taken;
- a claim that was granted, and not taken yet, when all grants became void is simply asked for again. One that
  was taken is *lost*: its owner is told.

Steps may be cut between any two bytecodes, and are repeated then. So each is idempotent, and in an order in
which what a cut leaves is said twice rather than never.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from .key_operations import (
    ChangeKey,
    ClaimKey,
    FindKey,
    KeepKey,
    KeyClaimed,
    KeyDone,
    KeyFact,
    KeyFree,
    KeyGone,
    KeyOperation,
    KeyOwned,
    KeyRefused,
    KeyRow,
    KeyUndecided,
    ReleaseKey,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LONGEST_WHO = 200
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 15.0
"""Seconds until what was refused is said again; twice as many each time."""


@attrs.frozen
class Here:
    """Who has the key is a process of this one's."""

    claim: KeyClaim


@attrs.frozen
class Elsewhere:
    """Who has the key is a process somewhere else."""

    node: str
    who: str
    value: str


@attrs.frozen
class Away:
    """The engine can't be reached, and nobody is to wait for it."""


@attrs.frozen
class Ended:
    """The registry was stopped."""


@attrs.frozen
class Refused:
    """The engine says why not."""

    error: BaseException


Refusal: TypeAlias = Here | Elsewhere | Away | Ended | Refused


class KeyClaim(ABC):
    """What somebody here wants to register, or has registered.

    Attributes:
        ref: its number.
        owner: whose it is; the table's.
        token: that of the engine, since it has its key.
        taken: its owner is in the table.
        over: it has no key, and will never have one.
        shown: its owner can be found.
        changed: its value, or whether it is shown, is not as it was claimed.
    """

    __slots__ = ("changed", "key", "over", "owner", "ref", "shown", "taken", "token", "value", "who")

    def __init__(self, ref: int, key: str, value: str, who: str, owner: Any) -> None:
        self.ref = ref
        self.key = key
        self.value = value
        self.who = who[:LONGEST_WHO]
        self.owner = owner
        self.token: int | None = None
        self.taken = False
        self.over = False
        self.shown = True
        self.changed = False

    @abstractmethod
    def granted(self) -> None:
        """It has its key; may be told again."""

    @abstractmethod
    def reverted(self) -> None:
        """It has its key no more, and waits again."""

    @abstractmethod
    def dropped(self) -> None:
        """Its own side has given it up."""

    @abstractmethod
    def refused(self, why: Refusal) -> None:
        """It does not get its key."""


@attrs.frozen
class Untaken:
    """A release, or a change of what is claimed still, that the engine has refused.

    Attributes:
        pause: seconds until it is said again.
    """

    key: str
    pause: float


class Search(ABC):
    """Somebody wants to know who has a key."""

    __slots__ = ("key", "ref")

    def __init__(self, ref: int, key: str) -> None:
        self.ref = ref
        self.key = key

    @abstractmethod
    def found(self, owner: Refusal | None) -> None:
        """It is known now; None: nobody. May be told again."""


class KeyClaims:
    """See the module.

    Args:
        member: what the engine calls this process.
        wake: told that there is something to be sent; safe anywhere.
        raises: while the engine is away, claims and searches are refused.
    """

    def __init__(self, member: int, wake: Callable[[], object], raises: bool = False) -> None:
        self.member = member
        self.claims: dict[int, KeyClaim] = {}
        self.searches: dict[int, Search] = {}
        self.leaving: dict[int, Callable[[], object]] = {}
        """Who waits for the engine to know that a claim is over, by its number."""
        self.outgoing: deque[KeyOperation] = deque()
        """What the engine is to be told, oldest first."""
        self.due: dict[int, float] = {}
        """When something is to be said again, by the number of its claim or search."""
        self.refused: dict[int, Untaken] = {}
        """What the engine has refused and is to take all the same, by the number of its claim."""
        self.lost: dict[int, KeyClaim] = {}
        """Claims whose owners are to be told that their keys are gone."""
        self.down = True
        self.closed = False
        self._wake = wake
        self._raises = raises

    # -- this side -------------------------------------------------------------

    def ask(self, claim: KeyClaim) -> bool:
        """Ask for the key of a claim. May be repeated."""
        if not claim.over:
            self.claims[claim.ref] = claim
            if self.closed:
                self._refuse(claim, Ended())
            elif self.down and self._raises:
                self._refuse(claim, Away())
            else:
                self._post(self._asking(claim))
        return True

    def take(self, claim: KeyClaim, valid: bool) -> bool:
        """Its owner is in the table; False when it does not have the key, or has lost it meanwhile. May be
        repeated.

        Args:
            valid: the engine was heard of lately enough.
        """
        if claim.over or claim.token is None:
            return False
        if not valid and not claim.taken:
            self._over(claim)
            return False
        claim.taken = True
        return True

    def drop(self, claim: KeyClaim) -> None:
        """Give a claim up. May be repeated."""
        claim.over = True
        if self.claims.get(claim.ref) is claim:
            self._post(ReleaseKey(claim.ref, claim.key))
            self._forget(claim)
        claim.dropped()

    def leave(self, claim: KeyClaim, told: Callable[[], object]) -> None:
        """Give a claim up, and have somebody told when the engine knows of that, or is away. May be
        repeated.
        """
        if self.claims.get(claim.ref) is claim and not self.down:
            self.leaving[claim.ref] = told
        elif claim.ref not in self.leaving:
            told()
        self.drop(claim)

    def change(self, claim: KeyClaim, value: str, shown: bool) -> None:
        """An owner has another value, or is not to be found any more."""
        claim.value = value
        claim.shown = shown
        claim.changed = True
        if self.claims.get(claim.ref) is claim:
            self._post(self._changing(claim))

    def search(self, search: Search) -> bool:
        """Find out who has a key. May be repeated."""
        self.searches[search.ref] = search
        if self.closed or (self.down and self._raises):
            search.found(Ended() if self.closed else Away())
            self.end_search(search)
        else:
            self._post(FindKey(search.ref, search.key))
        return True

    def end_search(self, search: Search) -> None:
        """Nobody wants to know any more. May be repeated."""
        self.searches.pop(search.ref, None)
        self.due.pop(search.ref, None)

    def close(self) -> None:
        """The registry has ended: all claims are over. May be repeated."""
        self.closed = True
        for claim in list(self.claims.values()):
            claim.refused(Ended())
            self.drop(claim)
        for search in list(self.searches.values()):
            search.found(Ended())
            self.end_search(search)
        # Whoever has looked in the middle of this found that there is something left.
        self._wake()

    @property
    def done(self) -> bool:
        """Whether the engine need know nothing of it any more."""
        return self.closed and not (self.claims or self.searches or self.outgoing or self.refused)

    def _post(self, operation: KeyOperation) -> None:
        # What is noted while the engine is away would be said of a session that is over.
        if not self.down:
            self.outgoing.append(operation)
            self._wake()

    def _asking(self, claim: KeyClaim) -> ClaimKey:
        return ClaimKey(claim.ref, claim.key, claim.value, claim.who)

    def _changing(self, claim: KeyClaim) -> ChangeKey:
        return ChangeKey(claim.ref, claim.key, claim.value, claim.shown)

    def _forget(self, claim: KeyClaim) -> None:
        self._taken(claim.ref)
        self.due.pop(claim.ref, None)
        self.claims.pop(claim.ref, None)

    def _refuse(self, claim: KeyClaim, why: Refusal) -> None:
        claim.over = True
        claim.refused(why)
        self._forget(claim)

    def _lose(self, claim: KeyClaim) -> None:
        # The row may be there still, or come back out of a repeated answer.
        claim.over = True
        self.lost[claim.ref] = claim
        self._post(ReleaseKey(claim.ref, claim.key))
        self._forget(claim)

    # -- the engine ------------------------------------------------------------

    def collect(self, now: float, most: int) -> list[KeyOperation]:
        """Take out what is to be said now, in the order of the keys, which all processes keep to: so no two
        steps wait for each other.
        """
        # A release goes before the claim that waits for it, which is younger.
        for ref in sorted([ref for ref, when in list(self.due.items()) if when <= now]):
            operation = self._due(ref)
            if operation is not None:
                self.outgoing.append(operation)
            self.due.pop(ref, None)
        operations: list[KeyOperation] = []
        while self.outgoing and len(operations) < most:
            operations.append(self.outgoing.popleft())
        # Those of one key stay in their order.
        return sorted(operations, key=lambda each: each.key)

    def _due(self, ref: int) -> KeyOperation | None:
        claim, search, untaken = self.claims.get(ref), self.searches.get(ref), self.refused.get(ref)
        if claim is not None:
            return self._asking(claim) if claim.token is None else self._changing(claim)
        if search is not None:
            return FindKey(search.ref, search.key)
        return None if untaken is None else ReleaseKey(ref, untaken.key)

    def unanswered(self, operations: Sequence[KeyOperation]) -> None:
        """What was said is to be said again, since the answer came too late to be good."""
        self.outgoing.extendleft(reversed(operations))
        self._wake()

    def answered(self, operations: Sequence[KeyOperation], facts: Sequence[KeyFact], now: float) -> None:
        """Take note of what became of operations. May be repeated."""
        for operation, fact in zip(operations, facts, strict=True):
            match operation:
                case ClaimKey(ref, key):
                    self._asked(ref, key, fact, now)
                case FindKey(ref):
                    self._found(ref, fact, now)
                case ReleaseKey(ref, key):
                    self._released(ref)
                    self._note(ref, key, fact, now)
                case ChangeKey(ref, key) | KeepKey(ref, key):
                    claim = self.claims.get(ref)
                    if claim is None or claim.token is None:
                        continue
                    kept = isinstance(operation, KeepKey)
                    if isinstance(fact, KeyGone) or (kept and isinstance(fact, KeyRefused)):
                        self._over(claim)
                    else:
                        self._note(ref, key, fact, now)

    def _note(self, ref: int, key: str, fact: KeyFact, now: float) -> None:
        """A release or a change was taken, or is to be said again."""
        if not isinstance(fact, KeyRefused):
            self._taken(ref)
            return
        before = self.refused.get(ref)
        pause = FIRST_PAUSE if before is None else min(2 * before.pause, LONGEST_PAUSE)
        self.due[ref] = now + pause
        self.refused[ref] = Untaken(key, pause)
        # Whoever has looked before this found that there is nothing left.
        self._wake()

    def _taken(self, ref: int) -> None:
        if ref in self.refused:
            self.due.pop(ref, None)
            self.refused.pop(ref, None)

    def _asked(self, ref: int, key: str, fact: KeyFact, now: float) -> None:
        claim = self.claims.get(ref)
        match fact:
            case KeyClaimed(token):
                if claim is None:
                    self._post(ReleaseKey(ref, key))
                elif claim.token in (None, token):
                    claim.token = token
                    if claim.changed:
                        self._post(self._changing(claim))
                    claim.granted()
            case KeyOwned(member, other, node, who, value):
                if claim is None or claim.token is not None:
                    return
                if member != self.member:
                    self._refuse(claim, Elsewhere(node, who, value))
                elif (there := self.claims.get(other)) is not None:
                    self._refuse(claim, Here(there))
                elif other in self.refused:
                    # When that was released, which is said again later.
                    self.due[ref] = max(self.due.get(other, now), now)
                else:
                    # It is being released.
                    self._post(ReleaseKey(other, key))
                    self._post(self._asking(claim))
            case KeyUndecided(again):
                if claim is not None and claim.token is None:
                    self.due[ref] = now + again
            case KeyRefused(error):
                if claim is not None and claim.token is None:
                    self._refuse(claim, Refused(error))
            case KeyFree() | KeyDone() | KeyGone():
                raise AssertionError(fact)

    def _found(self, ref: int, fact: KeyFact, now: float) -> None:
        search = self.searches.get(ref)
        if search is None:
            return
        match fact:
            case KeyUndecided(again):
                self.due[ref] = now + again
                return
            case KeyOwned(member, other, node, who, value):
                if member != self.member:
                    search.found(Elsewhere(node, who, value))
                else:
                    claim = self.claims.get(other)
                    search.found(Here(claim) if claim is not None and claim.shown else None)
            case KeyFree():
                search.found(None)
            case KeyRefused(error):
                search.found(Refused(error))
            case KeyClaimed() | KeyDone() | KeyGone():
                raise AssertionError(fact)
        self.end_search(search)

    def _released(self, ref: int) -> None:
        told = self.leaving.get(ref)
        if told is not None:
            told()
            self.leaving.pop(ref, None)

    def _over(self, claim: KeyClaim) -> None:
        """A claim has its key no more, as far as is known."""
        if claim.taken:
            self._lose(claim)
        else:
            claim.reverted()
            self._taken(claim.ref)
            claim.token = None
            self._post(self._asking(claim))

    def gone(self) -> None:
        """The engine is away. May be repeated."""
        self.down = True
        self.outgoing.clear()
        self.due.clear()
        self.refused.clear()
        for ref in list(self.leaving):
            # It hears of that when it is back.
            self._released(ref)
        if not self._raises:
            return
        for claim in list(self.claims.values()):
            if claim.token is None:
                self._refuse(claim, Away())
        for search in list(self.searches.values()):
            search.found(Away())
            self.end_search(search)

    def void(self) -> None:
        """The engine was not heard of for so long that it may have given all keys to others. May be
        repeated.
        """
        for claim in list(self.claims.values()):
            if claim.token is not None:
                self._over(claim)

    def reassert(self, rows: Mapping[int, KeyRow], trusting: bool) -> None:
        """The engine is back: say again what there is here, and find out what is gone there. May be repeated.

        Args:
            rows: what it has of this process's claims, by number.
            trusting: it may have lost keys in a crash, and takes the word of those who own them.
        """
        self.down = False
        self.outgoing.clear()
        self.due.clear()
        self.refused.clear()
        for ref, row in rows.items():
            # First, as the same key may be claimed anew.
            if ref not in self.claims:
                self._post(ReleaseKey(ref, row.key))
        for ref in sorted(self.claims):
            self._reassert_one(self.claims[ref], rows.get(ref), trusting)
        for search in self.searches.values():
            self._post(FindKey(search.ref, search.key))
        self._wake()

    def _reassert_one(self, claim: KeyClaim, row: KeyRow | None, trusting: bool) -> None:
        ref, key, token = claim.ref, claim.key, claim.token
        if token is None:
            # If it has the key by now, that is what this is answered with.
            self._post(self._asking(claim))
        elif row is not None and row.token == token:
            if claim.changed:
                self._post(self._changing(claim))
        elif trusting:
            self._post(KeepKey(ref, key, token, claim.value, claim.shown, claim.who))
        else:
            self._over(claim)
