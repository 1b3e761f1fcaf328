"""Steps that are done one after another on the pool, for a thread that must not wait for them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from ...actors.engine import kernel

logger = logging.getLogger("resprout.supervision")


class Serial:
    """A queue of steps; whoever appends never waits.

    Args:
        limit: So many steps may wait; more are counted and left out. None for any number.
        tell: Called with how many were left out, when the queue has been worked off.
    """

    def __init__(self, limit: int | None = None, tell: Callable[[int], object] | None = None) -> None:
        self._steps: deque[Callable[[], object]] = deque()
        self._free = [True]
        self._limit = limit
        self._tell = tell
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: Callable[[], object]) -> None:
        """Have a step done after those before it."""
        if self._limit is not None and len(self._steps) >= self._limit:
            self.left_out += 1
            return
        self._steps.append(step)
        self._begin()

    def _begin(self) -> None:
        # Of all who come here one gets the right; who gives it back looks again.
        try:
            self._free.pop()
        except IndexError:
            return
        kernel.pool.submit(self)

    def run(self, worker: object) -> None:
        """Does what waits, on a thread of the pool."""
        try:
            while True:
                if not self._steps:
                    break
                try:
                    self._steps.popleft()()
                except Exception:
                    logger.exception("a step for a placed child failed")
            left_out, self.left_out = self.left_out, 0
            if left_out and self._tell is not None:
                self._tell(left_out)
        finally:
            self._free.append(True)
        if self._steps:
            self._begin()
