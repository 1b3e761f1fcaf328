"""Where clients come in: a socket that listens, and who may enter by it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .errors import Refusal
from .sockets import owner_of, place_of

__all__ = ["Door"]

_SHORTEST = 0.05
"""Seconds until who could not be let in is tried again for the first time."""
_LONGEST = 1.0
"""The same, when that has failed often."""


class Door:
    """A Unix socket that listens, for its user alone.

    Args:
        listening: The socket.
        path: Where; it is removed at the end.
        peer_user: Tells the user at the other end.
    """

    asks_for_token = False
    """Whether the first line of a connection has to be a token."""

    def __init__(
        self,
        listening: socket.socket,
        path: Path | None,
        peer_user: Callable[[socket.socket], int | None] = owner_of,
    ) -> None:
        self.listening = listening
        self.path = path
        self._place = None if path is None else place_of(path)
        self._peer_user = peer_user
        self._pause = _SHORTEST
        self._shut_until: float | None = None

    def accept(self, now: float) -> socket.socket | None:
        """Who waits to be let in; None if nobody does after all.

        Raises:
            OSError: There is no descriptor for anybody more. The door is shut then, and who waits goes on
                waiting.
        """
        try:
            peer, _ = self.listening.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        except OSError:
            self._shut_until = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST)
            raise
        self._pause = _SHORTEST
        return peer

    @property
    def shut_until(self) -> float | None:
        """When it is to be opened again; None while it is open."""
        return self._shut_until

    def hurry(self, now: float) -> None:
        """A descriptor has become free: it need not be shut any longer."""
        if self._shut_until is not None:
            self._shut_until = now

    def opens(self, now: float) -> bool:
        """Whether it was shut and is opened now."""
        if self._shut_until is None or now < self._shut_until:
            return False
        self._shut_until = None
        return True

    def refusal(self, peer: socket.socket) -> Refusal | None:
        """Why somebody may not enter, if so."""
        user = self._peer_user(peer)
        if user != os.geteuid():
            who = "somebody unknown" if user is None else f"user {user}"
            return Refusal("other_user", f"expected user {os.geteuid()}, who runs this system, got: {who}")
        return None

    def knows(self, line: bytes) -> bool:
        """Whether a first line is the token, where one is asked for."""
        return False

    def remove(self) -> None:
        """Removes what leads here from the file system, unless that leads to another one by now."""
        if self.path is not None and self._place is not None and place_of(self.path) == self._place:
            with suppress(OSError):
                os.unlink(self.path)
