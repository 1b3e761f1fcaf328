"""The ledger of a lock with an engine: single rules, and sequences against an engine that delays, reorders
between sessions, repeats and loses what it says.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from resprout.actors import CallTimeout, QueueFull
from resprout.cluster.ledger import HAND_ON, SharedLedger
from resprout.cluster.operations import (
    Answer,
    Declare,
    Granted,
    Join,
    Keep,
    Leave,
    Operation,
    Pause,
    Queued,
    Refused,
    Resize,
    Row,
    leaves_first,
)
from resprout.throttle import EngineDown, LockLost, Rate
from resprout.throttle.engine import Fairness
from resprout.throttle.ledger.holds import Claim, Hold
from resprout.throttle.ledger.rate import Meter

from ..interrupting import Interrupter
from .model_engine import ModelEngine


class Cut(BaseException):
    """What a KeyboardInterrupt is in real life."""


class Asked(Claim):
    """A claim that notes what it is told; its hold may change its key as it is offered, as a job's does."""

    gave_up = False
    ledger: Any = None
    moves_to: int | None = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.holds: list[Hold] = []
        self.errors: list[BaseException] = []

    def offer(self, hold: Hold) -> bool:
        if self.gave_up:
            return False
        if hold not in self.holds:
            self.holds.append(hold)
        if self.moves_to is not None:
            self.ledger.rekey(hold, hold.pid, self.moves_to)
        return True

    def refuse(self, error: BaseException) -> None:
        self.errors.append(error)

    def nudge(self) -> bool:
        return True

    @property
    def hold(self) -> Hold:
        return self.holds[-1]


def ledger_of(num_slots: int = 2, **options: Any) -> SharedLedger:
    ledger = SharedLedger(
        "lock", num_slots, engine="shared", first=0, wake=lambda ledger: None, valid=lambda: True, **options
    )
    ledger.adopt(0.0)
    ledger.reassert({}, False)
    return ledger


def join(ledger: SharedLedger, key: int, weight: int = 1, priority: int = 0) -> Asked:
    claim = Asked(SimpleNamespace(id=key), key, weight, priority)
    claim.ledger = ledger
    ledger.join(claim, 0.0)
    return claim


def sent(ledger: SharedLedger) -> list[Operation]:
    operations = list(ledger.outgoing)
    ledger.outgoing.clear()
    return operations


def tell(ledger: SharedLedger, *facts: Any, num_slots: int = 2) -> list[Hold]:
    return ledger.answered(Answer(num_slots, False, facts), 1.0)


def test_a_claim_is_granted_when_the_engine_has_said_so_and_with_its_token() -> None:
    ledger = ledger_of()
    assert sent(ledger) == [Declare(2, False)]
    assert ledger.take(SimpleNamespace(id=1), 1, 1, 0.0) is None
    claim = join(ledger, 1)
    (asked,) = sent(ledger)
    assert isinstance(asked, Join)
    assert not claim.holds
    tell(ledger, Granted(asked.ref, 77))
    assert claim.hold.token == 77
    assert ledger.state().running == 1
    ledger.release(claim.hold, 2.0)
    assert sent(ledger) == [Leave(asked.ref)]
    assert not ledger.tickets


def test_a_claim_that_is_cut_anywhere_as_it_joins_is_asked_for() -> None:
    """It stood in the line then, with a ticket that the engine had never heard of, until it gave up."""
    asked = Interrupter(("/cluster/ledger",))
    for number in asked.everywhere(least=5):
        ledger = ledger_of()
        claim = Asked(SimpleNamespace(id=1), 1, 1, 0)
        if asked(number, partial(ledger.join, claim, 0.0)):
            # As the combiner does: what is cut is mended, then repeated.
            ledger.mend(0.0)
            ledger.join(claim, 0.0)
        assert claim in ledger.queue
        assert claim.ticket in {each.ref for each in ledger.outgoing if isinstance(each, Join)}
        assert set(ledger.tickets) == {claim.ticket}


def test_what_is_given_back_is_said_first_and_what_is_over_before_it_was_said_not_at_all() -> None:
    come, go = Join(1, 1, 0, False, None, "w"), Join(2, 1, 0, False, None, "w")
    kept = Keep(3, 7, 1, 0, "w")
    said = leaves_first([come, Resize(2), Leave(5), go, kept, Leave(2), Leave(3), Pause(True), Leave(6)])
    assert said == [Leave(5), Leave(2), Leave(3), Leave(6), come, Resize(2), Pause(True)]
    # Who comes anew is told behind that.
    assert leaves_first([Leave(1), come]) == [Leave(1), come]
    assert leaves_first([come, Leave(1), come]) == [Leave(1), come]


