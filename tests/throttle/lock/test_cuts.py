"""Each step, cut off at every one of its bytecodes: after a mend all is right, and nobody is lost."""

from __future__ import annotations

import dis
import sys
import threading
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any, cast

import pytest

from resprout.throttle.ledger.holds import Hold
from resprout.throttle.ledger.ledger import Ledger
from resprout.throttle.ledger.values import LockState
from resprout.throttle.lock import combiner as combiner_module
from resprout.throttle.lock.callers import GRANTED, NUDGED, thread_caller
from resprout.throttle.lock.combiner import Combiner
from resprout.throttle.lock.fast_steps import FastSteps
from resprout.throttle.lock.lock_steps import LockSteps
from resprout.throttle.lock.waiting import queue_up

from ...interrupting import traced
from ..claims import Asked, Cut, core_of, held, ledger_of, process_of
from ..gate import Gate

EFFECTLESS = {dis.opmap[name] for name in ("NOP", "NOT_TAKEN") if name in dis.opmap}


def passes_over(frame: FrameType) -> bool:
    """Whether no exception can come before the next bytecode of a frame.

    From Python 3.11 on, signals are looked for at the start of a function, behind calls and at backward
    jumps. The compiler knows that, and leaves what does nothing out of what a ``try`` around it covers: the
    NOP of an inner ``try`` and, from 3.14 on, the NOT_TAKEN behind a conditional jump, which is there for
    monitoring tools alone.
    """
    return sys.version_info >= (3, 11) and frame.f_code.co_code[frame.f_lasti] in EFFECTLESS


def cut_at(opcode: int, step: Callable[[], object]) -> bool:
    """Do a step and raise in it before its nth bytecode; False when it has fewer."""
    left = opcode

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if "/throttle/" not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not passes_over(frame):
            left -= 1
            if left == 0:
                raise Cut
        return trace

    try:
        traced(trace, step)
    except Cut:
        return True
    return False


def crowd(strict: bool) -> tuple[Ledger, dict[int, Asked]]:
    """Two slots: 1 holds both, 2 and 3 and 4 wait, 3 has given up."""
    ledger = ledger_of(2, fairness="strict" if strict else "eventual")
    claims = {}
    for key, weight in ((1, 2), (2, 1), (3, 1), (4, 1)):
        nobody: Any = SimpleNamespace(id=key)
        claims[key] = claim = Asked(nobody, key, weight)
        ledger.join(claim, 0.0)
    claims[3].gave_up = True
    return ledger, claims


STEPS: dict[str, Callable[[Ledger, dict[int, Asked], Asked], object]] = {
    "release": lambda ledger, claims, new: ledger.release(held(claims[1].hold), 5.0),
    "join": lambda ledger, claims, new: ledger.join(new, 5.0),
    "withdraw": lambda ledger, claims, new: ledger.withdraw(claims[3], 5.0),
    "suspend": lambda ledger, claims, new: ledger.suspend(),
    "holder_left": lambda ledger, claims, new: ledger.holder_left(1, 5.0),
    "holder_died": lambda ledger, claims, new: ledger.holder_died(2, 5.0),
    "resize": lambda ledger, claims, new: ledger.resize(4, 5.0),
    "adopt": lambda ledger, claims, new: ledger.adopt(5.0),
}


def test_a_heavy_head_that_is_cut_off_while_it_leaves_still_lets_the_others_go() -> None:
    opcode = 0
    while True:
        opcode += 1
        ledger, claims = crowd(strict=True)
        heavy = Asked(claims[1].pid, 8, 2, 9)
        ledger.join(heavy, 0.0)
        ledger.suspend()
        ledger.release(held(claims[1].hold), 0.0)
        ledger.holders[7] = other = Hold()
        other.key, other.weight, other.depth, other.ticket, ledger.used = 7, 1, 1, 0, 1
        ledger.granting = True
        heavy.gave_up = True
        was_cut = cut_at(opcode, lambda ledger=ledger, heavy=heavy: ledger.withdraw(heavy, 1.0))
        if was_cut:
            ledger.mend(1.0)
            ledger.withdraw(heavy, 1.0)
        assert claims[2].hold is not None
        if not was_cut:
            break
    assert opcode > 50


