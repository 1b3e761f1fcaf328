"""Telemetry of the locks: which events there are, and how what happens becomes one.

The first four are ex_sleeplock's, with its measurements and metadata (its README and tests, version 0.10.2)::

    ("resprout", "throttle", "lock_created")   {"value": 1}              {"name", "num_slots"}
    ("resprout", "throttle", "lock_acquired")  {"running", "waiting"}    {"name", "num_slots"}
    ("resprout", "throttle", "lock_waiting")   {"running", "waiting"}    {"name", "num_slots"}
    ("resprout", "throttle", "lock_released")  {"running", "waiting"}    {"name", "num_slots"}

A nested acquire emits nothing, as there. A hand-over emits lock_released, then lock_acquired, and neither
counts the one who is served as waiting. Beyond ex_sleeplock, with the same metadata::

    wait      {"seconds", "running", "waiting", "used"}   a grant: how long it was waited for
    hold      {"seconds", "running", "waiting", "used"}   a release: how long the slots were held
    shed      {"running", "waiting", "used"}              refused with QueueFull
    timeout   {"seconds", "running", "waiting", "used"}   gave up waiting
    adopted   {"running", "waiting", "used"}              a new lock process answers for the lock
    stopped   {"running", "waiting", "used"}              the lock is over
    resized   {"running", "waiting", "used"}              num_slots in the metadata is the new one
    paused    {"running", "waiting", "used"}              nobody is granted until it is ...
    resumed   {"running", "waiting", "used"}              ... resumed
    adapted   {"num_slots", "seconds", "running", "waiting", "used"}    by an adaptive lock; seconds: the hold
    it learned from

The metadata of ``hold`` has, of an adaptive lock, also the ``"outcome"``: success, dropped or ignored.

Handlers run outside the combiner, in the thread whose step it was or one that passes by, in the order of the
steps.
"""

from __future__ import annotations

from typing_extensions import assert_never

from ...actors import telemetry
from ..ledger.changes import (
    Change,
    LockAcquired,
    LockReleased,
    LockWaiting,
    SlotsAdapted,
    WaiterShed,
    WaiterTimedOut,
)
from ..ledger.values import LockState

PREFIX = ("resprout", "throttle")
CREATED = (*PREFIX, "lock_created")
ACQUIRED = (*PREFIX, "lock_acquired")
WAITING = (*PREFIX, "lock_waiting")
RELEASED = (*PREFIX, "lock_released")
WAIT = (*PREFIX, "wait")
HOLD = (*PREFIX, "hold")
SHED = (*PREFIX, "shed")
TIMEOUT = (*PREFIX, "timeout")
ADOPTED = (*PREFIX, "adopted")
STOPPED = (*PREFIX, "stopped")
RESIZED = (*PREFIX, "resized")
PAUSED = (*PREFIX, "paused")
RESUMED = (*PREFIX, "resumed")
ADAPTED = (*PREFIX, "adapted")
EVENTS = (
    CREATED,
    ACQUIRED,
    WAITING,
    RELEASED,
    WAIT,
    HOLD,
    SHED,
    TIMEOUT,
    ADOPTED,
    STOPPED,
    RESIZED,
    PAUSED,
    RESUMED,
    ADAPTED,
)


def somebody_listens() -> bool:
    """Tell whether any event of ours has a listener."""
    return any(telemetry.heard(event) for event in EVENTS)


def created(name: str, num_slots: int) -> None:
    """A lock begins."""
    telemetry.tell(CREATED, {"value": 1}, {"name": name, "num_slots": num_slots})


def tell(event: telemetry.Event, state: LockState, name: str, num_slots: int) -> None:
    """Emit an event that measures the state alone."""
    telemetry.tell(event, _state(state), {"name": name, "num_slots": num_slots})


def emit(change: Change, name: str, num_slots: int) -> None:
    """Emit what a step reported."""
    state = change.state
    info: dict[str, object] = {"name": name, "num_slots": num_slots}
    plain = {"running": state.running, "waiting": state.waiting}
    match change:
        case LockAcquired(waited=seconds):
            telemetry.tell(ACQUIRED, plain, info)
            telemetry.tell(WAIT, {"seconds": seconds, **_state(state)}, info)
        case LockWaiting():
            telemetry.tell(WAITING, plain, info)
        case LockReleased(held=seconds, outcome=outcome):
            telemetry.tell(RELEASED, plain, info)
            if outcome is not None:
                info = {**info, "outcome": outcome}
            telemetry.tell(HOLD, {"seconds": seconds, **_state(state)}, info)
        case WaiterShed():
            telemetry.tell(SHED, _state(state), info)
        case WaiterTimedOut(waited=seconds):
            telemetry.tell(TIMEOUT, {"seconds": seconds, **_state(state)}, info)
        case SlotsAdapted(num_slots=slots, held=seconds):
            telemetry.tell(ADAPTED, {"num_slots": slots, "seconds": seconds, **_state(state)}, info)
        case _:
            assert_never(change)


def _state(state: LockState) -> dict[str, int]:
    return {"running": state.running, "waiting": state.waiting, "used": state.used}
