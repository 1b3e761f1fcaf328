"""An engine in memory, as plain as can be: what PostgreSQL does for locks, without its ways to fail."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import attrs

from resprout.cluster.operations import (
    Answer,
    Declare,
    Fact,
    Granted,
    Join,
    Keep,
    Leave,
    Lost,
    Operation,
    Pause,
    Queued,
    Redeclared,
    Refused,
    Rerated,
    Resize,
    Row,
)
from resprout.throttle import Rate
from resprout.throttle.ledger.rate import Meter


@attrs.define
class Held:
    """A claim."""

    member: int
    ref: int
    weight: int
    rank: int
    place: int
    token: int | None
    block: int = 1


@attrs.define
class ModelEngine:
    """One lock of an engine.

    Attributes:
        notices: grants to members that did not ask just now.
        quiet: it grants nothing, and takes the word of those who hold.
        clock: tokens are at least this, as they are at least the time with a real one.
        meter: of the rate. No time passes for it: what may come is a burst.
    """

    num_slots: int
    declared: int
    paused: bool = False
    token: int = 0
    places: int = 0
    clock: int = 0
    quiet: bool = False
    rate: Rate | None = None
    meter: Meter | None = None
    claims: dict[tuple[int, int], Held] = attrs.field(factory=dict)
    notices: list[tuple[int, Granted]] = attrs.field(factory=list)

    @property
    def used(self) -> int:
        return sum(each.weight for each in self.claims.values() if each.token is not None)

    @property
    def line(self) -> list[Held]:
        waiting = [each for each in self.claims.values() if each.token is None]
        return sorted(waiting, key=lambda each: (each.rank, each.place))

    @property
    def light(self) -> list[Held]:
        """Who in the line does not ask for more than there is. The others will hear of that and give up."""
        return [each for each in self.line if each.weight <= self.num_slots]

    def snapshot(self) -> ModelEngine:
        return copy.deepcopy(self)

    def rows(self, member: int) -> dict[int, Row]:
        return {
            each.ref: Row(each.token, each.place) for each in self.claims.values() if each.member == member
        }

    def step(self, member: int, operations: Sequence[Operation], poll: bool) -> Answer:
        facts: list[Fact] = []
        for operation in operations:
            facts += self._do(member, operation)
        facts += self._serve(member)
        if poll:
            mine = [each for each in self.claims.values() if each.member == member]
            facts += [Granted(each.ref, each.token) for each in mine if each.token is not None]
        return Answer(self.num_slots, self.paused, tuple(facts), True if poll else None)

    def reap(self, member: int) -> None:
        for key in [key for key in self.claims if key[0] == member]:
            del self.claims[key]

    def _next_token(self, block: int) -> int:
        # No more of them than time passes, as with a real one.
        first = max(self.token, self.clock) + 1
        self.clock += block
        self.token = first + block - 1
        return first

    def _do(self, member: int, operation: Operation) -> list[Fact]:
        match operation:
            case Join():
                return [self._join(member, operation)]
            case Leave(ref):
                self.claims.pop((member, ref), None)
            case Keep(ref, token, weight, priority, _, block):
                there = self.claims.get((member, ref))
                if self.quiet and (there is None or there.token is None):
                    self.claims[member, ref] = Held(member, ref, weight, -priority, 0, token, block)
                    self.token = max(self.token, token + block - 1)
                elif there is None or there.token != token:
                    return [Lost(ref)]
            case Declare(num_slots, _, rate):
                return self._declare(num_slots, rate)
            case Resize(num_slots):
                self.num_slots = num_slots
            case Pause(paused):
                self.paused = paused
        return []

    def _may_come(self, weight: int) -> bool:
        """Whether the rate allows it; counts it if so."""
        if self.meter is None:
            return True
        if self.meter.wait(weight, 0.0) > 0.0:
            return False
        self.meter.spend(weight, 0.0)
        return True

    def _declare(self, num_slots: int, rate: Rate | None) -> list[Fact]:
        facts: list[Fact] = []
        if rate != self.rate:
            facts.append(Rerated(self.rate))
            self.rate = rate
            self.meter = None if rate is None else Meter(rate)
        if num_slots != self.declared:
            facts.append(Redeclared(self.declared))
            self.declared = self.num_slots = num_slots
        return facts

    def _join(self, member: int, join: Join) -> Fact:
        there = self.claims.get((member, join.ref))
        if there is not None:
            return Queued(join.ref, there.place) if there.token is None else Granted(join.ref, there.token)
        rank = -join.priority
        free = self.used + join.weight <= self.num_slots
        if join.weight > self.num_slots:
            return Refused(join.ref, "heavy")
        first = all(each.rank > rank for each in self.light)
        if free and first and not (self.quiet or self.paused) and self._may_come(join.weight):
            token = self._next_token(join.block)
            self.claims[member, join.ref] = Held(member, join.ref, join.weight, rank, 0, token, join.block)
            return Granted(join.ref, token)
        if join.once:
            return Refused(join.ref, "busy")
        if join.max_waiting is not None and len(self.line) >= join.max_waiting:
            return Refused(join.ref, "full")
        if join.place is None:
            self.places += 1
        place = self.places if join.place is None else join.place
        self.claims[member, join.ref] = Held(member, join.ref, join.weight, rank, place, None, join.block)
        return Queued(join.ref, place)

    def _serve(self, member: int) -> list[Fact]:
        facts: list[Fact] = []
        while not (self.quiet or self.paused) and (line := self.light):
            head = line[0]
            if self.used + head.weight > self.num_slots or not self._may_come(head.weight):
                break
            head.token = self._next_token(head.block)
            granted = Granted(head.ref, head.token)
            if head.member == member:
                facts.append(granted)
            else:
                self.notices.append((head.member, granted))
        return facts
