"""What tests of stages start is gone at the end of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from resprout import Down, Pid, process


@pytest.fixture
def started() -> Iterator[Callable[[Pid], Pid]]:
    """Has a process killed at the end of the test, if it lives, the last one first."""
    pids: list[Pid] = []

    def keep(pid: Pid) -> Pid:
        pids.append(pid)
        return pid

    yield keep
    for pid in reversed(pids):
        if pid.alive:
            ref = process.monitor(pid)
            process.exit(pid, "kill")
            process.receive(
                lambda message, ref=ref: isinstance(message, Down) and message.ref is ref, timeout=20.0
            )