def test_claims_are_granted_in_the_order_that_the_engine_tells_and_not_in_that_of_the_line() -> None:
    ledger = ledger_of()
    first, second = join(ledger, 1), join(ledger, 2)
    tell(ledger, Granted(second.ticket, 5))
    assert second.holds
    assert not first.holds


def test_a_job_is_matched_by_its_ticket_since_its_hold_changes_its_key_while_it_is_offered() -> None:
    ledger = ledger_of(1)
    job = join(ledger, -7)
    job.moves_to = 40
    sent(ledger)
    tell(ledger, Granted(job.ticket, 5), num_slots=1)
    assert list(ledger.holders) == [40]
    ledger.mend(1.0)
    assert sent(ledger) == []
    ledger.release(job.hold, 2.0)
    assert sent(ledger) == [Leave(job.ticket)]


def test_what_is_told_twice_is_granted_once() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    ref = claim.ticket
    tell(ledger, Granted(ref, 5), Granted(ref, 5))
    hold = claim.hold
    ledger.release(hold, 2.0)
    tell(ledger, Granted(ref, 5))
    assert not ledger.holders


def test_who_leaves_the_line_is_cancelled_and_a_grant_on_its_way_to_it_is_nobodys() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    ref = claim.ticket
    sent(ledger)
    ledger.withdraw(claim, 1.0)
    assert sent(ledger) == [Leave(ref)]
    tell(ledger, Granted(ref, 5))
    assert not ledger.holders


def test_a_grant_that_meets_somebody_who_gave_up_goes_back() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    claim.gave_up = True
    sent(ledger)
    tell(ledger, Granted(claim.ticket, 5))
    assert sent(ledger) == [Leave(claim.ticket)]
    assert not ledger.holders


def test_grants_that_arrive_while_no_lock_process_answers_wait_for_the_adoption() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    ledger.suspend()
    tell(ledger, Granted(claim.ticket, 5))
    assert not claim.holds
    sent(ledger)
    ledger.adopt(2.0)
    assert claim.hold.token == 5
    assert sent(ledger) == []


def test_a_nested_claim_asks_no_engine() -> None:
    ledger = ledger_of()
    outer = join(ledger, 1)
    tell(ledger, Granted(outer.ticket, 5))
    sent(ledger)
    inner = join(ledger, 1)
    assert inner.hold is outer.hold
    assert sent(ledger) == []


def test_pause_and_resize_are_the_engines_and_what_it_has_granted_is_let_in() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    sent(ledger)
    ledger.pause(True, True, 1.0)
    ledger.resize(5, 1.0)
    assert sent(ledger) == [Pause(True), Resize(5)]
    tell(ledger, Granted(claim.ticket, 5), num_slots=5)
    assert claim.holds
    assert ledger.num_slots == 5


def test_a_number_of_slots_that_another_process_has_changed_is_heard_of() -> None:
    ledger = ledger_of(3)
    heavy = join(ledger, 1, weight=3)
    sent(ledger)
    tell(ledger, num_slots=1)
    assert ledger.num_slots == 1
    assert "at most the num_slots of lock 'lock', which is 1, got: 3" in str(heavy.errors[0])
    assert sent(ledger) == [Leave(heavy.ticket)]


def test_a_lock_process_that_is_started_again_declares_nothing_and_a_new_life_does() -> None:
    ledger = ledger_of(2)
    sent(ledger)
    ledger.suspend()
    ledger.adopt(1.0)
    assert sent(ledger) == []
    ledger.close()
    ledger.num_slots = 4
    ledger.adopt(2.0)
    assert sent(ledger) == [Declare(4, False)]


@pytest.mark.parametrize(
    ("why", "error"), [("full", QueueFull), ("busy", CallTimeout), ("heavy", ValueError)]
)
def test_a_refusal_of_the_engine_is_an_error_of_the_house(why: str, error: type[Exception]) -> None:
    ledger = ledger_of(max_waiting=1)
    claim = join(ledger, 1)
    tell(ledger, Refused(claim.ticket, why))
    assert isinstance(claim.errors[0], error)
    assert not ledger.queue.size


