"""Who asks a lock for slots, without a process behind it, and what a step is cut by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from resprout.throttle.ledger.holds import Claim, Hold
from resprout.throttle.ledger.ledger import Ledger
from resprout.throttle.lock.fast_steps import FastSteps
from resprout.throttle.lock.lock_steps import LockSteps
from resprout.throttle.lock.settings import Settings


class Cut(BaseException):
    """What a KeyboardInterrupt is in real life."""


def process_of(key: int) -> Any:
    """A process that can be told nothing."""
    return SimpleNamespace(id=key, attach=lambda resource: None, _gone=False)


def ledger_of(num_slots: int, **options: Any) -> Ledger:
    """A ledger that is ready to be stepped."""
    ledger = Ledger("lock", num_slots, **options)
    ledger.adopt(0.0)
    return ledger


def core_of(num_slots: int, steps: type[LockSteps] = FastSteps, **options: Any) -> Any:
    """A lock that no process serves, with one of the forms of its steps."""
    core = steps(Settings("lock", num_slots, **options), 0)
    core.ledger.adopt(0.0)
    return core


def held(hold: Hold | None) -> Hold:
    """A hold, where there must be one."""
    assert hold is not None
    return hold


class Asked(Claim):
    """A claim that notes the hold that it is offered; another one, or a refusal, is an error."""

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

    def nudge(self) -> bool:
        return True

    @property
    def granted(self) -> bool:
        return self.hold is not None
