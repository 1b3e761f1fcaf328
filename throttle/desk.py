"""The desk of a lock: its ledger behind its gate, the steps of callers, and what observers are told."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from ..actors.engine import FREE_THREADED, Alarm, increase, kernel
from . import events
from .attempt import Attempt
from .caller import GRANTED, TaskCaller, ThreadCaller
from .claim import Claim, Hold
from .facts import Fact, WaiterTimedOut
from .gate import Gate, ways_in
from .ledger import Ledger
from .rate import Meter
from .settings import Settings
from .telling import Teller
from .values import Fairness, Holder, LockInfo, LockState, Waiter, heavier_than_held

if TYPE_CHECKING:
    from ..actors import Pid

T = TypeVar("T")

watched: list[Callable[[Pid, str], object]] = []
"""Who wants to know before a process takes a lock that it does not hold (see order); hardly ever anybody."""


class Desk(Teller):
    """See the module. It is a Resource, attached to every process that comes here until either ends."""

    __slots__ = ("_alarm", "attached", "gate", "ledger", "requests", "settings", "turn")

    def __init__(self, settings: Settings, token: int) -> None:
        super().__init__()
        self.settings = settings
        self.ledger = Ledger(
            settings.name,
            settings.num_slots,
            max_waiting=settings.max_waiting,
            fairness=settings.fairness,
            token=token,
        )
        self.ledger.paused = settings.paused
        self.gate = gate = Gate(self._mend)
        # For the steps that write the way in and out of the gate once more.
        self.turn = gate.turn
        self.requests = gate.requests
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
        """Look whether anybody still needs this. Inside the gate."""
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
        """Grant if it can be done this instant; None says only that a claim has to join the line.

        The way in and out of the gate is written out here, in give_back and in join: these are the price of
        a lock.
        """
        ledger = self.ledger
        key = pid.id
        hold = ledger.holders.get(key)
        if hold is not None and hold.depth > 0:
            if weight > hold.weight:
                raise heavier_than_held(hold.name, weight, hold.weight)
            if not FREE_THREADED:
                hold.depth += 1
                return hold
            if increase(hold, "depth", above=0):
                return hold
            # Another thread has just given it back.
        if key not in self.attached:
            self.attach(pid)
        if watched:
            watched[0](pid, self.settings.name)
        if ledger.line.size and ledger.orderly:
            return None
        turn = self.turn
        requests = self.requests
        token = (pid,)
        stale, hold = hold, None
        try:
            if turn.setdefault(0, token) is not token:
                return None
            if requests:
                # They came first.
                pass
            elif ledger.holders.get(key) is not stale:
                # Its process waits below a signal handler that this is in, and was granted just now.
                pass
            elif ledger.plain:
                # ledger.take(), written out.
                if stale is not None:
                    ledger.drop(stale)
                used = ledger.used + weight
                if used <= ledger.num_slots and not (ledger.line.size and ledger.orderly):
                    hold = Hold()
                    hold.book = self  # type: ignore[assignment]  # it is a Book
                    ledger.token = hold.token = ledger.token + 1
                    ledger.used = used
                    hold.name = ledger.name
                    hold.pid = pid
                    hold.key = key
                    hold.weight = weight
                    hold.since = monotonic()
                    hold.ticket = 0
                    hold.code = None
                    hold.depth = 1
                    if release_on_kill:
                        hold.release_on_kill = True
                    ledger.holders[key] = hold
            else:
                hold = ledger.take(pid, key, weight, monotonic(), release_on_kill)
                if hold is not None:
                    hold.book = self  # type: ignore[assignment]  # as well
            del turn[0]
            if requests:
                self.gate.drain()
            if self._outbox:
                self.flush()
        except BaseException:
            # What was granted is given back, and then the gate left, without a call, for which there may be
            # no room on the stack. The mend does the rest.
            if key in ledger.holders:
                try:
                    granted = ledger.holders[key]
                    if granted is not stale and granted.ticket == 0:
                        granted.depth = 0
                except KeyError:
                    pass
            inside = False
            if 0 in turn:
                try:
                    inside = turn[0] is token
                except KeyError:
                    pass
            if inside:
                requests[:0] = (self.gate.mend,)
                del turn[0]
            else:
                requests += (self.gate.mend,)
            try:
                self._recover()
            except RecursionError:
                # The kernel thread has room on its stack. (Here it is enough for what is written in C.)
                posted = kernel.posted
                posted += (self._recover,)
                try:
                    kernel.bell.release()
                except RuntimeError:
                    pass
                raise
            raise
        return hold

    def _recover(self) -> None:
        """After an exception: do what is left here, and have told what steps have left to be told."""
        try:
            self.gate.recover()
        finally:
            self.flush_elsewhere()

    def give_back(self, hold: Hold) -> None:
        """Undo one acquire of the holder; the outermost frees the slots. Never blocks, may be repeated."""
        if hold.depth > 1 and (not FREE_THREADED or increase(hold, "depth", -1, above=1)):
            if not FREE_THREADED:
                hold.depth -= 1
            if hold.depth > hold.strays:
                return
            # What is left was counted by blocks inside that are gone (see orphans).
        turn = self.turn
        requests = self.requests
        ledger = self.ledger
        token = (hold,)
        try:
            # First of all: from here on the hold is known to be over, and whoever mends the ledger takes it
            # out.
            hold.depth = 0
            if turn.setdefault(0, token) is not token:
                requests.append(partial(self._release, hold))
            else:
                if requests or not ledger.plain:
                    requests.append(partial(self._release, hold))
                elif ledger.strict and (line := ledger.line).size:
                    # The price of contention, so ledger.release() is written out for the usual case, in which
                    # the head of the line takes over the very slots. What can wait is done after the ring:
                    # meanwhile the machine wakes the other thread.
                    holders = ledger.holders
                    front = line.front
                    if (
                        front
                        and not (claim := front[0]).out
                        and claim.weight == hold.weight
                        and ledger.used == ledger.num_slots
                        and holders.get(hold.key) is hold
                        and (key := claim.key) not in holders
                        and not line.chained
                        and ((kind := claim.__class__) is ThreadCaller or kind is TaskCaller or claim.own)
                    ):
                        ledger.token = claim.token = ledger.token + 1
                        holders[key] = claim
                        if kind is ThreadCaller:
                            # claim.offer(claim), written out.
                            claim.answer = GRANTED  # type: ignore[attr-defined]  # of a ThreadCaller
                            taken = claim.depth > 0
                            if taken and (sleeper := claim.sleeper) is not None:  # type: ignore[attr-defined]  # as well
                                try:
                                    sleeper.release()
                                except RecursionError:
                                    raise
                                except RuntimeError:
                                    pass
                        else:
                            taken = claim.offer(claim)
                        # used stays, so a cut leaves it too high, until it is mended.
                        del holders[hold.key]
                        claim.since = now = monotonic()
                        if taken:
                            # line.remove(), written out for the head. Its lane may be empty now, which
                            # line.head() notices.
                            claim.out = True
                            line.size -= 1
                            del front[0], line.by_key[key]
                        else:
                            ledger.drop(claim)
                            line.remove(claim)
                            ledger.serve(now)
                    else:
                        ledger.release(hold, monotonic())
                else:
                    # ledger.release(), written out.
                    key = hold.key
                    held = ledger.holders
                    if held.get(key) is hold:
                        del held[key]
                        ledger.used -= hold.weight
                    if ledger.line.size:
                        nudged = ledger.nudged
                        # While somebody is on their way, there is nothing to do yet.
                        if nudged is None or nudged.out or hold.since >= ledger.fair_at:
                            ledger.pass_on(monotonic())
                del turn[0]
            if requests:
                self.gate.drain()
            if self._outbox:
                self.flush()
            if ledger.closed:
                self.gate.submit(self._retire)
        except BaseException:
            # As in take. The mend takes out what has been given back.
            inside = False
            if 0 in turn:
                try:
                    inside = turn[0] is token
                except KeyError:
                    pass
            if inside:
                requests[:0] = (self.gate.mend,)
                del turn[0]
            else:
                requests += (self.gate.mend,)
            try:
                self._recover()
            except RecursionError:
                # The kernel thread has room on its stack. (Here it is enough for what is written in C.)
                posted = kernel.posted
                posted += (self._recover,)
                try:
                    kernel.bell.release()
                except RuntimeError:
                    pass
                raise
            raise

    def join(self, claim: Claim) -> None:
        """Have a claim granted, put into the line, or refused; it is told."""
        # The time is an object that nobody else has, like any token.
        claim.since = now = token = monotonic()
        turn = self.turn
        requests = self.requests
        done = False
        try:
            # As in take: the short way, where nobody is inside.
            if turn.setdefault(0, token) is token:
                if not requests:
                    ledger = self.ledger
                    line = ledger.line
                    if (
                        line.size
                        and ledger.simple
                        and ledger.used >= ledger.num_slots
                        and (key := claim.key) not in ledger.holders
                        and claim.weight <= ledger.num_slots
                        and not claim.ticket
                        and line.by_key.setdefault(key, claim) is claim
                        and (lane := line.lanes.get(claim.priority)) is not None
                    ):
                        # Most claims, when there are many: ledger.join() would do nothing but line.push(),
                        # written out.
                        line.tickets = claim.ticket = line.tickets + 1
                        lane.append(claim)
                        line.size += 1
                    else:
                        ledger.join(claim, now)
                    done = True
                del turn[0]
            if not done:
                requests.append(partial(self._join, claim))
            if requests:
                self.gate.drain()
            if self._outbox:
                self.flush()
        except BaseException:
            # As in take. Whoever waits hands on what may have been granted.
            inside = False
            if 0 in turn:
                try:
                    inside = turn[0] is token
                except KeyError:
                    pass
            if inside:
                requests[:0] = (self.gate.mend,)
                del turn[0]
            try:
                self._recover()
            except RecursionError:
                # The kernel thread has room on its stack. (Here it is enough for what is written in C.)
                posted = kernel.posted
                posted += (self._recover,)
                try:
                    kernel.bell.release()
                except RuntimeError:
                    pass
                raise
            raise

    def withdraw(self, claim: Claim) -> None:
        """Take a claim out of the line."""
        self.step(partial(self._withdraw, claim))

    def now_or_never(self, pid: Pid, weight: int) -> Hold | None:
        """Grant without joining the line; waits only for whoever is inside the gate."""
        if (held := self.ledger.holders.get(pid.id)) is not None and held.depth > 0:
            return self.take(pid, weight, False)
        if pid.id not in self.attached:
            self.attach(pid)
        attempt = Attempt(self.ledger, pid, weight)
        try:
            hold = self.decide(attempt)
            if hold is not None:
                hold.book = self  # type: ignore[assignment]  # as well
            return hold
        except BaseException:
            # Through the gate's queue, since the step above may still be in it.
            self.step(attempt.undo)
            raise

    def decide(self, step: Callable[[], T]) -> T | None:
        """Do a step here and return what it decides.

        None on top of a step of this very thread, where nothing can be decided.
        """
        try:
            value = self.gate.decide(step)
            if self._outbox:
                self.flush()
        except BaseException:
            self.flush_elsewhere()
            raise
        return value

    def step(self, step: Callable[[], object]) -> None:
        """Have a step done, and told about."""
        try:
            self.gate.submit(step)
            if self._outbox:
                self.flush()
        except BaseException:
            self.flush_elsewhere()
            raise

    def timed_out(self, claim: Claim) -> None:
        """Report that somebody gave up waiting."""
        if events.somebody_listens():
            waited = monotonic() - claim.since
            events.emit(WaiterTimedOut(self.state(), waited), self.settings.name, self.ledger.num_slots)

    # What follows runs inside the gate.

    def _mend(self) -> None:
        self._hear()
        self.ledger.mend(monotonic())
        if self.ledger.closed:
            self._retire()

    def _release(self, hold: Hold) -> None:
        self.ledger.release(hold, monotonic())

    def _join(self, claim: Claim) -> None:
        self.ledger.join(claim, monotonic())

    def _withdraw(self, claim: Claim) -> None:
        self.ledger.withdraw(claim, monotonic())

    def hear(self) -> None:
        """Notice that somebody listens now, or nobody any more."""
        self.gate.submit(self._hear)

    def _hear(self) -> None:
        self.ledger.report = self._note if events.somebody_listens() else None
        self.ledger.settle()

    def _note(self, fact: Fact) -> None:
        self.later(partial(events.emit, fact, self.settings.name, self.ledger.num_slots))

    # -- rate and adaption -----------------------------------------------------

    def _shape(self, settings: Settings) -> None:
        """Give the ledger what few locks have."""
        rate, adaptive = settings.rate, settings.adaptive
        self.ledger.meter = None if rate is None else Meter(rate)
        self.ledger.ask_again = None if rate is None else self._ask_again
        self.ledger.limit = None if adaptive is None else adaptive.limit(settings.num_slots)
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
        self.gate.submit(self._serve)
        self.flush_elsewhere()

    def _serve(self) -> None:
        self.ledger.serve(monotonic())

    # -- looking ---------------------------------------------------------------

    def most(self) -> int:
        """The most slots that somebody may ask for."""
        adaptive = self.settings.adaptive
        return self.ledger.num_slots if adaptive is None else max(adaptive.max, self.ledger.num_slots)

    def state(self) -> LockState:
        """Count holders, waiters, used slots."""
        return self.gate.visit(self.ledger.state)

    def info(self) -> LockInfo:
        """Say what the lock is."""
        ledger = self.ledger
        fairness: Fairness = "strict" if ledger.strict else "eventual"
        return LockInfo(ledger.name, ledger.num_slots, ledger.max_waiting, fairness, ledger.paused)

    def list_holders(self) -> list[Holder]:
        """List who works, oldest grant first."""
        holds: list[Hold] = self.gate.visit(lambda: list(self.ledger.holders.values()))
        now = monotonic()
        holds.sort(key=lambda hold: hold.token)
        return [
            Holder(hold.pid, hold.token, hold.weight, now - hold.since, hold.straggler)
            for hold in holds
            if hold.host is None
        ]

    def list_waiters(self) -> list[Waiter]:
        """List who waits, next first."""
        claims = self.gate.visit(self.ledger.waiting)
        now = monotonic()
        return [Waiter(claim.pid, claim.priority, claim.weight, now - claim.since) for claim in claims]


ways_in.update(way.__code__ for way in (Desk.take, Desk.give_back, Desk.join))
