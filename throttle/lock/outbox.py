"""What observers are told after a step of a ledger, outside its combiner, since that may run user code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...actors.engine import kernel

if TYPE_CHECKING:
    from ...actors.engine import Worker


class Outbox:
    """Keeps what is to be told, in order."""

    __slots__ = ("_emitting", "_failed", "_outbox")

    def __init__(self) -> None:
        self._outbox: deque[Callable[[], object]] | None = None
        """What is to be told after the step; None until there is anything."""
        self._emitting = [None]
        """The turn to tell: taken and given back, one atomic operation each."""
        self._failed: object = None
        """What could not be told the last time."""

    def later(self, tell: Callable[[], object]) -> None:
        """Have something told that may run user code, after the step."""
        if self._outbox is None:
            self._outbox = deque()
        self._outbox.append(tell)

    def flush(self) -> None:
        """Tell observers what the steps have left for them, in order, unless somebody else is at it."""
        outbox = self._outbox
        turn = self._emitting
        while outbox:
            try:
                # Not by a call, behind which an interrupt could come.
                del turn[0]
            except IndexError:
                return
            try:
                while True:
                    if not outbox:
                        break
                    # Told, then popped: cut in between, it is told again rather than never.
                    outbox[0]()
                    outbox.popleft()
            except BaseException:
                # Once more, after an interrupt; but not for ever.
                if outbox:
                    if self._failed is outbox[0]:
                        outbox.popleft()
                    else:
                        self._failed = outbox[0]
                turn.append(None)
                self.flush_elsewhere()
                raise
            turn.append(None)

    def flush_elsewhere(self) -> None:
        """The same from a place where no user code may run."""
        if self._outbox:
            kernel.pool.submit(_Flush(self))


class _Flush:
    """A task of the pool: tell what is in the outbox."""

    __slots__ = ("_teller",)

    def __init__(self, teller: Outbox) -> None:
        self._teller = teller

    def run(self, worker: Worker) -> None:
        self._teller.flush()
