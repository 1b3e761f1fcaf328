"""The waiting line of a lock: by priority, then by arrival, with removal from the middle in constant time."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ...actors.engine import copied

if TYPE_CHECKING:
    from .holds import Claim

CROWD: Final = 32
"""So many that left from the middle are always borne before the lanes are swept."""
_NO_LANE: deque[Claim] = deque()
"""Stands for a lane that has just been ended; never changed."""


class WaitQueue:
    """Claims in the order in which they are to be served. Pure; whoever steps the ledger is alone with it.

    A claim is in the line if and only if it has a ticket and is not ``out``. Who leaves from the middle stays
    in their lane, marked, until they come to its front or are swept out with as many others as there are in
    the line; so every operation costs the same at any length.
    """

    __slots__ = ("_left", "by_key", "chained", "front", "lanes", "ranks", "size", "tickets")

    def __init__(self) -> None:
        self.size = 0
        """How many are in the line."""
        self.lanes: dict[int, deque[Claim]] = {}
        """By priority. All have somebody in them, or somebody who left; but the last one stays, for those
        who come."""
        self.ranks: list[int] = []
        """The negated priorities of the lanes, ascending."""
        self.front: deque[Claim] | None = None
        """The lane of the highest priority."""
        self.by_key: dict[int, Claim] = {}
        """The newest claim of each holder key; ``sibling`` leads to the one before it."""
        self.chained = False
        """Some process may wait more than once."""
        self.tickets = 0
        """How many have been given out."""
        self._left = 0
        """How many are still in a lane that have left the line."""

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Claim]:
        # Copies, since readers may look while somebody steps.
        for rank in list(self.ranks):
            for claim in copied(self.lanes.get(-rank, _NO_LANE)):
                if not claim.out:
                    yield claim

    def __contains__(self, claim: Claim) -> bool:
        return claim.ticket > 0 and not claim.out

    def head(self) -> Claim | None:
        """Return who is next, None when nobody waits."""
        if not self.size:
            return None
        while self.ranks:
            lane = self.lanes[-self.ranks[0]]
            while lane:
                claim = lane[0]
                if not claim.out:
                    return claim
                lane.popleft()
                self._left -= 1
            if len(self.ranks) == 1:
                break
            self._close(-self.ranks[0])
        return None

    def push(self, claim: Claim) -> None:
        """Put a claim behind those of its priority; once, however often it is repeated.

        Order: the index, the ticket, the lane. Cut before the last, ``mend`` finds it through the index and
        takes the ticket away.
        """
        if claim.ticket:
            return
        other = self.by_key.setdefault(claim.key, claim)
        if other is not claim:
            self.chained = True
            claim.sibling = other
            self.by_key[claim.key] = claim
        self.tickets = claim.ticket = self.tickets + 1
        try:
            lane = self.lanes[claim.priority]
        except KeyError:
            lane = self._open(claim.priority)
        lane.append(claim)
        self.size += 1

    def remove(self, claim: Claim) -> None:
        """Take a claim out; harmless when it is not in the line.

        Order: ``out`` first, which is when it has left. Cut after that, ``mend`` counts anew.
        """
        if claim.out or not claim.ticket:
            return
        claim.out = True
        self.size -= 1
        lane = self.lanes[claim.priority]
        if lane[0] is claim:
            lane.popleft()
            if not lane and len(self.ranks) > 1:
                self._close(claim.priority)
        else:
            self._left += 1
        key = claim.key
        if claim.sibling is None and self.by_key.get(key) is claim:
            # Nearly always: a process waits once at a time.
            del self.by_key[key]
        else:
            self._unchain(claim)
        if self._left > CROWD and self._left > self.size:
            self._sweep()

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
        self._sweep()
        there = {id(claim) for claim in self}
        for newest in self.by_key.values():
            claim: Claim | None = newest
            while claim is not None:
                if claim.ticket and not claim.out and id(claim) not in there:
                    # Cut on its way in.
                    claim.ticket = 0
                claim = claim.sibling
        by_key: dict[int, Claim] = {}
        for claim in sorted(self, key=lambda claim: claim.ticket):
            claim.sibling = by_key.get(claim.key)
            by_key[claim.key] = claim
        self.by_key = by_key
        self.size = len(there)
        self.chained = len(by_key) < self.size

    def _open(self, priority: int) -> deque[Claim]:
        """Begin a lane. It goes before its rank, which is never to lead into nothing."""
        lane: deque[Claim] = deque()
        self.lanes[priority] = lane
        bisect.insort(self.ranks, -priority)
        self.front = self.lanes[-self.ranks[0]]
        return lane

    def _close(self, priority: int) -> None:
        """End a lane that nobody is in; not the last one."""
        self.ranks.remove(-priority)
        self.front = self.lanes[-self.ranks[0]]
        del self.lanes[priority]

    def _sweep(self) -> None:
        """Take those out of the lanes who have left the line."""
        lanes = {}
        for priority, lane in self.lanes.items():
            still = deque([claim for claim in lane if not claim.out])
            if still:
                lanes[priority] = still
        self.lanes = lanes
        self.ranks = sorted(-priority for priority in lanes)
        self.front = lanes[-self.ranks[0]] if lanes else None
        self._left = 0

    def _unchain(self, claim: Claim) -> None:
        """Take a claim out of the chain of those with the same key."""
        newest = self.by_key.get(claim.key)
        if newest is claim:
            if claim.sibling is None:
                del self.by_key[claim.key]
            else:
                self.by_key[claim.key] = claim.sibling
        else:
            while newest is not None and newest.sibling is not claim:
                newest = newest.sibling
            if newest is not None:
                newest.sibling = claim.sibling
        self.chained = len(self.by_key) < self.size
