"""The right to step a ledger: one at a time, never waited for, safe in every place where Python runs code.

A step may be wanted in a finalizer, in a signal handler, in a dying thread, or on top of another step of the
same thread. So nobody waits for the gate: a step is appended, then the gate is tried; who fails leaves the
step to whoever is inside, who looks again after leaving (flat combining; the same idea delivers messages in
``actors``). What such a step answers comes through a future.

The lock inside is an RLock for one reason: after an exception has cut a step, its thread can find out whether
it still holds it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

VISIT_SECONDS = 1.0
"""How long a reader waits for whoever is inside; a step takes microseconds."""


class Gate:
    """See the module. ``Desk`` writes the way in and out once more, for its three fastest steps."""

    __slots__ = ("_failed", "busy", "lock", "mend", "requests")

    def __init__(self, mend: Callable[[], object]) -> None:
        self.lock = threading.RLock()
        self.busy = False
        """Somebody is inside. A thread that gets the RLock nevertheless is on top of its own step."""
        self.requests: list[Callable[[], object]] = []
        """Steps that wait, oldest first. There are hardly any, and an empty deque takes 0.7 kB."""
        self.mend = mend
        self._failed: Callable[[], object] | None = None

    def submit(self, step: Callable[[], object]) -> None:
        """Have a step done: now, or by whoever is inside. Never blocks; those of one thread keep their order.

        Args:
            step: is repeated after an exception cut it, so it must be idempotent.
        """
        self.requests.append(step)
        self.drain()

    def drain(self) -> None:
        """Do the steps that wait, unless somebody is inside, who will."""
        requests = self.requests
        lock = self.lock
        while requests:
            try:
                if not lock.acquire(False):
                    return
                if self.busy:
                    lock.release()
                    return
                self.busy = True
                # Peek, do, then pop: an exception at any bytecode loses no step, and a step done twice does
                # no harm.
                while requests:
                    requests[0]()
                    requests.pop(0)
                self.busy = False
                lock.release()
            except BaseException:
                self.recover()
                raise

    def recover(self) -> None:
        """After an exception in a step of this thread: leave the gate if inside, and have the ledger mended.

        Trying the RLock tells: it succeeds when this thread holds it already, or nobody does.
        """
        lock = self.lock
        if not lock.acquire(False):
            return
        requests = self.requests
        if requests:
            # A step that fails twice would fail for ever, in the face of everybody who comes by.
            if self._failed is requests[0]:
                requests.pop(0)
            else:
                self._failed = requests[0]
        # Before anything else is done with the ledger, it is mended.
        requests.insert(0, self.mend)
        self.busy = False
        lock.release()
        try:
            lock.release()
        except RuntimeError:
            # It was cut before it got in, or after it had left.
            return
        # Others may have found the gate closed meanwhile, and have left their steps here.
        self.drain()

    def visit(self, look: Callable[[], T]) -> T:
        """Look at the ledger between two steps, waiting for whoever is inside (microseconds).

        For ordinary code, not for finalizers. On top of a step of its own thread, or when somebody inside was
        stopped by a debugger, it looks in the middle of that step, so ``look`` must bear that.
        """
        inside, value = self._enter(look, VISIT_SECONDS)
        if not inside:
            return look()
        return value  # type: ignore[return-value]  # inside, so there is one

    def decide(self, step: Callable[[], T]) -> T | None:
        """Do a step here and return what it decides, waiting for whoever is inside.

        Returns:
            None where it can't be decided: on top of a step of its own thread.
        """
        return self._enter(step, -1)[1]

    def _enter(self, step: Callable[[], T], seconds: float) -> tuple[bool, T | None]:
        self.drain()
        lock = self.lock
        value: T | None = None
        try:
            if not lock.acquire(timeout=seconds):
                return False, None
            if self.busy:
                lock.release()
                return False, None
            self.busy = True
            while self.requests:
                self.requests[0]()
                self.requests.pop(0)
            value = step()
            self.busy = False
            lock.release()
        except BaseException:
            self.recover()
            raise
        if self.requests:
            self.drain()
        return True, value
