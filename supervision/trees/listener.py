"""A listening socket that outlives the servers that serve it."""

from __future__ import annotations

import os
import socket

from ...actors.engine import lock


class Listener:
    """Bound once, at the first `open`, and then handed to one server after the other.

    While no server runs, the system queues connections, so clients of a server that is being restarted wait
    instead of being refused.

    Args:
        host: A host name or an address.
        port: A port; 0 lets the system choose one, which then stays the same.
        backlog: How many connections may wait to be accepted.

    Attributes:
        advice: How to choose another port, for whoever finds it taken.
    """

    def __init__(self, host: str, port: int, backlog: int = 2048) -> None:
        self._host = host
        self._port = port
        self._backlog = backlog
        self._lock = lock()
        self._socket: socket.socket | None = None
        self.advice = ""

    def __eq__(self, other: object) -> bool:
        """Whether it is for the same address."""
        if not isinstance(other, Listener):
            return NotImplemented
        mine, theirs = ((each._host, each._port, each._backlog) for each in (self, other))
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self._host, self._port))

    def open(self) -> socket.socket:
        """A socket of the caller's own for the same address; the caller closes it.

        Raises:
            OSError: It cannot listen there; the message names the address.
        """
        with self._lock:
            if self._socket is None:
                self._socket = self._bind()
            return self._socket.dup()

    def obstacle(self) -> str | None:
        """Why it could not listen now, in a sentence; `None` if it could, or does so already."""
        with self._lock:
            if self._socket is None:
                try:
                    self._bind().close()
                except OSError as error:
                    advice = f"; choose another {self.advice}" if self.advice else ""
                    return f"{error.strerror or error}{advice}"
            return None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; the port is the real one as soon as it was opened."""
        bound = self._socket
        return (self._host, self._port if bound is None else bound.getsockname()[1])

    def close(self) -> None:
        """Stops listening. It may be opened again."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _bind(self) -> socket.socket:
        try:
            found = socket.getaddrinfo(
                self._host,
                self._port,
                type=socket.SOCK_STREAM,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_PASSIVE,
            )
            family, kind, protocol, _, address = found[0]
            # With the protocol, which socket.create_server leaves out: asyncio switches Nagle off only
            # for sockets that say they are TCP, and with it each answer would take 40 ms.
            bound = socket.socket(family, kind, protocol)
            try:
                if os.name == "posix":  # Elsewhere this would let two programs listen at the same port.
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind(address)
                bound.listen(self._backlog)
            except BaseException:
                bound.close()
                raise
            return bound
        except OSError as error:
            where = f"{self._host}:{self._port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror or error}") from None
