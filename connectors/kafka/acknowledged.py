"""Which messages of a partition were acknowledged, in any order, and up to where all of them were."""

from __future__ import annotations

from collections import deque


class Acknowledged:
    """The offsets of one partition that were given out, as long as one before them is open.

    Invariant: `_open` holds offsets in the order in which they were given out; all before its first one are
    done.
    """

    __slots__ = ("_done", "_open", "position")

    def __init__(self) -> None:
        self._open: deque[int] = deque()
        self._done: set[int] = set()
        self.position: int | None = None
        """The offset behind the last message before which everything is done; None before there is one."""

    @property
    def open(self) -> int:
        """How many were given out and are not acknowledged."""
        return len(self._open) - len(self._done)

    def gave(self, offset: int) -> None:
        """A message was given out; offsets rise."""
        self._open.append(offset)

    def ack(self, offset: int) -> None:
        """It is done. Once more, or for one that was not given out, nothing happens."""
        if offset in self._done or not self._open or not self._open[0] <= offset <= self._open[-1]:
            return
        if offset == self._open[0]:
            self._pass()
            while self._open and self._open[0] in self._done:
                self._done.discard(self._open[0])
                self._pass()
        elif offset in self._open:
            self._done.add(offset)

    def _pass(self) -> None:
        self.position = self._open.popleft() + 1
