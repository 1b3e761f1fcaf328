"""The slot ledger: who holds a lock, who waits for it, who is next. Pure: no threads, no clock, no logging.

A ledger outlives the lock process, as an ETS table with an heir outlives its owner. Whoever has its combiner
steps it; nobody else touches it. A step may be cut off between any two bytecodes (a KeyboardInterrupt in the
thread that carries it out), so each is ordered such that what it leaves is either as before, or wrong only on
the safe side and put right by ``mend``:

* ``used`` is raised before a hold is written and lowered after it is taken out: cut in between, too few slots
  are given, never too many.
* A grant writes the hold, then tells the claim, then takes the claim out of the line. Cut after the first,
  ``mend`` finds a claim in the line whose hold exists (it has the claim's ticket) and tells it; cut after the
  second, telling it again changes nothing.
* A release sets ``depth`` to 0 first. From then on the hold is known to be given back, and ``mend`` takes it
  out if nobody else did.
* A claim that gave up is marked so by whoever waits, outside; that its offer fails is how a step finds out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors import LockNotFound, QueueFull
from .adaptive_limits import Limit, judge
from .changes import Change, LockAcquired, LockReleased, LockWaiting, SlotsAdapted, WaiterShed
from .holds import Claim, Hold
from .rate import Meter
from .sharing import Shared
from .values import Fairness, LockState, heavier_than_held, too_heavy
from .wait_queue import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...actors import Pid

PATIENCE = 0.001
"""Seconds between two hand-overs to the head of the line, in a lock with ``fairness="eventual"``."""


class Ledger(Shared):
    """Slots of one lock in memory. See the module for the order of steps."""

    remote = False
    """Somebody elsewhere decides who is next, so an answer takes its time."""

    __slots__ = (
        "ask_again",
        "closed",
        "core",
        "fair_at",
        "granting",
        "limit",
        "max_waiting",
        "meter",
        "nudged",
        "num_slots",
        "orderly",
        "paused",
        "plain",
        "queue",
        "report",
        "simple",
        "strict",
        "token",
    )

    def __init__(
        self,
        name: str,
        num_slots: int,
        *,
        max_waiting: int | None = None,
        fairness: Fairness = "strict",
        token: int = 0,
    ) -> None:
        self.name = name
        self.num_slots = num_slots
        self.max_waiting = max_waiting
        self.strict = fairness == "strict"
        self.holders: dict[int, Hold] = {}
        self.guests = 0
        self.used = 0
        self.token = token
        self.queue = WaitQueue()
        self.core: Any = None
        """The core of the lock, to which a grant is given back."""
        self.granting = False
        self.paused = False
        """Nobody is granted, whoever answers for the lock."""
        self.closed = False
        self.fair_at = 0.0
        self.nudged: Claim | None = None
        """With eventual fairness: while this one is in the line, nobody else need be woken before fair_at."""
        self.meter: Meter | None = None
        """Of a lock with a rate: a grant needs a free slot and credit."""
        self.limit: Limit | None = None
        """Of an adaptive lock: finds the number of slots."""
        self.ask_again: Callable[[float], object] | None = None
        """Told when the line is to be served anew, since the rate allows nothing until then."""
        self.report: Callable[[Change], object] | None = None
        """Told what has happened, when somebody wants to know."""
        self.orderly = self.strict
        """Nobody may overtake: always with strict fairness, and with eventual fairness while one waits whose
        turn it was and for whom too few slots were free."""
        self.plain = False
        """Nothing counts but slots: it grants, has no rate, limit or guests, and nobody listens."""
        self.simple = False
        """It is plain, and who finds a line joins it: strict fairness and no limit to its length."""

    def settle(self) -> None:
        """Look whether it is plain; after any change to what makes it so."""
        special = self.meter is not None or self.limit is not None or self.report is not None
        self.plain = self.granting and not special and not self.guests
        self.orderly = self.strict or self.orderly
        self.simple = self.plain and self.strict and self.max_waiting is None

    # -- granting --------------------------------------------------------------

    def take(self, pid: Pid, key: int, weight: int, now: float, release_on_kill: bool = False) -> Hold | None:
        """Grant at once, overtaking nobody (with eventual fairness: whoever comes); else None."""
        used = self.used + weight
        if used > self.num_slots or (self.queue.size and self.orderly):
            return None
        stale = self.holders.get(key)
        if stale is not None:
            if stale.depth > 0:
                # Its process waits below a signal handler that this is in, and was granted just now.
                return None
            # Given back, and whoever was to take it out was cut off.
            self.drop(stale)
            used = self.used + weight
        if not self.plain and (not self.granting or not self._spend(weight, now)):
            return None
        self.token = token = self.token + 1
        self.used = used
        hold = Hold()
        hold.core = self.core
        hold.name = self.name
        hold.token = token
        hold.pid = pid
        hold.key = key
        hold.weight = weight
        hold.since = now
        hold.ticket = 0
        hold.code = None
        hold.depth = 1
        if release_on_kill:
            hold.release_on_kill = True
        self.holders[key] = hold
        if self.report is not None:
            self.report(LockAcquired(self.state(), 0.0))
        return hold

    def _spend(self, weight: int, now: float) -> bool:
        """Take credit from the rate; False when there is not enough."""
        if self.meter is None:
            return True
        if self.meter.wait(weight, now) > 0.0:
            return False
        self.meter.spend(weight, now)
        return True

    def join(self, claim: Claim, now: float) -> None:
        """Grant, or put into the line, or refuse."""
        queue = self.queue
        if claim in queue:
            return
        if self.closed:
            claim.refuse(LockNotFound(self.name))
            return
        held = self.holders.get(claim.key)
        if held is not None:
            if held.depth > 0:
                # A repeated step (it was cut after the grant) comes here too, and must not count as a
                # nesting.
                if held.ticket == 0 or held.ticket != claim.ticket:
                    self._nest(claim, held)
                return
            # Given back, and whoever was to take it out was cut off.
            self.drop(held)
        if claim.weight > self.num_slots and self.limit is None and not self.remote:
            claim.refuse(too_heavy(self.name, claim.weight, self.num_slots))
            return
        full = self.max_waiting is not None and len(self.queue) >= self.max_waiting
        if full and not self._fits(claim, now):
            claim.refuse(QueueFull(self.name, self.max_waiting))
            if self.report is not None:
                self.report(WaiterShed(self.state()))
            return
        queue.push(claim)
        if not self.orderly and claim in queue and self._room(claim.weight) and self._credit(claim, now):
            self._grant(claim, now)
        self.serve(now)
        if self.report is not None and claim in queue:
            self.report(LockWaiting(self.state()))

    def _fits(self, claim: Claim, now: float) -> bool:
        """Tell whether the claim would be granted at once."""
        head = self.queue.head()
        first = not self.orderly or head is None or claim.priority > head.priority
        credit = self.meter is None or self.meter.wait(claim.weight, now) == 0.0
        return first and credit and self._room(claim.weight)

    def _room(self, weight: int) -> bool:
        if self.used + weight <= self.num_slots:
            return self.granting
        # An adaptive lock may have shrunk below the weight of somebody who waits: they are let in alone.
        return self.granting and self.limit is not None and self.used == 0

    def _credit(self, claim: Claim, now: float) -> bool:
        """Tell whether the rate allows a grant now; if not, have the line served when it does."""
        if self.meter is None:
            return True
        left = self.meter.wait(claim.weight, now)
        if left > 0.0 and self.ask_again is not None:
            self.ask_again(now + left)
        return left == 0.0

    def serve(self, now: float) -> None:
        """Grant to the head of the line, as long as it fits. Nobody overtakes a heavy head."""
        queue = self.queue
        while queue.size and self.granting and self.used < self.num_slots:
            head = queue.head()
            if head is None:
                return
            if self.used + head.weight > self.num_slots and not self._room(head.weight):
                return
            if self.meter is not None and not self._credit(head, now):
                return
            self._grant(head, now)

    def _grant(self, claim: Claim, now: float) -> None:
        """Give slots to a claim in the line, or take the claim out if it has given up."""
        key = claim.key
        holders = self.holders
        held = holders.get(key)
        if held is not None and held.depth > 0:
            # Its process got a slot through another claim meanwhile (a signal handler that waits on top of
            # its thread).
            self._nest(claim, held)
            self.queue.remove(claim)
            return
        if held is not None:
            self.drop(held)
        if self.meter is not None:
            self.meter.spend(claim.weight, now)
        if not self.strict:
            self.orderly = False
        waited = now - claim.since
        self.used += claim.weight
        hold = self._fill(claim, now)
        holders[key] = hold
        taken = claim.offer(hold)
        if not taken:
            self.drop(hold)
            if self.meter is not None:
                self.meter.refund(claim.weight)
        self.queue.remove(claim)
        if not taken:
            return
        if self.report is not None:
            self.report(LockAcquired(self.state(), waited))
        if key not in self.queue.by_key:
            return
        for sibling in self.queue.of(key):
            self._nest(sibling, hold)
            self.queue.remove(sibling)

    def _fill(self, claim: Claim, now: float) -> Hold:
        """Make the hold that a claim is granted: itself, or another that looks the same."""
        hold: Hold = claim
        if not claim.own:
            hold = Hold()
            hold.name = self.name
            hold.pid = claim.pid
            hold.key = claim.key
            hold.weight = claim.weight
            hold.ticket = claim.ticket
            hold.code = None
            hold.depth = 1
            if claim.release_on_kill:
                hold.release_on_kill = True
        self.token = hold.token = self.token + 1
        hold.since = now
        return hold

    def _nest(self, claim: Claim, held: Hold) -> None:
        if claim.weight > held.weight:
            claim.refuse(heavier_than_held(self.name, claim.weight, held.weight))
            return
        # It counts the nesting itself, when it goes on: the depth belongs to the holder's own code.
        claim.shared = True
        claim.offer(held)

    # -- giving back -----------------------------------------------------------

    def drop(self, hold: Hold) -> bool:
        """Take a hold out without serving anybody; False when it was out already."""
        hold.depth = 0
        key = hold.key
        if self.holders.get(key) is not hold:
            return False
        if hold.guests and self._bequeath(hold):
            del self.holders[key]
        else:
            del self.holders[key]
            self.used -= hold.weight
        if hold.host is not None:
            hold.host.guests = tuple([each for each in hold.host.guests if each is not hold])
        if self.guests:
            self._count_guests()
        return True

    def give_back(self, hold: Hold, now: float) -> bool:
        """Take a hold out and report it; False when it was out already."""
        used = self.used
        if not self.drop(hold):
            return False
        if self.used == used:
            # A guest has gone, or one goes on in these slots.
            return False
        if self.limit is not None:
            slots = self.limit.released(hold.since, now, self.used + hold.weight, hold.outcome)
            if slots != self.num_slots:
                self.num_slots = slots
                if self.report is not None:
                    self.report(SlotsAdapted(self.state(), slots, now - hold.since))
        if self.report is not None:
            # As ex_sleeplock counts: whoever is served by this release waits no longer.
            state = self.state()
            head = self.queue.head()
            if head is not None and self._room(head.weight):
                state = LockState(state.running, state.waiting - 1, state.used)
            outcome = None if self.limit is None else hold.outcome
            self.report(LockReleased(state, now - hold.since, outcome))
        return True

    def judge(self, hold: Hold, error: BaseException) -> None:
        """Have an adaptive lock learn what an exception says; outside the combiner, by the holder's own code.

        What was said by hand stands. Of a nested acquire or a guest, whose exception may be handled before
        the hold ends, only a drop counts.
        """
        nested = hold.depth > 1 or hold.host is not None
        hold = hold.host or hold
        if self.limit is not None and hold.outcome == "success":
            outcome = judge(error, self.limit.dropped)
            if outcome == "dropped" or not nested:
                hold.outcome = outcome

    def release(self, hold: Hold, now: float) -> bool:
        """Take a hold out and serve the next; False when it was out already."""
        dropped = self.give_back(hold, now)
        self.pass_on(now)
        return dropped

    def pass_on(self, now: float) -> None:
        """Serve the line after slots came free.

        With eventual fairness the head is only woken to try, at most one at a time, while whoever runs may
        come again first; but every millisecond a hand-over is for the head alone, so that nobody waits for
        ever.
        """
        queue = self.queue
        if not queue.size:
            return
        if self.orderly or now >= self.fair_at:
            self.fair_at = now + PATIENCE
            self.nudged = None
            before = self.token
            self.serve(now)
            # Its turn, but too few slots are free: from now on they are kept for it.
            self.orderly = self.strict or (self.token == before and queue.size > 0 and self.granting)
        else:
            self._nudge()

    def _nudge(self) -> None:
        while (head := self.queue.head()) is not None and not head.nudged:
            head.nudged = True
            self.nudged = head
            if head.nudge():
                return
            # Nobody is left who could wake.
            self.queue.remove(head)

    def retry(self, claim: Claim, now: float) -> None:
        """A nudged claim tries for a free slot, and keeps its place when there is none."""
        claim.nudged = False
        self.nudged = None
        if claim in self.queue and self._room(claim.weight) and self._credit(claim, now):
            self._grant(claim, now)
            if self.used < self.num_slots:
                # Others may have released while this one was on its way; their slots are for the next.
                self._nudge()

    def withdraw(self, claim: Claim, now: float) -> bool:
        """Take a claim out. Others may have waited behind it, or relied on its being nudged."""
        waited = claim in self.queue
        self.queue.remove(claim)
        self.serve(now)
        return waited

    def rekey(self, hold: Hold, pid: Pid, key: int) -> None:
        """Make another process the holder (a job was given to a worker).

        Order: found under the new key first, lost under the old one last; ``mend`` keeps one entry a hold.
        """
        old = hold.key
        self.holders[key] = hold
        hold.key = key
        hold.pid = pid
        if old != key and self.holders.get(old) is hold:
            del self.holders[old]

    # -- deaths ----------------------------------------------------------------

    def holder_died(self, key: int, now: float) -> None:
        """Its claims go; its hold stays until it has left, unless it wanted otherwise."""
        claims = self.queue.of(key)
        for claim in claims:
            self.queue.remove(claim)
        hold = self.holders.get(key)
        if hold is not None:
            hold.straggler = True
            if hold.depth > 0 and hold.outcome == "success":
                # How long it was held says when its holder died.
                hold.outcome = "ignored"
            if hold.release_on_kill:
                self.give_back(hold, now)
        self.serve(now)

    def holder_left(self, key: int, now: float) -> Hold | None:
        """Free what it held."""
        self.holder_died(key, now)
        hold = self.holders.get(key)
        if hold is not None:
            self.give_back(hold, now)
        self.serve(now)
        return hold

    # -- the whole -------------------------------------------------------------

    def resize(self, num_slots: int, now: float) -> None:
        """Change the number of slots; fewer than are used drain, nothing is cancelled."""
        self.num_slots = num_slots
        if self.limit is not None:
            self.limit.resized(num_slots, now)
        for claim in [claim for claim in self.queue if claim.weight > num_slots]:
            claim.refuse(too_heavy(self.name, claim.weight, num_slots))
            self.queue.remove(claim)
        self.serve(now)

    def pause(self, paused: bool, answered: bool, now: float) -> None:
        """Grant nothing to anybody new until it is over; ``answered``: a lock process is there."""
        self.paused = paused
        self.granting = answered and not paused and not self.closed
        self.settle()
        self.serve(now)

    def suspend(self) -> None:
        """Nobody is granted until the next lock process adopts."""
        self.simple = self.plain = self.granting = False

    def adopt(self, now: float) -> None:
        """Put everything right and go on granting in the old order."""
        self.closed = False
        self.granting = not self.paused
        self.settle()
        self.mend(now)

    def mend(self, now: float) -> None:
        """Repair what a step that was cut off left (see the module), and serve whom it did not come to."""
        for ended in list(self.holders.values()):
            if ended.depth <= 0 and ended.guests:
                self._bequeath(ended)
        holds = {hold.key: hold for hold in self.holders.values() if hold.depth > 0}
        self.holders = holds
        self._count_guests()
        self.queue.mend()
        by_ticket = {hold.ticket: hold for hold in holds.values() if hold.ticket}
        for claim in list(self.queue):
            if claim.own and claim.depth <= 0:
                # Granted and given back, before whoever granted it could take it out.
                self.queue.remove(claim)
                continue
            # By the ticket: a job's hold may be under the key of its worker by now.
            hold = by_ticket.get(claim.ticket)
            if hold is not None:
                if not claim.offer(hold):
                    del holds[hold.key]
                self.queue.remove(claim)
            elif (held := holds.get(claim.key)) is not None:
                # Its process was granted a slot through another claim, and this one was not told.
                self._nest(claim, held)
                self.queue.remove(claim)
            elif claim.nudged:
                # Its wake-up may have been lost.
                claim.nudge()
        self.used = sum([hold.weight for hold in holds.values()])
        self.serve(now)

    def close(self) -> None:
        """Refuse everybody who waits, now or later. Holders keep what they have."""
        self.closed = True
        self.simple = self.plain = self.granting = False
        for claim in list(self.queue):
            claim.refuse(LockNotFound(self.name))
            self.queue.remove(claim)

    def state(self) -> LockState:
        """Count."""
        return LockState(len(self.holders) - self.guests, len(self.queue), self.used)

    def waiting(self) -> Iterable[Claim]:
        """Return the claims in the order in which they will be served."""
        return list(self.queue)
