"""What happens in a lock, as values; the shell turns them into telemetry."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from .values import LockState, Outcome


@attrs.frozen
class LockAcquired:
    """Slots were granted. Not told of nested acquires, which use none."""

    state: LockState
    waited: float


@attrs.frozen
class LockWaiting:
    """Somebody has joined the line."""

    state: LockState


@attrs.frozen
class LockReleased:
    """Slots came back."""

    state: LockState
    held: float
    outcome: Outcome | None
    """Of an adaptive lock; others do not ask."""


@attrs.frozen
class WaiterShed:
    """Somebody was refused since the line is full."""

    state: LockState


@attrs.frozen
class WaiterTimedOut:
    """Somebody gave up waiting."""

    state: LockState
    waited: float


@attrs.frozen
class SlotsAdapted:
    """An adaptive lock has changed its number of slots."""

    state: LockState
    num_slots: int
    held: float


Change: TypeAlias = LockAcquired | LockWaiting | LockReleased | WaiterShed | WaiterTimedOut | SlotsAdapted