def test_a_claim_that_does_not_wait_is_refused_when_the_engine_has_put_it_into_its_line() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    claim.once = True
    sent(ledger)
    tell(ledger, Queued(claim.ticket, 3))
    assert isinstance(claim.errors[0], CallTimeout)
    assert sent(ledger) == [Leave(claim.ticket)]


def test_this_process_alone_may_have_too_many_waiters_and_the_engine_is_not_asked() -> None:
    ledger = ledger_of(max_waiting=1)
    first, second = join(ledger, 1), join(ledger, 2)
    assert not second.errors  # nobody knows yet which of them will wait
    tell(ledger, Queued(first.ticket, 1), Queued(second.ticket, 2))
    third = join(ledger, 3)
    assert isinstance(third.errors[0], QueueFull)


def test_who_waits_goes_on_waiting_while_the_engine_is_away_unless_that_is_not_wanted() -> None:
    patient, hasty = ledger_of(), ledger_of(raises=True)
    waiting = [join(ledger, 1) for ledger in (patient, hasty)]
    patient.gone(1.0)
    hasty.gone(1.0)
    waiting += [join(ledger, 2) for ledger in (patient, hasty)]
    assert [[type(error) for error in claim.errors] for claim in waiting] == [
        [],
        [EngineDown],
        [],
        [EngineDown],
    ]


def test_a_grant_that_is_void_is_over_and_its_holder_is_told() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    tell(ledger, Granted(claim.ticket, 5))
    told = ledger.lose(ledger.void(), 2.0)
    assert [(pid.id, lost) for pid, lost in told] == [(1, LockLost("lock", 5))]
    assert not ledger.holders
    assert not claim.hold.held
    assert claim.hold.lost == LockLost("lock", 5)


def test_a_grant_that_was_not_delivered_before_it_was_void_is_asked_for_again() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    ledger.suspend()
    tell(ledger, Granted(claim.ticket, 5))
    assert ledger.void() == []
    sent(ledger)
    assert ledger.reassert({}, False) == []
    (asked,) = sent(ledger)
    assert isinstance(asked, Join)
    assert asked.ref == claim.ticket


def test_after_a_cut_connection_grants_and_places_are_what_they_were() -> None:
    ledger = ledger_of()
    holder, waiter, granted = (join(ledger, key) for key in (1, 2, 3))
    tell(ledger, Granted(holder.ticket, 5), Queued(waiter.ticket, 9), Queued(granted.ticket, 10))
    sent(ledger)
    rows = {holder.ticket: Row(5, 0), waiter.ticket: Row(None, 9), granted.ticket: Row(6, 10), 99: Row(7, 0)}
    assert ledger.reassert(rows, False) == []
    assert sent(ledger) == [Leave(99)]
    ledger.serve(2.0)
    assert granted.hold.token == 6
    assert not waiter.holds


def test_a_grant_whose_row_is_gone_is_lost_unless_the_engine_is_another_one() -> None:
    ledger = ledger_of()
    holder, waiter = join(ledger, 1), join(ledger, 2, priority=3)
    tell(ledger, Granted(holder.ticket, 5), Queued(waiter.ticket, 9))
    sent(ledger)
    assert ledger.reassert({}, True) == []
    kept, asked = sent(ledger)
    assert isinstance(kept, Keep)
    assert (kept.ref, kept.token) == (holder.ticket, 5)
    assert isinstance(asked, Join)
    assert (asked.place, asked.priority) == (9, 3)
    assert ledger.reassert({}, False) == [holder.hold]


def test_a_hold_that_goes_to_another_process_keeps_its_ticket() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    tell(ledger, Granted(claim.ticket, 5))
    sent(ledger)
    heir = Hold()
    heir.name, heir.pid, heir.key, heir.ticket, heir.code, heir.depth = (
        "lock",
        SimpleNamespace(id=2),
        2,
        0,
        None,
        1,
    )  # type: ignore[assignment]  # of no process
    ledger.transfer(claim.hold, heir)
    ledger.mend(1.0)
    assert sent(ledger) == []
    ledger.release(heir, 2.0)
    assert sent(ledger) == [Leave(claim.ticket)]


