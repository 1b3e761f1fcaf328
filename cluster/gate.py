"""One lock as its engine sees it: what that says goes through the lock's combiner, as every step does."""

from __future__ import annotations

import logging
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from ..actors import process
from ..throttle.engine import Settings, Steps
from . import events
from .driver import Request
from .ledger import SharedLedger
from .losing import lose
from .operations import (
    LASTING,
    Answer,
    Fact,
    Join,
    Keep,
    Leave,
    Locked,
    Lost,
    Operation,
    Refused,
    Row,
    leaves_first,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..throttle import Rate
    from ..throttle.engine import Hold

logger = logging.getLogger("resprout.cluster")

WATCHING = 0.1
WAITING = 1.0
"""Seconds between two looks at a lock that somebody here waits for: where this process is to look after those
who hold it, and where others do."""
REMINDER = 60.0
"""Seconds after which people are told once more of what an engine does not take."""
MOST_OPERATIONS = 1000
"""In one request."""


class Gate:
    """See the module.

    Args:
        core: of the lock.
        number: no other gate of this process has it; it is in all tickets of the ledger.
        wake: told that there is something to be sent; safe anywhere.
        valid: tells whether the engine was heard of lately enough.
    """

    def __init__(
        self,
        settings: Settings,
        core: Steps,
        number: int,
        token: int,
        wake: Callable[[Gate], object],
        valid: Callable[[], bool],
    ) -> None:
        assert settings.engine is not None
        self.core = core
        self.name = settings.name
        self.engine = settings.engine
        self.number = number
        self.next_look = 0.0
        self._locked: set[int] = set()
        """What was given back and stays taken in the engine, as a transaction has asserted it. It belongs to
        the thread that talks to the engine, which is not to sleep on it.
        """
        self._told_locked: set[int] = set()
        """Of these, and of those that were just asked for again: who has been warned about."""
        self._untaken: list[Operation] = []
        """What the engine did not take and is to last, so it is said again."""
        self._why_not = ""
        self._told_at = 0.0
        """Why it did not take something, and when people were told."""
        self._watch = True
        self._tells = settings.on_lost == "tell"
        self.ledger = SharedLedger(
            settings.name,
            settings.num_slots,
            engine=settings.engine,
            first=number << 32,
            wake=lambda ledger: wake(self),
            valid=valid,
            raises=settings.on_unreachable == "raise",
            max_waiting=settings.max_waiting,
            fairness=settings.fairness,
            token=token,
        )
        self.ledger.paused = settings.paused

    # What follows runs in the thread that talks to the engine.

    @property
    def looks(self) -> bool:
        """Whether the engine is to be asked now and then, though there is nothing new to tell it."""
        return self.ledger.waits or bool(self._locked or self._untaken)

    @property
    def done(self) -> bool:
        """Whether the engine need know nothing of it any more."""
        return self.ledger.done and not (self._locked or self._untaken)

    def begin_looking(self, now: float, again: float | None) -> None:
        """Somebody waits, and nobody did before; the engine may have said when to ask again."""
        self._watch = True
        self.next_look = now + (WATCHING if again is None else min(again, WATCHING))

    def request(self, now: float) -> Request | None:
        """Collect what is to be said; None where there is nothing."""
        ledger = self.ledger
        operations: list[Operation] = []
        while ledger.outgoing and len(operations) < MOST_OPERATIONS:
            operations.append(ledger.outgoing.popleft())
        poll = now >= self.next_look and self.looks
        if poll:
            self.next_look = now + (WATCHING if self._watch else WAITING)
            # Before what was asked for later.
            operations[:0] = [*[Leave(ref) for ref in self._locked], *self._untaken]
            self._locked.clear()
            self._untaken.clear()
        if not (operations or poll):
            return None
        rate = None if ledger.meter is None else ledger.meter.rate
        return Request(self.name, ledger.num_slots, leaves_first(operations), poll, rate)

    def put_back(self, operations: list[Operation]) -> None:
        """Nobody has answered. What comes from tickets will be made anew from them."""
        self.core.decide(partial(self._put_back, [each for each in operations if isinstance(each, LASTING)]))

    def _put_back(self, operations: list[Operation]) -> bool:
        outgoing = self.ledger.outgoing
        for each in reversed(operations):
            if not any(other is each for other in outgoing):
                outgoing.appendleft(each)
        return True

    def tell(self, answer: Answer, until: float, now: float) -> None:
        """Have the ledger take note of an answer, if it is not too late for it by then."""
        if answer.watch is not None:
            self._watch = answer.watch
        if answer.again is not None:
            self.next_look = min(self.next_look, now + answer.again)
        warn = self._note_locked(answer.facts)
        self.core.tell_ledger(partial(self._answered, answer, until, warn))

    def _note_locked(self, facts: Sequence[Fact]) -> bool:
        """Whether something is locked of which nobody was told."""
        found = {each.ref for each in facts if isinstance(each, Locked)}
        self._locked |= found
        new = not found <= self._told_locked
        self._told_locked |= found
        self._told_locked &= self._locked
        return new

    def _answered(self, answer: Answer, until: float, warn: bool) -> None:
        ledger = self.ledger
        if warn:
            self.core.later(self._warn_locked)
        if monotonic() >= until:
            # All grants are void by now; what it says will be asked for anew.
            return
        lost = ledger.answered(answer, monotonic())
        if lost:
            self.core.later(partial(process.spawn, self.lose, lost))
        if ledger.redeclared is not None:
            self.core.later(partial(self._warn_redeclared, ledger.redeclared, ledger.num_slots))
            ledger.redeclared = None
        if ledger.rerated is not None:
            rate = None if ledger.meter is None else ledger.meter.rate
            self.core.later(partial(self._warn_rerated, ledger.rerated.rate, rate))
            ledger.rerated = None
        for reaped in ledger.reaped:
            self.core.later(partial(self._tell_reaped, reaped.node, reaped.claims))
        ledger.reaped.clear()

    def refuse(self, operations: Sequence[Operation], why: str) -> None:
        """The engine does not take what was said, and would not at once: who has asked for slots, or waits,
        hears that; what is given back, and what is to last, is said again later.
        """
        now = monotonic()
        if why != self._why_not or now - self._told_at >= REMINDER:
            self._why_not, self._told_at = why, now
            logger.error("lock %r: the engine does not take what is asked of it: %s", self.name, why)
        self._watch = False
        self._untaken += [each for each in operations if isinstance(each, LASTING)]
        facts: list[Fact] = []
        for each in operations:
            match each:
                case Join(ref):
                    facts.append(Refused(ref, why))
                case Keep(ref):
                    facts.append(Lost(ref))
                case Leave(ref):
                    facts.append(Locked(ref))
                case _:
                    # It lasts.
                    continue
        self._note_locked(facts)
        self.next_look = now + WAITING
        self.core.tell_ledger(partial(self._refused, facts, "" if operations else why))

    def _refused(self, facts: list[Fact], why_nobody: str) -> None:
        ledger = self.ledger
        if why_nobody:
            # Not even a look at the lock: nobody who waits for it would hear of anything.
            facts = [Refused(ref, why_nobody) for ref in ledger.waiting_there()]
        lost = ledger.answered(Answer(ledger.num_slots, ledger.paused, tuple(facts)), monotonic())
        if lost:
            self.core.later(partial(process.spawn, self.lose, lost))

    def reassert(self, rows: Mapping[int, Row], trusting: bool) -> int:
        """Say again what there is here; returns how many grants are lost."""
        self.next_look = 0.0
        self._locked.clear()
        lost = self.core.decide(partial(self.ledger.reassert, rows, trusting))
        if lost:
            process.spawn(self.lose, lost)
        return len(lost or ())

    def look_up(self, connected: Callable[[], bool]) -> None:
        """Find out whether the engine is there. Safe anywhere."""
        self.core.tell_ledger(partial(self._look_up, connected))

    def _look_up(self, connected: Callable[[], bool]) -> None:
        # Looked at in the combiner, where it is behind what was said before, and before what is said later.
        self.ledger.down = not connected()

    def gone(self) -> None:
        """The engine is away."""
        self.core.tell_ledger(lambda: self.ledger.gone(monotonic()))

    # What follows runs in processes of its own, or in threads of the pool.

    def void(self) -> int:
        """It was away for too long; returns how many grants that costs."""
        holds = self.core.decide(self.ledger.void)
        if holds:
            process.spawn(self.lose, holds)
        return len(holds or ())

    def lose(self, holds: list[Hold]) -> None:
        """Have grants end, and their holders know."""
        lose(self.core, self.ledger, holds, self._tells)

    def _warn_redeclared(self, before: int, now: int) -> None:
        logger.warning(
            "lock %r: the start before declared %d slots, this one declares %d, which it has from now on, in "
            "all processes",
            self.name,
            before,
            now,
        )

    def _warn_rerated(self, before: Rate | None, now: Rate | None) -> None:
        rates = [
            "none" if rate is None else f"{rate.per_second:g}/s burst {rate.burst}" for rate in (before, now)
        ]
        logger.warning(
            "lock %r: the start before declared the rate %s, this one declares %s, which it has from now on, "
            "in all processes",
            self.name,
            *rates,
        )

    def _warn_locked(self) -> None:
        logger.warning(
            "lock %r: a slot was given back inside a transaction that has asserted it; it is free when that "
            "ends: commit first, then release",
            self.name,
        )

    def _tell_reaped(self, node: str, claims: int) -> None:
        events.tell(events.REAPED, self.engine, {"claims": claims}, node=node, name=self.name)
