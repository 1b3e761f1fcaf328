"""The slot ledger: single rules, and sequences of steps against a naive model."""

from __future__ import annotations

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

from resprout.actors import LockNotFound, QueueFull
from resprout.throttle.ledger.holds import Claim, Hold
from resprout.throttle.ledger.ledger import PATIENCE, Ledger
from resprout.throttle.lock.fast_steps import FastSteps
from resprout.throttle.lock.lock_steps import LockSteps
from resprout.throttle.lock.settings import Settings

from ..claims import core_of, ledger_of, process_of

NOBODY: Any = SimpleNamespace(id=0)


class Asked(Claim):
    """A claim that notes what it is told."""

    nudges = 0
    gave_up = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.holds: list[Hold] = []
        self.errors: list[BaseException] = []

    def offer(self, hold: Hold) -> bool:
        if self.gave_up:
            return False
        if hold not in self.holds:
            self.holds.append(hold)
            if self.shared:
                hold.depth += 1
        return True

    def refuse(self, error: BaseException) -> None:
        self.errors.append(error)

    def nudge(self) -> bool:
        self.nudges += 1
        return True

    @property
    def granted(self) -> bool:
        return bool(self.holds)


def join(ledger: Ledger, key: int, weight: int = 1, priority: int = 0, now: float = 0.0) -> Asked:
    claim = Asked(NOBODY, key, weight, priority)
    ledger.join(claim, now)
    return claim


def test_slots_are_granted_in_order_of_arrival_and_handed_on_in_that_order() -> None:
    ledger = ledger_of(2)
    first, second, third, fourth = (join(ledger, key) for key in (1, 2, 3, 4))
    assert [claim.granted for claim in (first, second, third, fourth)] == [True, True, False, False]
    ledger.release(second.holds[0], 1.0)
    assert (third.granted, fourth.granted) == (True, False)
    assert ledger.state() == attrs.evolve(ledger.state(), running=2, waiting=1, used=2)


def test_higher_priority_goes_first_and_equals_keep_their_order() -> None:
    ledger = ledger_of(1)
    holder = join(ledger, 1)
    waiting = [
        join(ledger, key, priority=priority) for key, priority in ((2, 0), (3, 5), (4, 5), (5, 9), (6, -1))
    ]
    assert [claim.key for claim in ledger.waiting()] == [5, 3, 4, 2, 6]
    ledger.release(holder.holds[0], 1.0)
    assert [claim.key for claim in waiting if claim.granted] == [5]


def test_nobody_overtakes_a_heavy_head_of_the_line() -> None:
    ledger = ledger_of(3)
    holder = join(ledger, 1)
    heavy = join(ledger, 2, weight=3)
    light = join(ledger, 3)
    assert not heavy.granted
    assert not light.granted
    assert ledger.take(NOBODY, 4, 1, 0.0) is None
    ledger.release(holder.holds[0], 1.0)
    assert heavy.granted
    assert not light.granted


def test_a_heavy_head_that_leaves_lets_those_behind_it_go() -> None:
    ledger = ledger_of(3)
    join(ledger, 1)
    heavy = join(ledger, 2, weight=3)
    light = join(ledger, 3)
    heavy.gave_up = True
    ledger.withdraw(heavy, 1.0)
    assert light.granted


@pytest.mark.parametrize("own", [True, False])
def test_a_hand_over_to_a_heavy_head_lets_a_lighter_one_behind_it_go_too(own: bool) -> None:
    core = core_of(3, LockSteps)
    claims = [Asked(process_of(key), key, weight) for key, weight in ((1, 2), (2, 2), (3, 1))]
    for claim in claims:
        claim.own = own
        core.join(claim)
    first, heavy, light = claims
    assert not light.granted
    core.give_back(first.holds[0])
    assert heavy.granted
    assert light.granted


def test_a_higher_priority_passes_a_heavy_head_through_a_lock_as_well() -> None:
    core = core_of(2, LockSteps)
    claims = [
        Asked(process_of(key), key, weight, priority)
        for key, weight, priority in ((1, 1, 0), (2, 2, 0), (3, 1, 1))
    ]
    for claim in claims:
        core.join(claim)
    assert [claim.granted for claim in claims] == [True, False, True]