def right(ledger: Ledger, claims: dict[int, Asked]) -> None:
    """What must be so whatever was cut: counts, and each claim either waits, or holds, or was let go."""
    assert ledger.used == sum(hold.weight for hold in ledger.holders.values())
    assert ledger.used <= ledger.num_slots
    waiting = list(ledger.waiting())
    for key, hold in ledger.holders.items():
        assert hold.key == key
        assert hold.depth >= 1
        assert claims[key].hold is hold
        assert claims[key] not in waiting


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", STEPS)
def test_a_step_cut_at_any_bytecode_and_repeated_ends_as_if_it_had_not_been_cut(
    name: str, strict: bool
) -> None:
    step = STEPS[name]
    nobody: Any = SimpleNamespace(id=9)

    def outcome(opcode: int) -> tuple[bool, Any]:
        ledger, claims = crowd(strict)
        claims[9] = Asked(nobody, 9, 1)
        was_cut = cut_at(opcode, lambda: step(ledger, claims, claims[9])) if opcode else False
        if was_cut:
            ledger.mend(5.0)
            right(ledger, claims)
        if was_cut or not opcode:
            # The combiner does a step that was cut once more.
            step(ledger, claims, claims[9])
        right(ledger, claims)
        waiting = [claim.key for claim in ledger.waiting()]
        return was_cut, (sorted(ledger.holders), waiting, ledger.used)

    _, expected = outcome(0)
    cuts = 0
    while True:
        was_cut, seen = outcome(cuts + 1)
        assert seen == expected, f"after a cut at bytecode {cuts + 1}"
        if not was_cut:
            break
        cuts += 1
    assert cuts > 2


@pytest.fixture(params=[LockSteps, FastSteps])
def steps(request: pytest.FixtureRequest) -> type[LockSteps]:
    """The plain form of the steps, and the fast one."""
    form: type[LockSteps] = request.param
    return form


def core_with_waiters(steps: type[LockSteps], own: bool) -> tuple[LockSteps, dict[int, Asked]]:
    """One slot: 1 holds it, 2 and 3 and 4 wait, 3 has given up."""
    core = core_of(1, steps)
    claims = {}
    for key in (1, 2, 3, 4):
        claims[key] = claim = Asked(process_of(key), key)
        claim.own = own
        core.join(claim)
    claims[3].gave_up = True
    return core, claims


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("givers", [1, 2])
def test_a_hand_over_cut_at_any_bytecode_frees_the_slot_for_the_next_or_has_not_begun(
    givers: int, own: bool, steps: type[LockSteps]
) -> None:
    """Of the second giver, the next in the line has given up, and the one after that is served."""
    cuts = 0
    while True:
        core, claims = core_with_waiters(steps, own)
        if givers == 2:
            core.give_back(held(claims[1].hold))
        giver, taker = claims[givers], claims[2 * givers]
        was_cut = cut_at(cuts + 1, lambda core=core, giver=giver: core.give_back(held(giver.hold)))
        assert not core.combiner.busy
        assert not core.combiner.requests
        right(core.ledger, claims)
        if held(giver.hold).depth > 0:
            # Cut before anything was done: it is still held, and can be given back.
            assert was_cut
            core.give_back(held(giver.hold))
        assert list(core.ledger.holders) == [taker.key]
        assert [claim.key for claim in core.ledger.waiting() if not claims[claim.key].gave_up] == (
            [4] if givers == 1 else []
        )
        if not was_cut:
            break
        cuts += 1
    assert cuts > 50


class Sleeper:
    """What a thread sleeps on, with nobody asleep."""

    rung = 0

    def release(self) -> None:
        self.rung += 1


