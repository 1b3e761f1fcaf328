"""A lock of the process that this one is a placed child of: the parent's ledger decides, and is asked over
the pipe.

Who holds here and who waits here is known here, as with any engine (see `ledger`). There is no lock process
in the child, as nothing of it can crash by itself: this lasts as long as the pipe.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from ..actors import LockNotFound, process
from ..supervision.engine import LOCKS, ask_parent, parents
from ..throttle.engine import LockCore, Settings, table
from .ledger import LONGEST_WHO, SharedLedger
from .losing import lose
from .operations import Granted, Leave, Operation, Pause, Resize
from .pipe_messages import (
    Claimed,
    Denied,
    Ended,
    Given,
    Open,
    Opened,
    Paused,
    Resized,
    ToChild,
    ToParent,
    Void,
)
from .settings import this_node

if TYPE_CHECKING:
    from ..throttle import LockInfo
    from ..throttle.engine import Claim, Hold, Outcome
    from .tickets import Ticket

PARENT = "the parent process"
"""What such a lock calls its engine."""
_numbers = itertools.count(1)
by_number: dict[int, ParentLock] = {}
"""The locks, by what their tickets begin with."""


def tell_parent(message: ToParent) -> None:
    """Tells the parent something. Never waits; safe anywhere."""
    if parents:
        parents[0].tell(LOCKS, pickle.dumps(message))


def ask(name: str) -> Opened | None:
    """Asks the parent what a lock is; None where it has none of that name, or is gone. One round trip."""
    answer = ask_parent(LOCKS, pickle.dumps(Open(name, this_node())))
    opened: Opened | None = None if answer is None else pickle.loads(answer)
    return opened


def parent_lives() -> bool:
    """Whether the parent is there, without which no grant is good."""
    return bool(parents) and parents[0].open


class Outcomes:
    """What of an adaptive lock is done where the work is: judging how it ended. The parent has the limit."""

    def __init__(self, ledger: ParentLedger, dropped: tuple[type[BaseException], ...]) -> None:
        self._ledger = ledger
        self.dropped = dropped

    def released(self, since: float, now: float, used: int, outcome: Outcome) -> int:
        """Changes nothing here."""
        return self._ledger.num_slots

    def resized(self, num_slots: int, now: float) -> None:
        """Changes nothing here."""


class ParentLedger(SharedLedger):
    """What is known here of a lock of the parent's.

    It refuses nothing by itself: how many slots there are, and how many may wait, is the parent's to know.
    """

    __slots__ = ()

    def __init__(self, name: str, num_slots: int, first: int) -> None:
        super().__init__(
            name,
            num_slots,
            engine=PARENT,
            first=first,
            wake=lambda ledger: None,
            valid=parent_lives,
        )
        self.down = False

    def turned_away(self, claim: Claim) -> bool:
        return False

    def _say_join(self, ticket: Ticket) -> None:
        claim = ticket.claim
        who = str(claim.pid)[:LONGEST_WHO]
        tell_parent(Claimed(self.name, ticket.ref, claim.weight, claim.priority, claim.once, who))

    def _post(self, operation: Operation) -> None:
        match operation:
            case Leave(ref):
                ticket = self.tickets.get(ref)
                hold = None if ticket is None else ticket.hold
                asserted = ticket is not None and ticket.asserted
                tell_parent(Ended(ref, "ignored" if hold is None else hold.outcome, asserted))
            case Resize(num_slots):
                tell_parent(Resized(self.name, num_slots))
            case Pause(paused):
                tell_parent(Paused(self.name, paused))
            case _:
                # A declaration: the parent has its own.
                return

    def pause(self, paused: bool, answered: bool, now: float) -> None:
        self._post(Pause(paused))
        self.paused = paused

    def told(self, message: ToChild, now: float) -> list[Hold]:
        """Take note of what the parent says. May be repeated.

        Returns:
            Holds that are over, which are to be lost.
        """
        ticket = self.tickets.get(message.ref)
        lost: list[Hold] = []
        match message:
            case Given(ref, token):
                if ticket is None:
                    # It has left, and said so; or its number came to nothing, in a step that was cut.
                    tell_parent(Ended(ref, "ignored"))
                else:
                    self._note(Granted(ref, token), now)
            case Denied(_, error):
                if ticket is not None and ticket.first is None:
                    self._refuse(ticket, pickle.loads(error) if error else self._no_slot(ticket.claim))
            case Void(ref):
                lost += [hold for held, hold in self._holds().items() if held == ref]
        self.serve(now)
        return lost


class ParentLock(LockCore):
    """The core of such a lock."""

    __slots__ = ("number", "schema")

    in_parent = True

    def __init__(self, opened: Opened) -> None:
        # Wanted by the engine, which makes the ledger.
        self.number = next(_numbers)
        info = opened.info
        super().__init__(Settings(info.name, info.num_slots, engine=PARENT, on_lost=opened.on_lost), table)
        by_number[self.number] = self
        self.schema: str | None = None
        self.reopen(opened)

    def reopen(self, opened: Opened) -> None:
        """The parent has the lock, or has it again, or another of that name."""
        step = partial(self._open, opened)
        if self.decide(step) is None:
            # On top of a step of this very thread, which goes on afterwards.
            self.step(step)

    def _open(self, opened: Opened) -> bool:
        self.schema = opened.schema
        ledger = self.ledger
        assert isinstance(ledger, ParentLedger)
        ledger.num_slots = opened.info.num_slots
        ledger.limit = Outcomes(ledger, _classes(opened.dropped))
        ledger.adopt(monotonic())
        self._hear()
        return True

    def most(self) -> int:
        return sys.maxsize

    def info(self) -> LockInfo:
        """Asks the parent: one round trip."""
        name = self.settings.name
        opened = ask(name)
        if opened is None:
            raise LockNotFound(name)
        return opened.info

    def told(self, message: ToChild) -> None:
        """The parent has said something of a claim. From a place where no user code may run."""
        self.tell_ledger(partial(self._told, message))

    def _told(self, message: ToChild) -> None:
        ledger = self.ledger
        assert isinstance(ledger, ParentLedger)
        lost = ledger.told(message, monotonic())
        if lost:
            self.later(partial(process.spawn, lose, self, ledger, lost, self.settings.on_lost == "tell"))

    def parent_has_none(self) -> None:
        """There is no such lock there any more."""
        self.tell_ledger(self._close)

    def parent_died(self) -> None:
        """Nothing is good any more."""
        self.tell_ledger(self._void)

    def _void(self) -> None:
        ledger = self.ledger
        assert isinstance(ledger, ParentLedger)
        self._close()
        lost = ledger.void()
        if lost:
            self.later(partial(process.spawn, lose, self, ledger, lost, self.settings.on_lost == "tell"))


def _classes(dropped: bytes) -> tuple[type[BaseException], ...]:
    try:
        classes: tuple[type[BaseException], ...] = pickle.loads(dropped)
    except Exception:
        # Of modules that the child has not.
        return ()
    return classes