def test_a_grant_that_meets_somebody_who_gave_up_goes_to_the_next() -> None:
    ledger = ledger_of(1)
    holder = join(ledger, 1)
    late, next_one = join(ledger, 2), join(ledger, 3)
    late.gave_up = True
    ledger.release(holder.holds[0], 1.0)
    assert not late.granted
    assert next_one.granted
    assert ledger.used == 1


def test_tokens_rise_with_every_grant() -> None:
    ledger = ledger_of(1, token=41)
    tokens = []
    for key in range(1, 5):
        hold = ledger.take(NOBODY, key, 1, 0.0)
        assert hold is not None
        tokens.append(hold.token)
        ledger.release(hold, 0.0)
    assert tokens == [42, 43, 44, 45]


def test_a_second_claim_of_a_holder_is_nested_and_uses_no_slot() -> None:
    ledger = ledger_of(2)
    first = join(ledger, 1, weight=2)
    second = join(ledger, 1)
    assert second.holds == first.holds
    assert first.holds[0].depth == 2
    assert ledger.used == 2


def test_a_nested_claim_heavier_than_what_is_held_is_refused() -> None:
    ledger = ledger_of(3)
    join(ledger, 1)
    claim = join(ledger, 1, weight=2)
    assert "at most the 1 already held" in str(claim.errors[0])


def test_two_claims_of_one_process_share_the_slot_that_comes_first() -> None:
    ledger = ledger_of(1)
    holder = join(ledger, 1)
    outer, inner, other = join(ledger, 2), join(ledger, 2), join(ledger, 3)
    ledger.release(holder.holds[0], 1.0)
    assert outer.holds == inner.holds
    assert outer.holds[0].depth == 2
    assert not other.granted


def test_a_weight_above_the_slots_is_refused_at_once() -> None:
    claim = join(ledger_of(2), 1, weight=3)
    assert "at most the num_slots of lock 'lock', which is 2, got: 3" in str(claim.errors[0])


def test_a_full_line_sheds_but_never_who_could_run_at_once() -> None:
    ledger = ledger_of(1, max_waiting=1)
    holder, waiting, shed = join(ledger, 1), join(ledger, 2), join(ledger, 3)
    assert isinstance(shed.errors[0], QueueFull)
    assert not waiting.errors
    ledger.release(holder.holds[0], 0.0)
    ledger.release(waiting.holds[0], 0.0)
    assert join(ledger, 4).granted


def test_max_waiting_zero_means_now_or_never() -> None:
    ledger = ledger_of(1, max_waiting=0)
    assert join(ledger, 1).granted
    assert isinstance(join(ledger, 2).errors[0], QueueFull)


def test_the_slot_of_a_dead_holder_comes_back_when_it_has_left() -> None:
    ledger = ledger_of(1)
    holder, waiting = join(ledger, 1), join(ledger, 2)
    ledger.holder_died(1, 1.0)
    assert holder.holds[0].straggler
    assert not waiting.granted
    ledger.holder_left(1, 2.0)
    assert waiting.granted


def test_a_holder_that_wants_it_frees_its_slot_at_its_death() -> None:
    ledger = ledger_of(1)
    ledger.take(NOBODY, 1, 1, 0.0, True)
    waiting = join(ledger, 2)
    ledger.holder_died(1, 1.0)
    assert waiting.granted


def test_a_dead_waiter_leaves_the_line() -> None:
    ledger = ledger_of(1)
    holder, dead, living = join(ledger, 1), join(ledger, 2), join(ledger, 3)
    ledger.holder_died(2, 1.0)
    ledger.release(holder.holds[0], 2.0)
    assert not dead.granted
    assert living.granted


def test_nothing_is_granted_between_the_crash_of_the_lock_process_and_the_adoption() -> None:
    ledger = ledger_of(1)
    holder, first = join(ledger, 1), join(ledger, 2)
    ledger.suspend()
    ledger.release(holder.holds[0], 1.0)
    second = join(ledger, 3)
    assert ledger.take(NOBODY, 4, 1, 1.0) is None
    assert not first.granted
    ledger.adopt(2.0)
    assert first.granted
    assert not second.granted


def test_resize_up_grants_and_resize_down_drains() -> None:
    ledger = ledger_of(1)
    first, second, third = join(ledger, 1), join(ledger, 2), join(ledger, 3)
    ledger.resize(3, 1.0)
    assert second.granted
    assert third.granted
    ledger.resize(1, 2.0)
    fourth = join(ledger, 4)
    ledger.release(first.holds[0], 3.0)
    ledger.release(second.holds[0], 3.0)
    assert not fourth.granted
    ledger.release(third.holds[0], 3.0)
    assert fourth.granted