@pytest.mark.parametrize("gone", [True, False])
def test_a_hand_over_between_threads_cut_at_any_bytecode_wakes_the_next_or_has_not_begun(
    gone: bool, steps: type[LockSteps]
) -> None:
    """1 gives back, 2 may have given up, and 3 is next then."""
    cuts = 0
    while True:
        core = core_of(1, steps)
        giver = core.take(process_of(1), 1, False)
        assert giver is not None
        claims = {key: thread_caller("lock", process_of(key), 0, 1, False) for key in (2, 3)}
        sleepers: dict[int, Any] = {}
        for key, claim in claims.items():
            sleepers[key] = claim.sleeper = cast("Any", Sleeper())
            core.join(claim)
        if gone:
            claims[2].depth = 0
        was_cut = cut_at(cuts + 1, lambda core=core, giver=giver: core.give_back(giver))
        assert not core.combiner.busy
        assert not core.combiner.requests
        if giver.depth > 0:
            assert was_cut
            core.give_back(giver)
        taker, other = (3, 2) if gone else (2, 3)
        assert core.ledger.holders == {taker: claims[taker]}
        assert core.ledger.used == 1
        assert claims[taker].answer is GRANTED
        assert claims[taker].depth == 1
        assert sleepers[taker].rung >= 1
        assert sleepers[other].rung == 0
        assert [claim.key for claim in core.ledger.waiting()] == ([] if gone else [3])
        assert set(core.ledger.queue.by_key) == ({2, 3} - {2, taker})
        if not was_cut:
            break
        cuts += 1
    assert cuts > 50


def test_an_eventual_release_cut_at_any_bytecode_frees_the_slot_and_wakes_the_next(
    steps: type[LockSteps],
) -> None:
    cuts = 0
    while True:
        core = core_of(1, steps, fairness="eventual")
        giver = core.take(process_of(1), 1, False)
        assert giver is not None
        claim = thread_caller("lock", process_of(2), 0, 1, False)
        sleeper: Any = Sleeper()
        claim.sleeper = sleeper
        core.join(claim)
        was_cut = cut_at(cuts + 1, lambda core=core, giver=giver: core.give_back(giver))
        assert not core.combiner.busy
        assert not core.combiner.requests
        if giver.depth > 0:
            assert was_cut
            core.give_back(giver)
        assert 1 not in core.ledger.holders
        assert claim.answer in (NUDGED, GRANTED)
        assert sleeper.rung >= 1
        assert core.ledger.used == (claim.answer is GRANTED)
        if not was_cut:
            break
        cuts += 1
    assert cuts > 40


@pytest.mark.parametrize("line", [True, False])
def test_a_wait_cut_at_any_bytecode_leaves_nothing_behind(line: bool, steps: type[LockSteps]) -> None:
    """A thread queues up, and sleeps until 1, or 2 after it, gives back."""
    here: Any = SimpleNamespace(deferred=None)
    left: list[Hold | None] = []
    while True:
        core = core_of(1, steps)
        holds = {1: core.take(process_of(1), 1, False)}
        if line:
            claim = Asked(process_of(2), 2)
            core.join(claim)

        def acquire(core: LockSteps = core, line: bool = line, held: Any = holds[1]) -> None:
            if held.depth > 0:
                core.give_back(held)
            second = core.ledger.holders.get(2)
            if line and second is not None:
                core.give_back(second)

        me: Any = process_of(9)
        me.parked, me._fate, me.dead = None, (), False
        me.sleeper = SimpleNamespace(acquire=acquire, release=lambda: None)
        granted: list[Hold] = []

        def wait(core: Any = core, me: Any = me, granted: list[Hold] = granted) -> None:
            granted.append(queue_up(core, me, here, None, 0, 1, False))

        was_cut = cut_at(len(left) + 1, wait)
        assert not core.combiner.busy
        assert not core.combiner.requests
        assert me.parked is None
        assert not list(core.ledger.waiting()) or was_cut
        # Whoever held it before gives it back, if that was cut.
        acquire()
        assert not core.ledger.queue.by_key
        hold = core.ledger.holders.get(9)
        assert core.ledger.used == (0 if hold is None else 1)
        if not was_cut:
            assert granted == [hold]
            break
        left.append(hold)
    # But for the last bytecodes, which return it.
    assert len(left) > 150
    assert not any(left[:-3])


@pytest.mark.parametrize("free", [True, False])
def test_a_claim_cut_at_any_bytecode_of_joining_can_be_withdrawn(free: bool, steps: type[LockSteps]) -> None:
    cuts = 0
    while True:
        core, claims = core_with_waiters(steps, own=True)
        if free:
            for key in (2, 3, 4):
                core.withdraw(claims[key])
            core.give_back(held(claims[1].hold))
        claims[9] = claim = Asked(process_of(9), 9)
        was_cut = cut_at(cuts + 1, lambda core=core, claim=claim: core.join(claim))
        assert not core.combiner.busy
        right(core.ledger, claims)
        if was_cut:
            # As whoever waits does, when they hear of it.
            claim.gave_up = True
            core.withdraw(claim)
            if claim.hold is not None:
                core.give_back(claim.hold)
            assert 9 not in core.ledger.holders
            assert claim not in core.ledger.waiting()
        right(core.ledger, claims)
        assert core.ledger.state().used == (1 if not free or not was_cut else 0)
        if not was_cut:
            break
        cuts += 1
    assert cuts > 20


