"""Log records as they come, for one client: none is missed, and none that it does not read is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .connection import Connection
from .logs import is_of
from .protocol import streamed

__all__ = ["Follower"]


class Follower:
    """Puts records into a connection, in the thread of that.

    Args:
        connection: The client's.
        id: Of its request.
        child: Whose records it wants; None for everybody's.
    """

    def __init__(self, connection: Connection, id: str | int | None, child: str | None) -> None:
        self._connection = connection
        self._id = id
        self._child = child
        self._early: list[dict[str, Any]] = []
        self.leave: Callable[[], None] = lambda: None

    def wants(self, record: dict[str, Any]) -> bool:
        """Whether the client wants a record; in any thread."""
        return self._child is None or is_of(record["path"] or "", self._child)

    def begin(self, last: int, now: float) -> None:
        """What there was is answered, up to a record: what has come since is passed on."""
        self._connection.following = True
        early, self._early = self._early, []
        for record in early:
            if record["number"] > last:
                self.pass_on(record, now)

    def pass_on(self, record: dict[str, Any], now: float) -> None:
        """A record is there."""
        connection = self._connection
        if not connection.following:
            self._early.append(record)
        elif connection.has_room:
            connection.put(streamed(self._id, record), now)
        else:
            connection.leave_out()

    def tell_left_out(self, now: float) -> None:
        """Everything was read: tells how many were left out."""
        connection = self._connection
        if connection.following and not connection.writes and (count := connection.left_out):
            connection.put(streamed(self._id, {"left_out": count}), now)