def test_resize_below_the_weight_of_a_waiter_answers_it() -> None:
    ledger = ledger_of(3)
    join(ledger, 1)
    heavy, light = join(ledger, 2, weight=3), join(ledger, 3)
    ledger.resize(2, 1.0)
    assert isinstance(heavy.errors[0], ValueError)
    assert light.granted


def test_a_closed_ledger_refuses_who_waits_and_who_comes() -> None:
    ledger = ledger_of(1)
    holder, waiting = join(ledger, 1), join(ledger, 2)
    ledger.close()
    late = join(ledger, 3)
    assert isinstance(waiting.errors[0], LockNotFound)
    assert isinstance(late.errors[0], LockNotFound)
    assert ledger.holders == {1: holder.holds[0]}


@pytest.mark.parametrize("late", [False, True])
def test_eventual_fairness_lets_the_releaser_come_again_until_patience_ends(late: bool) -> None:
    ledger = ledger_of(1, fairness="eventual")
    holder = join(ledger, 1)
    waiting = join(ledger, 2)
    ledger.fair_at = 1.0
    now = 1.0 + PATIENCE if late else 0.5
    ledger.release(holder.holds[0], now)
    again = ledger.take(NOBODY, 1, 1, now)
    assert waiting.granted is late
    assert (again is None) is late
    assert waiting.nudges == (0 if late else 1)


def test_a_nudged_waiter_takes_a_free_slot_and_keeps_its_place_when_there_is_none() -> None:
    ledger = ledger_of(1, fairness="eventual")
    holder = join(ledger, 1)
    first, second = join(ledger, 2), join(ledger, 3)
    ledger.fair_at = 9.0
    ledger.release(holder.holds[0], 1.0)
    again = ledger.take(NOBODY, 1, 1, 1.0)
    assert again is not None
    ledger.retry(first, 1.0)
    assert not first.granted
    assert list(ledger.waiting()) == [first, second]
    ledger.release(again, 2.0)
    ledger.retry(first, 2.0)
    assert first.granted


# -- sequences against a naive model -------------------------------------------


@attrs.define(eq=False)
class Wish:
    """What the model knows of a claim."""

    claim: Asked
    order: int