def test_a_grant_cut_at_any_bytecode_leaves_the_slot_free(steps: type[LockSteps]) -> None:
    used = []
    while True:
        core = core_of(1, steps)
        was_cut = cut_at(len(used) + 1, lambda core=core: core.take(process_of(1), 1, False))
        assert not core.combiner.busy
        assert not core.combiner.requests
        if not was_cut:
            assert core.ledger.state().used == 1
            break
        used.append(core.ledger.state().used)
    # But for the last bytecodes, which return the grant: it is given then, and nobody could tell.
    assert len(used) > 50
    assert not any(used[:-3])


def test_a_combiner_cut_at_any_bytecode_is_free_afterwards_and_has_lost_no_step() -> None:
    opcode = 0
    while True:
        opcode += 1
        done: list[str] = []
        mended: list[str] = []
        combiner = Combiner(lambda mended=mended: mended.append("mended"))

        def submit(combiner: Combiner = combiner, done: list[str] = done) -> None:
            combiner.submit(lambda: done.append("first") if "first" not in done else None)

        was_cut = cut_at(opcode, submit)
        assert not combiner.busy
        combiner.submit(lambda done=done: done.append("second"))
        assert done[-1] == "second"
        if was_cut and "first" not in done:
            # Cut before it was even queued: whoever submitted it knows from the exception.
            assert opcode < 15
        assert not combiner.requests
        if not was_cut:
            break
    assert opcode > 30


def test_a_step_that_always_fails_is_given_up_so_that_others_get_through() -> None:
    combiner = Combiner(lambda: None)
    done: list[str] = []

    def fail() -> None:
        raise ValueError("always")

    with pytest.raises(ValueError, match="always"):
        combiner.submit(fail)
    combiner.submit(lambda: done.append("next"))
    assert done == ["next"]


def test_a_step_on_top_of_a_step_waits_until_that_is_over() -> None:
    """As a finalizer or a signal handler that runs in the middle of one."""
    combiner = Combiner(lambda: None)
    done: list[str] = []

    def outer() -> None:
        combiner.submit(lambda: done.append("inner"))
        assert combiner.decide(lambda: "decided") is None
        assert combiner.visit(lambda: list(done)) == []
        done.append("outer")

    combiner.submit(outer)
    assert done == ["outer", "inner"]
    assert combiner.decide(lambda: "decided") == "decided"


def test_who_decides_while_somebody_else_is_inside_gets_the_answer_afterwards(gate: Gate) -> None:
    combiner = Combiner(lambda: None)
    ran_in: list[int] = []

    def step() -> str:
        ran_in.append(threading.get_ident())
        return "decided"

    owner = threading.Thread(target=combiner.submit, args=(gate,))
    owner.start()
    assert gate.reached.wait(10)
    answers: list[str | None] = []
    asker = threading.Thread(target=lambda: answers.append(combiner.decide(step)))
    asker.start()
    while not combiner.requests[1:]:
        # The step under way is the first of them.
        assert asker.is_alive()
    assert not answers
    gate.open.set()
    asker.join(10)
    owner.join(10)
    assert answers == ["decided"]
    assert ran_in == [owner.ident]


