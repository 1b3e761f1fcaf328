"""The steps of a lock's callers: its ledger behind its combiner, and what observers are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from ...actors.engine import FREE_THREADED, Alarm, increase, kernel
from ..ledger.adaptive_limits import limit_of
from ..ledger.attempt import Attempt
from ..ledger.changes import Change, WaiterTimedOut
from ..ledger.holds import Claim, Hold
from ..ledger.rate import Meter
from ..ledger.values import Fairness, Holder, LockInfo, LockState, Waiter, heavier_than_held
from . import events
from .combiner import Combiner, ways_in
from .engines import make_ledger
from .outbox import Outbox
from .settings import MOST_SLOTS, Settings

if TYPE_CHECKING:
    from ...actors import Pid

T = TypeVar("T")

watched: list[Callable[[Pid, str], object]] = []
"""Who wants to know before a process takes a lock that it does not hold (see lock_order); hardly anybody."""


class LockSteps(Outbox):
    """See the module. It is a Resource, attached to every process that comes here until either ends."""

    __slots__ = (
        "_alarm",
        "attached",
        "combiner",
        "ledger",
        "settings",
    )

    def __init__(self, settings: Settings, token: int) -> None:
        super().__init__()
        self.settings = settings
        self.ledger = make_ledger(settings, self, token)
        self.ledger.paused = settings.paused
        self.ledger.core = self
        self.combiner = Combiner(self._mend, self._recover)
        self._alarm: Alarm | None = None
        self._shape(settings)
        self.attached: dict[int, Pid] = {}
        """Processes that this is attached to; they stay when they release, since they will come again."""

    def __repr__(self) -> str:
        state = self.ledger.state()
        slots = self.ledger.num_slots
        return f"<lock {self.settings.name!r}: {state.used} of {slots} slots used, {state.waiting} waiting>"

    def owner_died(self, pid: Pid, reason: object) -> None:
        """A holder or waiter is dead."""
        raise NotImplementedError

    def owner_left(self, pid: Pid) -> None:
        """No code of it runs any more."""
        raise NotImplementedError

    def _retire(self) -> None:
        """Look whether anybody still needs this. Inside the combiner."""
        raise NotImplementedError

    # -- steps of callers ------------------------------------------------------

    def attach(self, pid: Pid) -> None:
        """Be told when a process dies; before anything is granted to it, so that no death is missed."""
        pid.attach(self)
        # Afterwards, or an interrupt in between would be the last time that anybody tried.
        self.attached[pid.id] = pid
        if pid._gone:
            self.attached.pop(pid.id, None)

    def take(self, pid: Pid, weight: int, release_on_kill: bool) -> Hold | None:
        """Grant if it can be done this instant; None says only that a claim has to join the line."""
        ledger = self.ledger
        key = pid.id
        stale = ledger.holders.get(key)
        if stale is not None and stale.depth > 0:
            if weight > stale.weight:
                raise heavier_than_held(stale.name, weight, stale.weight)
            if not FREE_THREADED:
                stale.depth += 1
                return stale
            if increase(stale, "depth", above=0):
                return stale
            # Another thread has just given it back.
        if key not in self.attached:
            self.attach(pid)
        if watched:
            watched[0](pid, self.settings.name)
        if ledger.queue.size and ledger.orderly:
            return None
        combiner = self.combiner
        token = (pid,)
        hold = None
        try:
            if not combiner.enter(token):
                combiner.drain()
                return None
            if ledger.holders.get(key) is stale:
                # Otherwise its process waits below a signal handler that this is in, and was just granted.
                hold = ledger.take(pid, key, weight, monotonic(), release_on_kill)
            combiner.leave()
            if self._outbox:
                self.flush()
        except BaseException:
            # What was granted is given back.
            granted = ledger.holders.get(key)
            if granted is not None and granted is not stale and granted.ticket == 0:
                granted.depth = 0
            combiner.repair(token)
            raise
        return hold

    def give_back(self, hold: Hold) -> None:
        """Undo one acquire of the holder; the outermost frees the slots. Never blocks, may be repeated."""
        if hold.depth > 1 and (not FREE_THREADED or increase(hold, "depth", -1, above=1)):
            if not FREE_THREADED:
                hold.depth -= 1
            if hold.depth > hold.strays:
                return
            # What is left was counted by blocks inside that are gone (see orphans).
        try:
            # From now on the hold is known to be over: whoever mends the ledger takes it out.
            hold.depth = 0
            self.step(partial(self._release, hold))
        except BaseException:
            self.combiner.repair(hold)
            raise

    def join(self, claim: Claim) -> None:
        """Have a claim granted, put into the line, or refused; it is told."""
        claim.since = monotonic()
        self.step(partial(self._join, claim))

    def withdraw(self, claim: Claim) -> None:
        """Take a claim out of the line."""
        self.step(partial(self._withdraw, claim))

    def now_or_never(self, pid: Pid, weight: int) -> Hold | None:
        """Grant without joining the line; waits only for whoever is inside the combiner."""
        if (held := self.ledger.holders.get(pid.id)) is not None and held.depth > 0:
            return self.take(pid, weight, False)
        if pid.id not in self.attached:
            self.attach(pid)
        attempt = Attempt(self.ledger, pid, weight)
        try:
            return self.decide(attempt)
        except BaseException:
            # Through the combiner's queue, since the step above may still be in it.
            self.step(attempt.undo)
            raise

    def decide(self, step: Callable[[], T]) -> T | None:
        """Do a step here and return what it decides.

        None on top of a step of this very thread, where nothing can be decided.
        """
        decided: T | None = self._do(self.combiner.decide, step)
        return decided

    def step(self, step: Callable[[], object]) -> None:
        """Have a step done, by whoever is inside if need be."""
        self._do(self.combiner.submit, step)

    def _do(self, way: Callable[[Any], Any], step: Callable[[], object]) -> Any:
        """Have a step done in a way of the combiner, and told about."""
        try:
            value = way(step)
            if self._outbox:
                self.flush()
        except BaseException:
            self.flush_elsewhere()
            raise
        return value

    def tell_ledger(self, step: Callable[[], object]) -> None:
        """Have a step done from a place where no user code may run."""
        self.combiner.submit(step)
        self.flush_elsewhere()

    def deadline(self, timeout: float) -> float | None:
        """Say until when somebody waits; None where an answer is waited for, however long that takes."""
        return None if timeout == 0 and self.ledger.remote else monotonic() + timeout

    def _recover(self) -> None:
        """After an exception: do what is left here, and have told what steps have left to be told."""
        try:
            self.combiner.drain()
        finally:
            self.flush_elsewhere()

    def timed_out(self, claim: Claim) -> None:
        """Report that somebody gave up waiting."""
        if events.somebody_listens():
            waited = monotonic() - claim.since
            events.emit(WaiterTimedOut(self.state(), waited), self.settings.name, self.ledger.num_slots)

    # What follows runs inside the combiner.

    def _mend(self) -> None:
        self._hear()
        self.ledger.mend(monotonic())
        if self.ledger.closed:
            self._retire()

    def _release(self, hold: Hold) -> None:
        """Take out what is given back. May be repeated."""
        self.ledger.release(hold, monotonic())
        if self.ledger.closed:
            self._retire()

    def _join(self, claim: Claim) -> None:
        self.ledger.join(claim, monotonic())

    def _withdraw(self, claim: Claim) -> None:
        self.ledger.withdraw(claim, monotonic())

    def hear(self) -> None:
        """Notice that somebody listens now, or nobody any more."""
        self.combiner.submit(self._hear)

    def _hear(self) -> None:
        self.ledger.report = self._note if events.somebody_listens() else None
        self.ledger.settle()

    def _note(self, change: Change) -> None:
        self.later(partial(events.emit, change, self.settings.name, self.ledger.num_slots))

    # -- rate and adaption -----------------------------------------------------

    def _shape(self, settings: Settings) -> None:
        """Give the ledger what few locks have."""
        rate, adaptive = settings.rate, settings.adaptive
        self.ledger.meter = None if rate is None else Meter(rate)
        self.ledger.ask_again = None if rate is None else self._ask_again
        self.ledger.limit = None if adaptive is None else limit_of(adaptive, settings.num_slots)
        self.ledger.settle()

    def _ask_again(self, when: float) -> None:
        """Serve the line at a time; the earliest alarm is enough, since every step that serves asks anew."""
        alarm = self._alarm
        if alarm is not None and alarm.pending:
            if alarm.at <= when:
                return
            alarm.cancel()
        self._alarm = kernel.at(when, self._serve_late)

    def _serve_late(self) -> None:
        # In the kernel thread, which runs no user code.
        self.combiner.submit(self._serve)
        self.flush_elsewhere()

    def _serve(self) -> None:
        self.ledger.serve(monotonic())

    # -- looking ---------------------------------------------------------------

    def most(self) -> int:
        """The most slots that somebody may ask for; how many there are on an engine, that has to say."""
        if self.ledger.remote:
            return MOST_SLOTS
        adaptive = self.settings.adaptive
        return self.ledger.num_slots if adaptive is None else max(adaptive.max, self.ledger.num_slots)

    def state(self) -> LockState:
        """Count holders, waiters, used slots."""
        return self.combiner.visit(self.ledger.state)

    def info(self) -> LockInfo:
        """Say what the lock is."""
        ledger = self.ledger
        fairness: Fairness = "strict" if ledger.strict else "eventual"
        engine = self.settings.engine
        return LockInfo(ledger.name, ledger.num_slots, ledger.max_waiting, fairness, ledger.paused, engine)

    def list_holders(self) -> list[Holder]:
        """List who works, oldest grant first."""
        holds: list[Hold] = self.combiner.visit(lambda: list(self.ledger.holders.values()))
        now = monotonic()
        holds.sort(key=lambda hold: hold.token)
        return [
            Holder(hold.pid, hold.token, hold.weight, now - hold.since, hold.straggler)
            for hold in holds
            if hold.host is None
        ]

    def list_waiters(self) -> list[Waiter]:
        """List who waits, next first."""
        claims = self.combiner.visit(self.ledger.waiting)
        now = monotonic()
        return [Waiter(claim.pid, claim.priority, claim.weight, now - claim.since) for claim in claims]


ways_in.add(LockSteps.take.__code__)
