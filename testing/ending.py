"""The end of a region: what is left is looked at, stopped in order, and killed when its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from .. import throttle
from ..actors import LockNotFound, Pid, ProcessExit, process
from ..actors.engine import Snapshot, take_leave_of
from .own_supervisor import in_thread, stop

GRACE: Final = 0.5
"""Seconds in which what is about to end by itself may do so."""
STRAGGLING: Final = 1.0
"""Seconds that the code of the dead may go on."""
KILLING: Final = 2.0
THREADS: Final = 0.1
_PAUSE: Final = 0.001


@attrs.frozen
class Leak:
    """Something that was left behind."""

    text: str
    age: int
    pid: Pid | None = None
    lock: str | None = None

    def __str__(self) -> str:
        return self.text


class End:
    """See the module.

    Args:
        snapshot: What was there before.
        deadline: When the time for stopping is over.
    """

    def __init__(self, snapshot: Snapshot, deadline: float) -> None:
        self._snapshot = snapshot
        self._deadline = deadline
        self.leaks: list[Leak] = []

    def look(self, locks: Callable[[], Sequence[str]]) -> None:
        """Find what was left behind, when what is just about to end has ended."""
        _wait(lambda: not self._snapshot.roots(), GRACE)
        held: set[int] = set()
        for name in locks():
            self.leaks.append(self._lock(name))
        for pid in self._snapshot.roots():
            if pid.id not in held and not any(pid.name == each.lock for each in self.leaks if each.lock):
                self.leaks.append(Leak(_describe(pid), pid.id, pid))
        self.leaks.sort(key=lambda leak: leak.age)

    def _lock(self, name: str) -> Leak:
        pid = process.whereis(name)
        text = f"lock {name!r}"
        try:
            holders = throttle.holders(name)
        except LockNotFound:
            holders = []
        if holders:
            text += ", held by " + ", ".join(str(each.pid) for each in holders)
        return Leak(text, 0 if pid is None else pid.id, lock=name)

    def stop(self) -> None:
        """Stop it: the newest first, each when the one before has ended."""
        left = list(self.leaks)
        while left:
            leak = left.pop()
            now = time.monotonic()
            # So much that one which hangs leaves time for those before it.
            until = self._deadline if not left else now + max(0.0, self._deadline - now) / 2
            if leak.lock is not None:
                _end_lock(leak.lock)
            elif leak.pid is not None and leak.pid.alive:
                self._stop_tree(leak.pid, until)
        self._kill_the_rest()

    def _stop_tree(self, pid: Pid, until: float) -> None:
        thread = take_leave_of(pid)
        in_thread(lambda: stop(pid, until))
        if thread is not None:
            # One that waits with us ends now, one that does not goes on.
            thread.join(THREADS)
        # What it has started and does not take along; or is about to, in order.
        for each in reversed(self._snapshot.below(pid)):
            self._stop_tree(each, until)

    def _kill_the_rest(self) -> None:
        """What was below one that was killed, and what the stopped have started."""

        def nobody_left() -> bool:
            for pid in self._snapshot.processes():
                in_thread(lambda: process.exit(pid, "kill"))  # noqa: B023  # called at once
            return not self._snapshot.processes()

        _wait(nobody_left, KILLING)

    def await_stragglers(self) -> None:
        """Wait for the code of the dead; what goes on is told."""
        if not _wait(lambda: not self._snapshot.stragglers(), STRAGGLING):
            stacks = {each.pid: each.stack for each in process.stragglers()}
            for pid in self._snapshot.stragglers():
                where = "".join(stacks.get(pid, ())[-1:]).strip().replace("\n", " ")
                self.leaks.append(
                    Leak(
                        f"code of {pid}, which is dead ({pid.exit_reason!r}), goes on: {where or '(unseen)'}",
                        pid.id,
                    )
                )


def _end_lock(name: str) -> None:
    try:
        throttle.stop_lock(name)
    except (LockNotFound, ProcessExit):
        pass


def _describe(pid: Pid) -> str:
    info = process.info(pid)
    kind = type(pid.actor).__name__ if pid.actor is not None else pid.kind
    text = f"{kind} {pid}"
    if info is None:
        return text
    if info.parent is not None:
        text += f", started by {info.parent}"
    children = [each for each in process.processes() if each.parent is pid]
    if children:
        text += f", with {', '.join(map(str, children[:10]))}" + (" and more" if len(children) > 10 else "")
    return text


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
