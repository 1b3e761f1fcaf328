"""What the thread that listens knows of one client."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from ..actors import Pid
from ..actors.engine import Deaths
from .connection import Connection
from .door import Door
from .errors import Refusal
from .following import Follower

__all__ = ["Carried", "Served"]


class Served:
    """One connection.

    Args:
        peer: Its socket.
        connection: What has come from it, and is to go to it.
        door: Where it came in, if it has to show a token first.

    Attributes:
        watched: The events of its socket that are waited for.
        until: When it is dropped, once it is sent away.
        gone: Whether it has been dropped.
        worker: What carries its request out.
        only_waits: Whether that may end when the client has gone.
        follower: Gets it log records, if it follows them.
    """

    def __init__(self, peer: socket.socket, connection: Connection, door: Door | None = None) -> None:
        self.peer = peer
        self.connection = connection
        self.door = door
        self.watched = 0
        self.until: float | None = None
        self.gone = False
        self.worker: Pid | None = None
        self.only_waits = False
        self.follower: Follower | None = None

    @property
    def is_stranger(self) -> bool:
        """Whether it has not shown its token yet."""
        return self.door is not None

    def greet(self, line: bytes) -> None:
        """Takes the first line of a stranger.

        Raises:
            Refusal: It is not the token.
        """
        if self.door is None or not self.door.knows(line):
            wanted = "expected the token of this system on the first line; the file beside its socket has it"
            raise Refusal("bad_token", wanted)
        self.door = None

    def close(self) -> None:
        """Parts from it."""
        if self.follower is not None:
            self.follower.leave()
        self.peer.close()


class Carried(Deaths):
    """A request that is carried out by a process, which may die of that, or before it has begun.

    Args:
        came_to_nothing: Called where it dies, if the request is not `out` of its hands.
    """

    __slots__ = ("_came_to_nothing", "out")

    def __init__(self, came_to_nothing: Callable[[], None]) -> None:
        super().__init__()
        self._came_to_nothing = came_to_nothing
        self.out = False

    def deliver(self, down: Any) -> None:
        """The process is dead."""
        if not self.out:
            self._came_to_nothing()
