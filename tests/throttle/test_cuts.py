"""Each step, cut off by an exception at every one of its bytecodes: what is left is right after a mend.

And nobody is lost.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from resprout.throttle.claim import Claim, Hold
from resprout.throttle.gate import Gate
from resprout.throttle.ledger import Ledger


class Cut(BaseException):
    """What a KeyboardInterrupt is in real life."""


class Asked(Claim):
    hold: Hold | None = None
    gave_up: bool = False

    def offer(self, hold: Hold) -> bool:
        if self.gave_up:
            return False
        assert self.hold is None or self.hold is hold
        self.hold = hold
        return True

    def refuse(self, error: BaseException) -> None:
        raise AssertionError(error)

    def nudge(self) -> None:
        """Nothing to wake."""


def cut_at(opcode: int, step: Callable[[], object]) -> bool:
    """Do a step and raise in it before its nth bytecode; False when it has fewer."""
    left = opcode

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if "/throttle/" not in frame.f_code.co_filename or "/tests/" in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                raise Cut
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    except Cut:
        return True
    finally:
        sys.settrace(before)
    return False


def crowd(strict: bool) -> tuple[Ledger, dict[int, Asked]]:
    """Two slots: 1 holds both, 2 and 3 and 4 wait, 3 has given up."""
    ledger = Ledger("lock", 2, fairness="strict" if strict else "eventual")
    ledger.adopt(0.0)
    claims = {}
    for key, weight in ((1, 2), (2, 1), (3, 1), (4, 1)):
        nobody: Any = SimpleNamespace(id=key)
        claims[key] = claim = Asked(nobody, key, weight)
        ledger.join(claim, 0.0)
    claims[3].gave_up = True
    return ledger, claims


STEPS: dict[str, Callable[[Ledger, dict[int, Asked], Asked], object]] = {
    "release": lambda ledger, claims, new: ledger.release(held(claims[1]), 5.0),
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
        ledger.release(held(claims[1]), 0.0)
        ledger.holders[7] = other = Hold()
        other.key, other.weight, ledger.used = 7, 1, 1
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


def held(claim: Asked) -> Hold:
    assert claim.hold is not None
    return claim.hold


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
            # The gate does a step that was cut once more.
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


def test_a_gate_cut_at_any_bytecode_is_open_afterwards_and_has_lost_no_step() -> None:
    opcode = 0
    while True:
        opcode += 1
        done: list[str] = []
        mended: list[str] = []
        gate = Gate(lambda mended=mended: mended.append("mended"))

        def submit(gate: Gate = gate, done: list[str] = done) -> None:
            gate.submit(lambda: done.append("first") if "first" not in done else None)

        was_cut = cut_at(opcode, submit)
        assert not gate.busy
        gate.submit(lambda done=done: done.append("second"))
        assert done[-1] == "second"
        if was_cut and "first" not in done:
            # Cut before it was even queued: whoever submitted it knows from the exception.
            assert opcode < 15
        assert not gate.requests
        if not was_cut:
            break
    assert opcode > 30


def test_a_step_that_always_fails_is_given_up_so_that_others_get_through() -> None:
    gate = Gate(lambda: None)
    done: list[str] = []

    def fail() -> None:
        raise ValueError("always")

    with pytest.raises(ValueError, match="always"):
        gate.submit(fail)
    gate.submit(lambda: done.append("next"))
    assert done == ["next"]


def test_a_step_on_top_of_a_step_waits_until_that_is_over() -> None:
    """As a finalizer or a signal handler that runs in the middle of one."""
    gate = Gate(lambda: None)
    done: list[str] = []

    def outer() -> None:
        gate.submit(lambda: done.append("inner"))
        assert gate.decide(lambda: "decided") is None
        assert gate.visit(lambda: list(done)) == []
        done.append("outer")

    gate.submit(outer)
    assert done == ["outer", "inner"]
    assert gate.decide(lambda: "decided") == "decided"


def test_slots_that_come_free_together_are_both_used_with_eventual_fairness() -> None:
    ledger = Ledger("lock", 2, fairness="eventual")
    ledger.adopt(0.0)
    nudged: list[int] = []

    class Nudged(Asked):
        def nudge(self) -> None:
            nudged.append(self.key)

    def claim_of(key: int) -> Nudged:
        nobody: Any = SimpleNamespace(id=key)
        claim = Nudged(nobody, key)
        ledger.join(claim, 0.0)
        return claim

    holders = [claim_of(1), claim_of(2)]
    waiting = [claim_of(3), claim_of(4)]
    ledger.fair_at = 9.0
    for holder in holders:
        ledger.release(held(holder), 1.0)
    assert nudged == [3]
    ledger.retry(waiting[0], 1.0)
    assert nudged == [3, 4]
    ledger.retry(waiting[1], 1.0)
    assert ledger.used == 2