def test_slots_that_a_guest_goes_on_with_stay_taken_until_it_ends() -> None:
    ledger = ledger_of()
    claim = join(ledger, 1)
    tell(ledger, Granted(claim.ticket, 5))
    sent(ledger)
    guest = Hold()
    guest.pid, guest.key, guest.ticket, guest.code, guest.depth = SimpleNamespace(id=2), -2, 0, None, 1  # type: ignore[assignment]  # of no process
    assert ledger.admit(claim.hold, guest, 1.0, False) is guest
    ledger.release(claim.hold, 2.0)
    ledger.mend(2.0)
    assert sent(ledger) == []
    ledger.release(guest, 3.0)
    assert sent(ledger) == [Leave(claim.ticket)]


def eventual(num_slots: int = 1) -> SharedLedger:
    return ledger_of(num_slots, fairness="eventual", block=3)


def test_with_eventual_fairness_what_is_given_back_goes_to_who_waits_here_with_the_next_token() -> None:
    ledger = eventual()
    first, second = join(ledger, 1), join(ledger, 2)
    asked = [each for each in sent(ledger) if isinstance(each, Join)]
    assert [each.block for each in asked] == [3, 3]
    own = second.ticket
    tell(ledger, Granted(first.ticket, 5), Queued(own, 7), num_slots=1)
    ledger.release(first.hold, 1.01)
    assert second.hold.token == 6
    assert sent(ledger) == [Leave(own)]
    tell(ledger, Granted(own, 9), num_slots=1)  # it was on its way
    ledger.release(second.hold, 1.02)
    assert sent(ledger) == [Leave(first.ticket)]
    assert not ledger.tickets
    assert not ledger.holders


@pytest.mark.parametrize("why", ["late", "used up", "paused", "asserted", "heavier", "rate"])
def test_what_is_given_back_is_the_engines_otherwise(why: str) -> None:
    ledger = eventual(2)
    if why == "rate":
        ledger.meter = Meter(Rate(1000.0, 10))
    first, second = join(ledger, 1), join(ledger, 2, weight=2 if why == "heavier" else 1)
    tell(ledger, Granted(first.ticket, 5), Queued(second.ticket, 7))
    if why == "used up":
        ledger.tickets[first.ticket].passed = 2
    elif why == "paused":
        ledger.paused = True
    elif why == "asserted":
        assert ledger.note_assertion(first.hold)
    sent(ledger)
    ledger.release(first.hold, 1.0 + HAND_ON if why == "late" else 1.01)
    assert sent(ledger) == [Leave(first.ticket)]
    assert not second.holds


def test_an_assertion_goes_with_the_slots_to_whoever_has_them_next_and_is_none_of_a_hold_that_is_over() -> (
    None
):
    ledger = eventual()
    first, second = join(ledger, 1), join(ledger, 2)
    tell(ledger, Granted(first.ticket, 5), num_slots=1)
    assert ledger.note_assertion(first.hold)
    heir = Hold()
    heir.name, heir.pid, heir.key, heir.ticket, heir.code, heir.depth = (
        "lock",
        SimpleNamespace(id=3),
        3,
        0,
        None,
        1,
    )  # type: ignore[assignment]  # of no process
    ledger.transfer(first.hold, heir)
    sent(ledger)
    ledger.release(heir, 1.01)
    assert sent(ledger) == [Leave(first.ticket)]
    assert not second.holds
    assert not ledger.note_assertion(heir)


def test_what_was_handed_on_is_said_again_with_the_first_token_of_its_block() -> None:
    ledger = eventual()
    first, second = join(ledger, 1), join(ledger, 2)
    tell(ledger, Granted(first.ticket, 5), num_slots=1)
    ledger.release(first.hold, 1.01)
    ref = second.ticket
    sent(ledger)
    assert ledger.reassert({ref: Row(5, 0)}, False) == []
    assert sent(ledger) == []
    assert ledger.reassert({}, True) == []
    (kept,) = sent(ledger)
    assert isinstance(kept, Keep)
    assert (kept.ref, kept.token, kept.block) == (ref, 5, 3)
    assert ledger.lose(ledger.reassert({}, False), 1.02) == [(second.pid, LockLost("lock", 6))]
    assert sent(ledger) == [Leave(ref)]


# -- sequences -------------------------------------------------------------------------------------


