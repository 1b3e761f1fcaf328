"""The waiting line of a lock: by priority, then by arrival, with removal from the middle in constant time."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .claim import Claim


class Line:
    """Claims in the order in which they are to be served. Pure; whoever steps the ledger is alone with it.

    A claim is in the line if and only if its lane has its ticket; the index by key may list one too many
    after an exception cut a step in two, and is only ever used through that test. An OrderedDict is a linked
    list, so both ends and the middle cost the same at any length (a dict walks over the holes at its front).
    """

    __slots__ = ("_ticket", "by_key", "lanes", "ranks")

    def __init__(self) -> None:
        self.lanes: dict[int, OrderedDict[int, Claim]] = {}
        """Only lanes with somebody in them, by priority: empty means that nobody waits."""
        self.ranks: list[int] = []
        """The negated priorities of the lanes, ascending."""
        self.by_key: dict[int, Claim] = {}
        """The newest claim of each holder key; ``sibling`` leads to the one before it."""
        self._ticket = 0

    def __len__(self) -> int:
        return sum([len(lane) for lane in self.lanes.values()])

    def __iter__(self) -> Iterator[Claim]:
        for rank in self.ranks:
            yield from self.lanes[-rank].values()

    def __contains__(self, claim: Claim) -> bool:
        lane = self.lanes.get(claim.priority)
        return lane is not None and lane.get(claim.ticket) is claim

    def head(self) -> Claim | None:
        """Return who is next, None when nobody waits."""
        if not self.ranks:
            return None
        return next(iter(self.lanes[-self.ranks[0]].values()))

    def push(self, claim: Claim) -> None:
        """Put a claim behind those of its priority; once, however often it is repeated.

        Order: the index first, the lane last, which is when the claim is in the line.
        """
        if claim.ticket and claim in self:
            return
        self._ticket = ticket = self._ticket + 1
        claim.ticket = ticket
        key = claim.key
        other = self.by_key.get(key)
        if other is not claim:
            claim.sibling = other
        self.by_key[key] = claim
        lane = self.lanes.get(claim.priority)
        if lane is not None:
            lane[ticket] = claim
            return
        # The rank goes before the lane, so that a lane that exists is never overlooked; mend() drops a rank
        # without one.
        bisect.insort(self.ranks, -claim.priority)
        self.lanes[claim.priority] = OrderedDict({ticket: claim})

    def remove(self, claim: Claim) -> None:
        """Take a claim out; harmless when it is not in the line.

        Order: out of the lane first, which is when it has left; the index last.
        """
        lane = self.lanes.get(claim.priority)
        if lane is None or lane.get(claim.ticket) is not claim:
            return
        if len(lane) > 1:
            del lane[claim.ticket]
        else:
            # The last one goes with its lane, in one step, so that no empty lane is ever seen.
            del self.lanes[claim.priority]
            self.ranks.remove(-claim.priority)
        newest = self.by_key.get(claim.key)
        if newest is claim:
            # Nearly always: a process waits once at a time.
            newest = None
            if claim.sibling is None:
                del self.by_key[claim.key]
            else:
                self.by_key[claim.key] = claim.sibling
        while newest is not None:
            if newest.sibling is claim:
                newest.sibling = claim.sibling
                return
            newest = newest.sibling

    def of(self, key: int) -> list[Claim]:
        """Return the claims of one holder key, oldest first."""
        claims = []
        claim = self.by_key.get(key)
        while claim is not None:
            if claim in self:
                claims.append(claim)
            claim = claim.sibling
        return claims[::-1]

    def mend(self) -> None:
        """Make everything that can be computed anew from the lanes."""
        self.ranks[:] = sorted(-priority for priority in self.lanes)
        by_key: dict[int, Claim] = {}
        for claim in sorted(self, key=lambda claim: claim.ticket):
            claim.sibling = by_key.get(claim.key)
            by_key[claim.key] = claim
        self.by_key = by_key
