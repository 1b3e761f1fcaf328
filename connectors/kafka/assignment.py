"""What the coordinator of a group and the process of a partition share: one assignment of that partition.

Two processes write here, without a lock, so each attribute has one writer, and whoever must not miss the
other's word writes their own before they read it:

* The coordinator writes `closing` and then reads `busy`; the process writes `busy` and then reads `closing`.
  So a handler that begins after the coordinator has looked does not: it sees `closing`.
* The process writes `done` before `busy` is false, and the coordinator reads `done` after that.

An assignment is the generation: a partition that comes back gets a new one, and nobody looks at the old one
any more. So what a handler from before a rebalance completes cannot be committed after it. In the same way
a partition's process that is restarted has a run of its own.
"""

from __future__ import annotations

import threading
from typing import TypeAlias

import attrs

from ...actors import Pid

Key: TypeAlias = tuple[str, int]
"""A topic, and the number of a partition."""


class Run:
    """One incarnation of a partition's process, from when it may handle messages."""

    __slots__ = ("busy", "done", "handled", "pid", "sent")

    def __init__(self, pid: Pid, done: int | None = None) -> None:
        self.pid = pid
        self.sent = 0
        """How many messages it was given. Of the coordinator."""
        self.handled = 0
        """How many of them it is through with. Of the process, as all below."""
        self.done = done
        """The offset behind the last message that is done; None if nothing was."""
        self.busy = False
        """Whether it is at work on what it was given. True until its code has left, also if it was killed."""


class Assignment:
    """One partition, from when it is assigned until it is given up."""

    __slots__ = ("bell", "closing", "committed", "end", "first", "key", "paused", "pid", "refetch", "run")

    def __init__(self, key: Key, bell: threading.Event) -> None:
        self.key = key
        self.bell = bell
        """Wakes the coordinator: there is room again, or a process has stopped working."""
        self.closing = False
        """Nothing more is to be begun. Of the coordinator, as all below but `pid`."""
        self.run: Run | None = None
        """Who handles its messages. The first one is set by that process itself, before it is known."""
        self.first: int | None = None
        """The offset of the first message that came."""
        self.committed: int | None = None
        self.end: int | None = None
        """Where the partition ends, as was last heard while somebody watched."""
        self.paused = False
        self.refetch: int | None = None
        """From where it has to be fetched once more; until then, what comes is thrown away."""
        self.pid: Pid | None = None
        """The newest incarnation of its process. Of that."""

    @property
    def backlog(self) -> int:
        """How many messages are in memory for it."""
        run = self.run
        return 0 if run is None else run.sent - run.handled

    @property
    def busy(self) -> bool:
        """Whether a handler may be at work."""
        return self.run is not None and self.run.busy

    @property
    def position(self) -> int | None:
        """The offset behind what is done."""
        return None if self.run is None else self.run.done

    @property
    def uncommitted(self) -> int | None:
        """The offset to commit; None if there is nothing new."""
        done = self.position
        return None if done == self.committed else done

    @property
    def begin_at(self) -> int | None:
        """From where a new run has to be given messages; None if none has come yet."""
        return self.first if self.position is None else self.position


@attrs.frozen
class Position:
    """How far one partition is.

    Attributes:
        topic, partition: Which one.
        next_offset: The offset behind the last message that is done; None if none was yet.
        committed: The offset that the broker knows from this subscriber; None if none was committed yet.
        waiting: How many messages are in memory.
        paused: Whether nothing is fetched for it, since there are enough.
        pid: The process that handles its messages.
    """

    topic: str
    partition: int
    next_offset: int | None
    committed: int | None
    waiting: int
    paused: bool
    pid: Pid | None

    @classmethod
    def of(cls, assignment: Assignment) -> Position:
        """Of an assignment."""
        return cls(
            *assignment.key,
            next_offset=assignment.position,
            committed=assignment.committed,
            waiting=assignment.backlog,
            paused=assignment.paused,
            pid=assignment.pid,
        )