class Process:
    """A ledger, and what is on its way between it and the engine."""

    def __init__(self, number: int, engine: ModelEngine, num_slots: int, fairness: Fairness) -> None:
        self.number = number
        self.engine = engine
        self.armed: int | None = None
        self.ledger = SharedLedger(
            "lock",
            num_slots,
            engine="shared",
            first=0,
            wake=self._wake,
            valid=lambda: True,
            fairness=fairness,
            block=3,
        )
        self.request: list[Operation] | None = None
        self.answers: deque[Answer] = deque()
        self.notices: list[Granted] = []
        self.claims: list[Asked] = []
        self.keys = 0
        self.step(lambda: self.ledger.adopt(0.0))
        self.reconnect()

    def _wake(self, ledger: SharedLedger) -> None:
        if self.armed is not None:
            self.armed -= 1
            if self.armed < 0:
                self.armed = None
                raise Cut

    def step(self, step: Callable[[], Any]) -> Any:
        """As the combiner does: what is cut is mended, then repeated."""
        while True:
            try:
                return step()
            except Cut:
                while True:
                    try:
                        self.ledger.mend(0.0)
                        break
                    except Cut:
                        continue

    def reconnect(self) -> None:
        """The connection was cut: what was on its way is lost, be it done or not."""
        self.request = None
        self.answers.clear()
        self.notices.clear()
        rows = self.engine.rows(self.number)
        lost = self.step(lambda: self.ledger.reassert(rows, self.engine.quiet))
        self.lose(lost)
        self.step(lambda: self.ledger.serve(0.0))

    def lose(self, holds: list[Hold]) -> None:
        if holds:
            self.step(lambda: self.ledger.lose(holds, 0.0))

    @property
    def held(self) -> list[Hold]:
        return [hold for hold in self.ledger.holders.values() if hold.depth > 0]


