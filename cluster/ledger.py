"""The ledger of a lock that an engine keeps for several processes. Pure: no threads, no clock, no logging.

Everything local stays local: who holds, nesting, the line, waking, stragglers, the workers of ``execute``.
One row a claim lives in the engine. A claim that joins the line here gets a *ticket*, and the engine is asked
for its slots; it is granted when the engine has said so, in the order in which it did. Whatever leaves (a
claim that gave up, a hold that is given back) is told to the engine without waiting.

Tickets are matched by number, never by the key of a holder: a job's hold changes its key while it is offered.

With eventual fairness a grant comes with a block of tokens, and for a short time its slots may go from hand
to hand in this process without a word to the engine: whoever is first in the line here takes over the ticket
of the hold that is given back, with the next token, and cancels its own.

Steps may be cut between any two bytecodes, as all steps of a ledger. A ticket is noted before its claim is
asked for, marked after that, and forgotten after it was told to be over, so what a cut leaves is told twice
rather than never; and ``mend`` asks for whatever is not marked, and gives up every ticket that is neither in
the line nor held.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..actors import CallTimeout, QueueFull
from ..throttle.engine import (
    Claim,
    EngineDown,
    Hold,
    Ledger,
    LockLost,
    WaiterShed,
    WaiterTimedOut,
    too_heavy,
)
from .errors import EngineRefused
from .line import Line
from .operations import (
    LASTING,
    Answer,
    Declare,
    Granted,
    Join,
    Keep,
    Leave,
    Locked,
    Lost,
    Operation,
    Pause,
    Queued,
    Reaped,
    Redeclared,
    Refused,
    Rerated,
    Resize,
    Row,
)
from .tickets import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..actors import Pid
    from ..throttle.engine import Fairness

BLOCK = 32
"""So many tokens come with a grant of a lock with eventual fairness: so many holders share a round trip, and
at 30,000 grants a second tokens are still behind the clock in microseconds, from which an engine goes on that
has lost everything.
"""
HAND_ON = 0.05
"""Seconds in which slots may go from hand to hand here, after the engine has granted them."""
MOST = 2**53 - 1
"""The largest number that every engine can keep."""
LONGEST_WHO = 200


class SharedLedger(Ledger):
    """See the module.

    Args:
        engine: its name.
        first: no ticket has this number, or a lower one.
        wake: told that there is something to be sent; safe anywhere.
        valid: tells whether the engine was heard of lately enough.
        raises: while the engine is away, waiters are refused.
        block: so many tokens are asked for with each grant if the fairness is eventual.
    """

    __slots__ = (
        "_block",
        "_fresh",
        "_raises",
        "_valid",
        "_wake",
        "down",
        "engine",
        "granted",
        "outgoing",
        "reaped",
        "redeclared",
        "rerated",
        "tickets",
    )

    remote = True

    def __init__(
        self,
        name: str,
        num_slots: int,
        *,
        engine: str,
        first: int,
        wake: Callable[[SharedLedger], object],
        valid: Callable[[], bool],
        raises: bool = False,
        max_waiting: int | None = None,
        fairness: Fairness = "strict",
        token: int = 0,
        block: int = BLOCK,
    ) -> None:
        super().__init__(name, num_slots, max_waiting=max_waiting, fairness=fairness, token=token)
        self.engine = engine
        self.queue = Line(self, first)
        self.tickets: dict[int, Ticket] = {}
        self.granted: dict[int, Ticket] = {}
        """By the engine, but not here yet, in the order in which it said so."""
        self.outgoing: deque[Operation] = deque()
        """What the engine is to be told, oldest first."""
        self.down = True
        """The engine is away."""
        self.redeclared: int | None = None
        """What the start before said of the number of slots, if that was something else."""
        self.rerated: Rerated | None = None
        """The same of its rate."""
        self.reaped: list[Reaped] = []
        self._block = block
        self._fresh = True
        self._wake = wake
        self._valid = valid
        self._raises = raises

    def settle(self) -> None:
        # No fast path is for this one: all of them fall through to its methods.
        self.plain = self.simple = False

    # -- granting --------------------------------------------------------------

    def take(self, pid: Pid, key: int, weight: int, now: float, release_on_kill: bool = False) -> Hold | None:
        """Nothing is granted this instant: the engine decides."""
        return None

    def turned_away(self, claim: Claim) -> bool:
        """Refuse a claim for which the engine is not asked."""
        if abs(claim.priority) > MOST:
            claim.refuse(
                ValueError(
                    f"expected priority to be between -2**53 and 2**53 with an engine, got: {claim.priority}"
                )
            )
        elif self.down and (self._raises or claim.once):
            claim.refuse(self._away(claim))
        else:
            return False
        return True

    def ask(self, claim: Claim) -> None:
        """Ask the engine for the slots of a claim that is in the line. May be repeated."""
        ticket = self.tickets.get(claim.ticket)
        if ticket is None:
            ticket = self.tickets[claim.ticket] = Ticket(claim)
        self._say_join(ticket)
        ticket.asked = True

    def _say_join(self, ticket: Ticket) -> None:
        self._post(self._join_of(ticket))

    def _join_of(self, ticket: Ticket, place: int | None = None) -> Join:
        claim = ticket.claim
        return Join(
            ticket.ref,
            claim.weight,
            claim.priority,
            claim.once,
            self.max_waiting,
            str(claim.pid)[:LONGEST_WHO],
            place,
            self._block if self._hands_on else 1,
        )

    @property
    def _hands_on(self) -> bool:
        """Whether slots may go from hand to hand here. Not with a rate: the engine counts each grant."""
        return not self.strict and self.meter is None

    def _post(self, operation: Operation) -> None:
        self.outgoing.append(operation)
        self._wake(self)

    def _fits(self, claim: Claim, now: float) -> bool:
        # The engine counts who waits, of all processes; so many in this one alone are too many anyway.
        waiting = sum([ticket.place is not None and ticket.first is None for ticket in self.tickets.values()])
        return self.max_waiting is None or waiting < self.max_waiting

    def _room(self, weight: int) -> bool:
        return False

    def serve(self, now: float) -> None:
        """Grant to those whose tickets the engine has granted, in its order."""
        granted = self.granted
        while granted and self.granting:
            ref, ticket = next(iter(granted.items()))
            claim = ticket.claim
            if claim.ticket == ref and claim in self.queue:
                self._grant(claim, now)
            else:
                self._over(ref)
            granted.pop(ref, None)

    def _fill(self, claim: Claim, now: float) -> Hold:
        hold = super()._fill(claim, now)
        ticket = self.tickets[claim.ticket]
        hold.token = ticket.token
        hold.valid = self._valid
        ticket.hold = hold
        return hold

    def pass_on(self, now: float) -> None:
        # Whatever the fairness: nobody here knows of a free slot but the engine.
        self.serve(now)

    # -- giving back -----------------------------------------------------------

    def give_back(self, hold: Hold, now: float) -> bool:
        heir = self._heir_of(hold, now)
        if heir is None:
            return super().give_back(hold, now)
        # In this order. Until the claim has the ticket, a cut leaves a ticket of nobody, which is given up,
        # and a claim that waits on; from then on, a claim that was granted, and a ticket of nobody again. The
        # hold is out first: the ticket must never seem to be its own and the claim's.
        ticket = self.tickets[hold.ticket]
        ticket.hold = None
        released = super().give_back(hold, now)
        ticket.claim = heir
        ticket.passed += 1
        self.granted[ticket.ref] = ticket
        own, heir.ticket = heir.ticket, ticket.ref
        self._over(own)
        return released

    def _heir_of(self, hold: Hold, now: float) -> Claim | None:
        """Who in the line here is to go on with slots that are given back; None if the engine decides."""
        if not (self._hands_on and self.granting) or self.paused or self.used > self.num_slots:
            return None
        ticket = self.tickets.get(hold.ticket)
        if ticket is None or ticket.hold is not hold or self.holders.get(hold.key) is not hold:
            return None
        used_up = now >= ticket.until or ticket.passed + 1 >= self._block or not self._valid()
        if used_up or hold.guests or ticket.asserted or hold.lost is not None:
            return None
        head = self.queue.head()
        if head is None or head.once or head.weight != hold.weight or head.ticket in self.granted:
            return None
        return head if self.holders.get(head.key) in (None, hold) else None

    def note_assertion(self, hold: Hold) -> bool:
        """A transaction is to go on only with a hold; false if that is over. Outside the combiner, by the
        holder's own code: noted first, so that what is given back meanwhile is not handed on.
        """
        ticket = self.tickets.get((hold.host or hold).ticket)
        if ticket is not None:
            ticket.asserted = True
        return ticket is not None and hold.depth > 0

    def left_the_line(self, claim: Claim) -> None:
        """A claim is out of the line: it was granted, or has to be given up."""
        ticket = self.tickets.get(claim.ticket)
        if ticket is not None and ticket.claim is claim and ticket.hold is None:
            self._over(ticket.ref)

    def drop(self, hold: Hold) -> bool:
        dropped = super().drop(hold)
        ticket = self.tickets.get(hold.ticket)
        if ticket is not None and ticket.hold is not None and not self._goes_on(ticket, hold):
            self._over(ticket.ref)
        return dropped

    def _goes_on(self, ticket: Ticket, hold: Hold) -> bool:
        """Whether another hold has taken over from one that is out."""
        heir = self.holders.get(hold.key)
        if heir is not None and heir.ticket == ticket.ref:
            return True
        heir = ticket.hold
        return heir is not None and heir is not hold and self.holders.get(heir.key) is heir

    def _holds(self) -> dict[int, Hold]:
        """What is held, by ticket."""
        return {hold.ticket: hold for hold in self.holders.values() if hold.ticket in self.tickets}

    def _over(self, ref: int) -> None:
        """Tell the engine that a ticket is over. In this order: told twice rather than never."""
        if ref in self.tickets:
            self._post(Leave(ref))
            self.granted.pop(ref, None)
            self.tickets.pop(ref, None)

    def _refuse(self, ticket: Ticket, error: BaseException) -> None:
        claim = ticket.claim
        if claim.ticket == ticket.ref and claim in self.queue:
            claim.refuse(error)
            self.queue.remove(claim)
        self._over(ticket.ref)

    def _no_slot(self, claim: Claim) -> CallTimeout:
        if self.report is not None:
            self.report(WaiterTimedOut(self.state(), 0.0))
        return CallTimeout(f"lock {self.name!r} gave {claim.pid} no slot within 0 s")

    def _away(self, claim: Claim) -> BaseException:
        return EngineDown(self.engine) if self._raises else self._no_slot(claim)

    # -- several in one hold, and from hand to hand -----------------------------

    def transfer(self, hold: Hold, heir: Hold) -> None:
        ticket = self.tickets.get(hold.ticket)
        heir.ticket = hold.ticket
        heir.valid = hold.valid
        if ticket is not None:
            ticket.hold = heir
        super().transfer(hold, heir)

    def admit(self, host: Hold, guest: Hold, now: float, alone: bool) -> Hold | None:
        guest.valid = self._valid
        return super().admit(host, guest, now, alone)

    def _bequeath(self, host: Hold) -> bool:
        if not super()._bequeath(host):
            return False
        for heir in host.guests:
            if heir.host is None and self.holders.get(heir.key) is heir:
                heir.ticket = host.ticket
                ticket = self.tickets.get(host.ticket)
                if ticket is not None:
                    ticket.hold = heir
        return True

    # -- the whole -------------------------------------------------------------

    def resize(self, num_slots: int, now: float) -> None:
        self._post(Resize(num_slots))
        super().resize(num_slots, now)

    def pause(self, paused: bool, answered: bool, now: float) -> None:
        """Have the engine grant nothing more, to anybody; what it has granted is let in."""
        self._post(Pause(paused))
        self.paused = paused
        self.granting = answered and not self.closed
        self.serve(now)

    def adopt(self, now: float) -> None:
        if self.closed or self._fresh:
            # A start; a lock process that is only restarted declares nothing.
            rate = None if self.meter is None else self.meter.rate
            self._post(Declare(self.num_slots, self.paused, rate))
            self._fresh = False
        self.closed = False
        self.granting = True
        self.settle()
        self.mend(now)

    def mend(self, now: float) -> None:
        """Put right what a cut left, and give up every ticket that is neither in the line nor held."""
        tickets = self.tickets
        for ticket in tickets.values():
            hold = ticket.hold
            if hold is not None and self.holders.get(hold.key) is not hold:
                ticket.hold = None
        for hold in list(self.holders.values()):
            if hold.ticket in tickets:
                tickets[hold.ticket].hold = hold
        super().mend(now)
        alive = {claim.ticket for claim in self.queue}
        alive.update(hold.ticket for hold in self.holders.values())
        for ref in [ref for ref in tickets if ref not in alive]:
            self._over(ref)
        for claim in self.queue:
            ticket_of_it = tickets.get(claim.ticket)
            if ticket_of_it is None or not ticket_of_it.asked:
                self.ask(claim)
        self._wake(self)

    @property
    def waits(self) -> bool:
        """Whether anybody waits for the engine."""
        return any(ticket.hold is None for ticket in list(self.tickets.values()))

    def waiting_there(self) -> list[int]:
        """The tickets of those who wait for the engine."""
        return [ref for ref, ticket in self.tickets.items() if ticket.hold is None and ticket.first is None]

    @property
    def done(self) -> bool:
        """Whether the engine need know nothing of it any more."""
        return self.closed and not self.tickets and not self.outgoing

    # -- the engine ------------------------------------------------------------

    def answered(self, answer: Answer, now: float) -> list[Hold]:
        """Take note of what the engine says. May be repeated.

        Returns:
            Holds that are over, which are to be lost.
        """
        if self.num_slots != answer.num_slots and not self._is_sending(Resize, Declare):
            super().resize(answer.num_slots, now)
        if not self._is_sending(Pause, Declare):
            self.paused = answer.paused
        lost = [hold for fact in answer.facts if (hold := self._note(fact, now)) is not None]
        self.serve(now)
        return lost

    def _is_sending(self, *kinds: type) -> bool:
        """Whether what the engine says is older than what it will be told."""
        return any(isinstance(each, kinds) for each in list(self.outgoing))

    def _note(self, fact: object, now: float) -> Hold | None:
        match fact:
            case Granted(ref, token):
                ticket = self.tickets.get(ref)
                if ticket is None:
                    return None
                if ticket.first is None:
                    ticket.first = token
                    ticket.until = now + HAND_ON
                    self.granted[ref] = ticket
            case Queued(ref, place):
                ticket = self.tickets.get(ref)
                if ticket is not None and ticket.first is None:
                    ticket.place = place
                    if ticket.claim.once:
                        self._refuse(ticket, self._no_slot(ticket.claim))
            case Refused(ref, why):
                ticket = self.tickets.get(ref)
                if ticket is not None and ticket.first is None:
                    self._refuse(ticket, self._error(ticket.claim, why))
            case Lost(ref):
                return self._holds().get(ref)
            case Locked():
                # Here it is given back; whoever talks to the engine says so until that has done it.
                return None
            case Redeclared(num_slots):
                self.redeclared = num_slots
            case Rerated():
                self.rerated = fact
            case Reaped():
                self.reaped.append(fact)
            case _:
                raise AssertionError(fact)
        return None

    def _error(self, claim: Claim, why: str) -> BaseException:
        if why == "heavy":
            return too_heavy(self.name, claim.weight, self.num_slots)
        if why == "full":
            if self.report is not None:
                self.report(WaiterShed(self.state()))
            return QueueFull(self.name, self.max_waiting)
        return self._no_slot(claim) if why == "busy" else EngineRefused(self.engine, why)

    def gone(self, now: float) -> None:
        """The engine is away: nothing is granted, who waits waits on (or is refused, if that is wanted)."""
        self.down = True
        for ticket in list(self.tickets.values()):
            if ticket.hold is None and ticket.first is None and (self._raises or ticket.claim.once):
                self._refuse(ticket, self._away(ticket.claim))

    def void(self) -> list[Hold]:
        """The engine was not heard of for so long that it may have given all slots to others.

        Returns:
            Holds that are to be lost.
        """
        for ref in list(self.granted):
            self.tickets[ref].first = None
            del self.granted[ref]
        return list(self._holds().values())

    def reassert(self, rows: Mapping[int, Row], trusting: bool) -> list[Hold]:
        """The engine is back: say again what there is here, and find out what is gone there. May be repeated.

        Args:
            rows: what it has of this process for this lock, by ticket.
            trusting: it may have lost grants in a crash, and takes the word of those who hold them.

        Returns:
            Holds that are to be lost.
        """
        self.down = False
        lost = []
        holds = self._holds()
        outgoing: deque[Operation] = deque([each for each in self.outgoing if isinstance(each, LASTING)])
        for ref in sorted(self.tickets):
            ticket = self.tickets[ref]
            row = rows.get(ref)
            there = None if row is None else row.token
            if ticket.first is not None and there == ticket.first:
                continue
            hold = holds.get(ref)
            if ticket.first is not None and trusting:
                claim = ticket.claim
                who = str((hold or claim).pid)[:LONGEST_WHO]
                block = self._block if self._hands_on else 1
                outgoing.append(Keep(ref, ticket.first, claim.weight, claim.priority, who, block))
            elif hold is not None:
                lost.append(hold)
            elif there is not None and trusting:
                # It never heard of that. It may have been somebody else's since, of which the engine has lost
                # the memory, and who says so; so it goes back to its place in the line.
                outgoing += (Leave(ref), self._join_of(ticket, None if row is None else row.place))
            elif there is not None:
                ticket.first = there
                self.granted[ref] = ticket
            else:
                self.granted.pop(ref, None)
                ticket.first = None
                if row is not None:
                    ticket.place = row.place
                else:
                    outgoing.append(self._join_of(ticket, ticket.place if trusting else None))
        outgoing.extend(Leave(ref) for ref in rows if ref not in self.tickets)
        self.outgoing = outgoing
        self._wake(self)
        return lost

    def lose(self, holds: list[Hold], now: float) -> list[tuple[Pid, LockLost]]:
        """Take out holds that are over there. May be repeated.

        Returns:
            Who is to be told, and what.
        """
        told: list[tuple[Pid, LockLost]] = []
        for hold in holds:
            for each in (*hold.guests, hold):
                if each.lost is None and (each.depth <= 0 or self.holders.get(each.key) is not each):
                    continue
                if each.lost is None:
                    each.lost = LockLost(self.name, each.token)
                told.append((each.pid, each.lost))
                each.code = None
                each.depth = 0
                self.give_back(each, now)
        self.serve(now)
        return told
