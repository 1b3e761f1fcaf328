"""Wakes a thread that waits for a socket as well: safe in finalizers and signal handlers."""

from __future__ import annotations

import socket


class Bell:
    """Two ends of a line, closed when nobody has them any more, so that nothing else is ever rung."""

    __slots__ = ("_in", "_out")

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def fileno(self) -> int:
        """What is readable when it was rung."""
        return self._in.fileno()

    def ring(self) -> None:
        """Have the other side wake. Never blocks."""
        try:
            self._out.send(b"!")
        except BlockingIOError:
            # It has been rung often enough.
            pass

    def quieten(self) -> None:
        """It was heard."""
        try:
            self._in.recv(4096)
        except BlockingIOError:
            pass

    def __del__(self) -> None:
        try:
            self._in.close()
            self._out.close()
        except AttributeError:
            # There were no files left for it.
            pass
