"""The buffer of a stage: events that nobody has asked for yet, and messages that wait for their turn behind
them.

A pure core. Events may be dropped when there is no more room, and what is dropped is counted; a message is
never dropped: it is due as soon as every event that was stored before it has left, one way or the other.

Semantics: GenStage's `:buffer_size` and `:buffer_keep`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import attrs

Keep: TypeAlias = Literal["first", "last"]


class _Message:
    """A message among the events, of which any object at all may be one."""

    __slots__ = ("content",)

    def __init__(self, content: object) -> None:
        self.content = content


@attrs.frozen
class Stored:
    """What came of storing events.

    Attributes:
        dropped: How many were dropped, of the old ones or of the new ones.
        due: The messages that are due because the events before them were dropped.
    """

    dropped: int = 0
    due: tuple[Any, ...] = attrs.field(default=(), converter=tuple)


@attrs.frozen
class Taken:
    """What was taken: some events, and the messages that are due behind the last of them."""

    events: list[Any]
    due: tuple[Any, ...] = attrs.field(default=(), converter=tuple)


class Buffer:
    """First in, first out, up to a limit.

    Args:
        limit: How many events it holds; None for any number.
        keep: Which ones stay when there are too many: `"first"`, the ones that are there, or `"last"`, the
            ones that come.

    Invariant: the first entry, if there is one, is an event.
    """

    __slots__ = ("_entries", "_messages", "_size", "dropped", "keep", "limit")

    def __init__(self, limit: int | None = None, keep: Keep = "last") -> None:
        self.limit = limit
        self.keep = keep
        self.dropped = 0
        """How many events it has dropped so far."""
        self._entries: deque[Any] = deque()
        self._size = 0
        self._messages = 0

    @property
    def size(self) -> int:
        """How many events it holds."""
        return self._size

    def store(self, events: list[Any]) -> Stored:
        """Put events behind all that is there."""
        excess = 0 if self.limit is None else max(0, self._size + len(events) - self.limit)
        due: list[Any] = []
        if excess and self.keep == "first":
            events = events[: len(events) - excess]
        elif excess:
            of_the_old = min(excess, self._size)
            for _ in range(of_the_old):
                self._entries.popleft()
                self._size -= 1
                due += self._due()
            events = events[excess - of_the_old :]
        self._entries += events
        self._size += len(events)
        self.dropped += excess
        return Stored(excess, due)

    def put_back(self, events: list[Any], due: Sequence[Any] = ()) -> None:
        """Put in front what was taken and nobody wants now, with the messages that are due behind it."""
        self._entries.extendleft(_Message(message) for message in reversed(due))
        self._messages += len(due)
        self._entries.extendleft(reversed(events))
        self._size += len(events)

    def put_behind(self, message: object) -> bool:
        """Have a message wait for the events that are here; False if there are none, so that it is due."""
        if not self._size:
            return False
        self._entries.append(_Message(message))
        self._messages += 1
        return True

    def take(self, most: int) -> Taken:
        """Take the oldest events: at most so many, and none behind a message that becomes due."""
        if not self._messages:
            if most >= self._size:
                events = list(self._entries)
                self._entries.clear()
            else:
                events = [self._entries.popleft() for _ in range(most)]
            self._size -= len(events)
            return Taken(events)
        events = []
        due: list[Any] = []
        while self._size and len(events) < most and not due:
            events.append(self._entries.popleft())
            self._size -= 1
            due = self._due()
        return Taken(events, due)

    def recount(self) -> list[Any]:
        """Count what is there, after a step that was cut off. Returns the messages that are due."""
        messages = sum(entry.__class__ is _Message for entry in self._entries)
        self._messages = messages
        self._size = len(self._entries) - messages
        return self._due()

    def _due(self) -> list[Any]:
        """Take the messages that stand in front."""
        due = []
        while self._messages and self._entries and self._entries[0].__class__ is _Message:
            due.append(self._entries.popleft().content)
            self._messages -= 1
        return due
