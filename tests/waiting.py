"""Waits that end: for a death, and for what nothing tells of."""

from __future__ import annotations

import time
from collections.abc import Callable

from resprout.actors import Down, Pid, Ref, process

WATCHDOG = 30.0


def down_of(ref: Ref) -> Down:
    """Wait for the Down of a monitor."""
    return process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout=WATCHDOG)


def await_end(pid: Pid, reason: object = "kill") -> object:
    """Send an exit signal and wait until its target is dead; the reason that a monitor gets."""
    ref = process.monitor(pid)
    process.exit(pid, reason)
    return down_of(ref).reason


def until(condition: Callable[[], object], pause: float = 0.0) -> None:
    """Wait for what another thread is about to do; nothing tells, so it is looked at again and again."""
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause)


def until_elsewhere(condition: Callable[[], object]) -> None:
    """The same for what another program is about to do, which tells nobody and needs a processor for it."""
    until(condition, 0.01)
