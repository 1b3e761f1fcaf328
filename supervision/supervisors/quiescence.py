"""Quiescence: the moment when nothing more can happen by itself, for tests that must not sleep."""

from __future__ import annotations

import time
from typing import Final

from ...actors import Pid, ResproutError, forbid_loop, process
from ...actors.engine import check_alive
from .snapshot import children_of

_LONGEST_PAUSE: Final = 0.002


class NotQuiet(ResproutError):
    """Something went on for longer than the timeout; the message says what."""


def quiesce(timeout: float = 10.0) -> None:
    """Returns when nothing more can happen by itself.

    That is when every process waits for a message and has none, no supervisor lists a child that is dead or
    waits to be started again, and nothing has happened between two such looks. For tests, after they have set
    something off: crash a child, `quiesce()`, look. Timers that will go off later do not count, nor do
    threads and coroutines that run code of their own (the caller is one).

    Not for production code: it looks at every process.

    Args:
        timeout: Seconds after which it gives up.

    Raises:
        NotQuiet: Something still goes on.
        BlockingInLoop: An event loop runs in this thread.
    """
    check_alive()
    forbid_loop("quiesce", "asyncio.to_thread(quiesce, timeout)")
    deadline = time.monotonic() + timeout
    pause = 0.0
    before: dict[Pid, int] | None = None
    while True:
        now = _look()
        if isinstance(now, dict) and now == before:
            return
        if time.monotonic() > deadline:
            raise NotQuiet(f"not quiet after {timeout:g} s: {now if isinstance(now, str) else 'it goes on'}")
        before = now if isinstance(now, dict) else None
        time.sleep(pause)
        pause = min(pause + 0.0001, _LONGEST_PAUSE)


def _look() -> dict[Pid, int] | str:
    """Who lives and how much each has done so far; or, as a text, what is going on."""
    seen: dict[Pid, int] = {}
    for pid in process.processes():
        if not at_rest(pid):
            return f"{pid} is busy"
        for child in children_of(pid):
            if child.state in ("restarting", "backing_off"):
                return f"child {child.spec.id!r} of {pid} is {child.state}"
            if child.pid is not None and not child.pid.alive:
                return f"{pid} has not seen the end of child {child.spec.id!r} yet"
        seen[pid] = getattr(pid, "handled", 0)
    return seen


def at_rest(pid: Pid) -> bool:
    """Whether a process is in none of its callbacks and has no message to handle."""
    if pid.kind == "spawned":
        info = process.info(pid)
        return info is None or (info.status == "waiting" and info.message_queue_len == 0)
    if pid.kind != "server":
        # A thread, a coroutine or a foreign actor runs code of its own, and nobody knows what that will do.
        return True
    return bool(pid._run) and pid.mailbox_length() == 0