class AgainstModel(RuleBasedStateMachine):
    """The model keeps one plain list of waiters and sorts it anew for every grant."""

    keys = st.integers(1, 6)

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ledger_of(2)
        self.slots = 2
        self.granting = True
        self.holds: dict[int, list[int]] = {}  # key -> [weight, depth]
        self.wishes: list[Wish] = []
        self.dead: set[int] = set()
        self.count = 0
        self.last_token = 0
        self.ledger_claims: list[Asked] = []

    # What is tested; see below for the same through a core.

    def ask(self, claim: Asked) -> None:
        self.ledger.join(claim, 0.0)

    def take(self, key: int) -> Hold | None:
        return self.ledger.take(NOBODY, key, 1, 0.0)

    def free(self, hold: Hold) -> None:
        if hold.depth > 1:
            hold.depth -= 1
            return
        assert self.ledger.release(hold, 0.0)
        assert not self.ledger.release(hold, 0.0)

    # The model.

    def used(self) -> int:
        return sum(weight for weight, _ in self.holds.values())

    def serve(self) -> None:
        while self.wishes and self.granting:
            self.wishes.sort(key=lambda wish: (-wish.claim.priority, wish.order))
            claim = self.wishes[0].claim
            if self.used() + claim.weight > self.slots:
                return
            del self.wishes[0]
            if not claim.gave_up:
                self.holds[claim.key] = [claim.weight, 1]
                # What else its process waited for is nested or refused; here only what it had given up.
                self.wishes = [wish for wish in self.wishes if wish.claim.key != claim.key]

    # The steps.

    @rule(key=keys, weight=st.integers(1, 3), priority=st.integers(-1, 1), own=st.booleans())
    def acquire(self, key: int, weight: int, priority: int, own: bool) -> None:
        # A process waits once at a time.
        if key in self.dead or any(wish.claim.key == key and not wish.claim.gave_up for wish in self.wishes):
            return
        claim = Asked(process_of(key), key, weight, priority)
        claim.own = own
        self.ask(claim)
        self.ledger_claims.append(claim)
        if key in self.holds:
            if weight > self.holds[key][0]:
                assert claim.errors
            else:
                assert claim.granted
                self.holds[key][1] += 1
        elif weight > self.slots:
            assert claim.errors
        else:
            self.count += 1
            self.wishes.append(Wish(claim, self.count))
            self.serve()
            assert claim.granted == (key in self.holds)

    @rule(key=keys)
    def attempt(self, key: int) -> None:
        if key in self.holds or key in self.dead:
            return
        hold = self.take(key)
        may = self.granting and not self.wishes and self.used() < self.slots
        assert (hold is not None) == may
        if may:
            self.holds[key] = [1, 1]

    @rule(key=keys)
    def release(self, key: int) -> None:
        if key not in self.holds:
            return
        hold = self.ledger.holders[key]
        self.free(hold)
        self.holds[key][1] -= 1
        if not self.holds[key][1]:
            del self.holds[key]
            self.serve()

    @precondition(lambda self: self.wishes)
    @rule(index=st.integers(0, 20), seen=st.booleans())
    def give_up(self, index: int, seen: bool) -> None:
        wish = self.wishes[index % len(self.wishes)]
        wish.claim.gave_up = True
        if seen:
            self.ledger.withdraw(wish.claim, 0.0)
            self.wishes.remove(wish)
            self.serve()

    @rule(key=keys)
    def die(self, key: int) -> None:
        if key in self.dead:
            return
        self.dead.add(key)
        self.ledger.holder_died(key, 0.0)
        mine = [wish for wish in self.wishes if wish.claim.key == key]
        self.wishes = [wish for wish in self.wishes if wish not in mine]
        if mine:
            self.serve()

    @precondition(lambda self: self.dead)
    @rule(index=st.integers(0, 20))
    def leave(self, index: int) -> None:
        key = sorted(self.dead)[index % len(self.dead)]
        self.dead.discard(key)
        self.ledger.holder_left(key, 0.0)
        if self.holds.pop(key, None) is not None:
            self.serve()

    @rule()
    def crash(self) -> None:
        self.ledger.suspend()
        self.granting = False

    @rule()
    def adopt(self) -> None:
        self.ledger.adopt(0.0)
        self.granting = True
        self.serve()

    @rule(num_slots=st.integers(1, 4))
    def resize(self, num_slots: int) -> None:
        self.ledger.resize(num_slots, 0.0)
        self.slots = num_slots
        refused = [wish for wish in self.wishes if wish.claim.weight > num_slots]
        assert all(wish.claim.errors for wish in refused)
        self.wishes = [wish for wish in self.wishes if wish not in refused]
        self.serve()

    # What must hold after each of them.

    @invariant()
    def agree(self) -> None:
        ledger = self.ledger
        assert {key: [hold.weight, hold.depth] for key, hold in ledger.holders.items()} == self.holds
        assert ledger.used == self.used()
        self.wishes.sort(key=lambda wish: (-wish.claim.priority, wish.order))
        assert list(ledger.waiting()) == [wish.claim for wish in self.wishes]
        assert ledger.state().waiting == len(self.wishes)

    @invariant()
    def tokens_rise(self) -> None:
        tokens = [claim.holds[0].token for claim in self.ledger_claims if claim.granted]
        assert len({hold.token for hold in self.ledger.holders.values()}) == len(self.ledger.holders)
        assert max(tokens, default=0) >= self.last_token
        self.last_token = max(tokens, default=0)


class StepsAgainstModel(AgainstModel):
    """The same through the steps of callers."""

    form: type[LockSteps] = LockSteps

    def __init__(self) -> None:
        super().__init__()
        self.core = self.form(Settings("lock", 2), 0)
        self.ledger = self.core.ledger
        self.ledger.adopt(0.0)

    def ask(self, claim: Asked) -> None:
        self.core.join(claim)

    def take(self, key: int) -> Hold | None:
        return self.core.take(process_of(key), 1, False)

    def free(self, hold: Hold) -> None:
        self.core.give_back(hold)

    @invariant()
    def nobody_is_left_inside(self) -> None:
        assert not self.core.combiner.busy
        assert not self.core.combiner.requests


class FastStepsAgainstModel(StepsAgainstModel):
    """The same through their fast form."""

    form = FastSteps


@pytest.mark.parametrize("machine", [AgainstModel, StepsAgainstModel, FastStepsAgainstModel])
def test_any_sequence_of_steps_agrees_with_the_model(machine: type[AgainstModel]) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