def test_a_look_at_a_ledger_whose_step_does_not_end_sees_its_middle(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(combiner_module, "VISIT_SECONDS", 0.01)
    combiner = Combiner(lambda: None)
    owner = threading.Thread(target=combiner.submit, args=(gate,))
    owner.start()
    assert gate.reached.wait(10)
    assert combiner.visit(lambda: "middle") == "middle"
    gate.open.set()
    owner.join(10)
    assert not combiner.busy


def test_slots_that_come_free_together_are_both_used_with_eventual_fairness() -> None:
    ledger = ledger_of(2, fairness="eventual")
    nudged: list[int] = []

    class Nudged(Asked):
        def nudge(self) -> bool:
            nudged.append(self.key)
            return True

    def claim_of(key: int) -> Nudged:
        nobody: Any = SimpleNamespace(id=key)
        claim = Nudged(nobody, key)
        ledger.join(claim, 0.0)
        return claim

    holders = [claim_of(1), claim_of(2)]
    waiting = [claim_of(3), claim_of(4)]
    ledger.fair_at = 9.0
    for holder in holders:
        ledger.release(held(holder.hold), 1.0)
    assert nudged == [3]
    ledger.retry(waiting[0], 1.0)
    assert nudged == [3, 4]
    ledger.retry(waiting[1], 1.0)
    assert ledger.used == 2


# -- guests and hand-overs -----------------------------------------------------


def shared_ledger() -> tuple[Ledger, Hold, Hold]:
    """Two slots: 1 holds both, and may get a guest under the key -1; 2 waits."""
    ledger = ledger_of(2)
    host = ledger.take(process_of(1), 1, 2, 0.0)
    assert host is not None
    ledger.join(Asked(process_of(2), 2), 0.0)
    return ledger, host, hold_of(-1)


def hold_of(key: int) -> Hold:
    hold = Hold()
    hold.key, hold.pid, hold.ticket, hold.code, hold.depth = key, process_of(key), 0, None, 1
    return hold


def admitted(ledger: Ledger, host: Hold, guest: Hold) -> None:
    assert ledger.admit(host, guest, 1.0, True) is guest


def host_ends(ledger: Ledger, host: Hold, guest: Hold) -> None:
    ledger.release(host, 1.0)


def guest_ends(ledger: Ledger, host: Hold, guest: Hold) -> None:
    ledger.release(guest, 1.0)


def handed_over(ledger: Ledger, host: Hold, guest: Hold) -> None:
    if HEIR not in host.__dict__:
        host.__dict__[HEIR] = hold_of(5)
    ledger.transfer(host, host.__dict__[HEIR])


HEIR = "the heir of this test"
SHARED = {
    "admit": (False, admitted, [-1, 1], 2, 1),
    "the host ends": (True, host_ends, [-1], 2, 1),
    "the guest ends": (True, guest_ends, [1], 2, 1),
    "a hand-over with a guest": (True, handed_over, [-1, 5], 2, 1),
    "a hand-over without": (False, handed_over, [5], 2, 1),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_step_of_a_shared_hold_cut_at_any_bytecode_never_gives_its_slots_to_anybody_else(name: str) -> None:
    guest_first, step, keys, used, waiting = SHARED[name]
    cuts = 0
    while True:
        ledger, host, guest = shared_ledger()
        if guest_first:
            ledger.admit(host, guest, 0.5, True)
        was_cut = cut_at(cuts + 1, lambda a=ledger, b=host, c=guest: step(a, b, c))
        assert ledger.used >= 2
        if was_cut:
            ledger.mend(1.0)
            step(ledger, host, guest)
        assert sorted(ledger.holders) == keys
        assert ledger.used == used == sum(hold.weight for hold in ledger.holders.values())
        assert ledger.state() == (LockState(1, waiting, used))
        assert {hold.token for hold in ledger.holders.values()} == {1}
        # And when all of them have ended, the next is served.
        for hold in list(ledger.holders.values()):
            ledger.release(hold, 2.0)
        assert list(ledger.holders) == [2]
        assert ledger.used == 1
        assert ledger.plain
        if not was_cut:
            break
        cuts += 1
    assert cuts > 20


def test_one_guest_at_a_time_carries_on_a_flow_however_it_came_to_be() -> None:
    ledger, host, first = shared_ledger()
    second, named, deeper, deepest, last = (hold_of(key) for key in (-2, -3, -4, -5, -6))
    assert ledger.admit(host, first, 1.0, True) is first
    assert ledger.admit(host, second, 1.0, True) is None
    # Who names the grant need not be alone.
    assert ledger.admit(host, named, 1.0, False) is named
    # A guest may have one of its own, and no second.
    assert ledger.admit(first, deeper, 1.0, True) is deeper
    assert ledger.admit(first, deepest, 1.0, True) is None
    assert ledger.state() == LockState(1, 1, 2)
    ledger.release(named, 2.0)
    ledger.release(first, 2.0)
    assert ledger.admit(host, last, 2.0, True) is last
    for hold in (host, deeper, last):
        assert ledger.used == 2
        ledger.release(hold, 3.0)
    assert list(ledger.holders) == [2]