class ManyProcesses(RuleBasedStateMachine):
    """Three processes share a lock of two slots; nothing between them and the engine can be relied on."""

    fairness: Fairness = "strict"

    def __init__(self) -> None:
        super().__init__()
        self.engine = ModelEngine(2, 2)
        self.saved = self.engine.snapshot()
        self.processes = [Process(number, self.engine, 2, self.fairness) for number in range(3)]
        self.tokens: dict[int, tuple[int, int]] = {}

    which = st.integers(0, 2)
    some = st.randoms(use_true_random=False)

    @rule(number=which, weight=st.integers(1, 2), priority=st.integers(0, 2), job=st.booleans())
    def acquire(self, number: int, weight: int, priority: int, job: bool) -> None:
        process = self.processes[number]
        process.keys += 1
        claim = Asked(SimpleNamespace(id=process.keys), process.keys, weight, priority)
        claim.ledger = process.ledger
        if job:
            claim.moves_to = 10_000 + process.keys
        process.claims.append(claim)
        process.step(lambda: process.ledger.join(claim, 0.0))

    @rule(number=which, some=some)
    def release(self, number: int, some: random.Random) -> None:
        process = self.processes[number]
        if held := process.held:
            hold = some.choice(held)
            hold.depth = 0
            process.step(lambda: process.ledger.release(hold, 0.0))

    @rule(number=which, some=some)
    def release_is_cut_before_it_has_begun(self, number: int, some: random.Random) -> None:
        process = self.processes[number]
        if held := process.held:
            some.choice(held).depth = 0
            process.step(lambda: process.ledger.mend(0.0))

    @rule(number=which, some=some)
    def give_up(self, number: int, some: random.Random) -> None:
        process = self.processes[number]
        if waiting := list(process.ledger.queue):
            claim: Any = some.choice(waiting)
            claim.gave_up = True
            process.step(lambda: process.ledger.withdraw(claim, 0.0))

    @rule(number=which, after=st.integers(0, 2))
    def cut_the_next_step(self, number: int, after: int) -> None:
        self.processes[number].armed = after

    @rule(number=which)
    def lock_process_dies_and_is_started_again(self, number: int) -> None:
        process = self.processes[number]
        process.ledger.suspend()
        process.step(lambda: process.ledger.adopt(0.0))

    @rule(number=which, poll=st.booleans())
    def exchange(self, number: int, poll: bool) -> None:
        """All of it at once, or nothing would ever get far."""
        self.answer_arrives(number, False)
        self.send(number)
        self.engine_steps(number, poll)
        self.answer_arrives(number, poll)

    @rule(poll=st.booleans())
    def everybody_exchanges(self, poll: bool) -> None:
        for number in range(3):
            self.exchange(number, poll)

    @rule(number=which)
    def somebody_new_is_let_in(self, number: int) -> None:
        self.acquire(number, 1, 0, number == 1)
        self.exchange(number, False)

    @rule(number=which)
    def send(self, number: int) -> None:
        process = self.processes[number]
        if process.request is None and not process.answers:
            process.request = list(process.ledger.outgoing)
            process.ledger.outgoing.clear()

    @rule(number=which, poll=st.booleans())
    def engine_steps(self, number: int, poll: bool) -> None:
        process = self.processes[number]
        if process.request is not None:
            process.answers.append(self.engine.step(number, process.request, poll))
            process.request = None

    @rule(number=which, twice=st.booleans())
    def answer_arrives(self, number: int, twice: bool) -> None:
        process = self.processes[number]
        if process.answers:
            answer = process.answers.popleft()
            for _ in range(1 + twice):
                process.lose(process.step(lambda: process.ledger.answered(answer, 0.0)))

    @precondition(lambda self: self.engine.notices)
    @rule(some=some, fate=st.sampled_from(["arrives", "arrives twice", "is lost"]))
    def notice(self, some: random.Random, fate: str) -> None:
        """They are overtaken by answers, and by each other."""
        number, granted = self.engine.notices.pop(some.randrange(len(self.engine.notices)))
        process = self.processes[number]
        for _ in range({"arrives": 1, "arrives twice": 2, "is lost": 0}[fate]):
            process.step(lambda: process.ledger.answered(Answer(2, False, (granted,)), 0.0))

    @rule(number=which)
    def connection_is_cut_in_time(self, number: int) -> None:
        self.processes[number].reconnect()

    @rule(number=which)
    def is_reaped_after_its_grants_were_void(self, number: int) -> None:
        process = self.processes[number]
        process.step(lambda: process.ledger.gone(0.0))
        process.lose(process.step(process.ledger.void))
        self.engine.reap(number)
        self.engine.notices = [each for each in self.engine.notices if each[0] != number]
        process.reconnect()

    @rule()
    def engine_saves(self) -> None:
        self.saved = self.engine.snapshot()

    @rule()
    def engine_crashes_and_loses_what_came_after_it_has_saved(self) -> None:
        saved = self.saved.snapshot()
        saved.clock = self.engine.clock
        self.engine = saved
        self.engine.quiet = True
        self.engine.notices = []
        for process in self.processes:
            process.engine = self.engine
            process.reconnect()
        for process in self.processes:
            process.request = list(process.ledger.outgoing)
            process.ledger.outgoing.clear()
            answer = self.engine.step(process.number, process.request, False)
            process.request = None
            process.lose(process.step(lambda: process.ledger.answered(answer, 0.0)))  # noqa: B023  # at once
        self.engine.quiet = False
        self.saved = self.engine.snapshot()

    @invariant()
    def never_more_at_work_than_there_are_slots(self) -> None:
        assert sum(hold.weight for process in self.processes for hold in process.held) <= 2

    @invariant()
    def no_token_is_given_twice(self) -> None:
        for process in self.processes:
            for ref, hold in process.ledger._holds().items():
                assert self.tokens.setdefault(hold.token, (process.number, ref)) == (process.number, ref)

    def teardown(self) -> None:
        """When all is said, everybody gets a slot in the end, and nothing is left behind anywhere."""
        for process in self.processes:
            process.armed = None
            process.reconnect()
        for _ in range(3 * sum(len(process.claims) for process in self.processes) + 10):
            for process in self.processes:
                operations = list(process.ledger.outgoing)
                process.ledger.outgoing.clear()
                answer = self.engine.step(process.number, operations, True)
                process.lose(process.ledger.answered(answer, 0.0))
                for hold in process.held:
                    hold.depth = 0
                    process.ledger.release(hold, 0.0)
            self.never_more_at_work_than_there_are_slots()
        for process in self.processes:
            assert not process.ledger.queue.size
            assert not process.ledger.tickets
            assert not process.ledger.outgoing
            assert not any(claim.errors for claim in process.claims)
        assert not self.engine.claims


class HandOns(ManyProcesses):
    """The same where slots go from hand to hand inside a process."""

    fairness = "eventual"


@pytest.mark.parametrize("machine", [ManyProcesses, HandOns])
def test_many_processes_behind_an_engine_that_delays_reorders_repeats_and_loses(
    machine: type[ManyProcesses],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=150, stateful_step_count=80, deadline=None),
    )


def test_an_answer_of_the_model_is_what_the_ledger_takes() -> None:
    engine = ModelEngine(1, 1)
    answer = engine.step(1, [Join(1, 1, 0, False, None, "")], False)
    assert attrs.astuple(answer, recurse=False)[2] == (Granted(1, 1),)
