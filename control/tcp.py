"""The control socket on TCP, for where no Unix socket leads: on 127.0.0.1, with a token in a file."""

from __future__ import annotations

import hmac
import os
import re
import secrets
import socket
from contextlib import suppress
from pathlib import Path

import attrs

from .door import Door
from .errors import Refusal
from .sockets import token_beside

__all__ = ["HOST", "TcpAddress", "TcpDoor", "opened", "read_address"]

HOST = "127.0.0.1"
_BYTES = 32
"""Of a token, by chance."""
_ADDRESS = re.compile(r"(?:(127\.0\.0\.1|localhost):)?(\d{1,5})", re.ASCII)


@attrs.frozen
class TcpAddress:
    """Where a system answers on TCP.

    Args:
        port: Of 127.0.0.1.
        token: What its first line has to be.
    """

    port: int
    token: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{HOST}:{self.port}"


def read_address(text: str) -> int:
    """The port that `PORT` or `HOST:PORT` means.

    Raises:
        ValueError: It is none, or the host is another one, to which a token would go in the clear.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[2]) > 65_535:
        raise ValueError(f"expected a port of {HOST}, and no other host, got: {text!r}")
    return int(found[2])


class TcpDoor(Door):
    """A TCP socket that listens on 127.0.0.1, for who knows a token.

    Args:
        listening: The socket.
        token_file: The file of this user's alone that has the token; it is removed at the end.
        token: What the first line of a connection has to be.
    """

    def __init__(self, listening: socket.socket, token_file: Path, token: str) -> None:
        super().__init__(listening, token_file)
        self._token = token.encode()

    asks_for_token = True

    @property
    def port(self) -> int:
        """Of 127.0.0.1."""
        return int(self.listening.getsockname()[1])

    def accept(self, now: float) -> socket.socket | None:
        """Who waits to be let in; see `Door.accept`."""
        peer = super().accept(now)
        if peer is not None:
            with suppress(OSError):  # It may have gone.
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer

    def refusal(self, peer: socket.socket) -> Refusal | None:
        """Nobody is refused before the first line."""
        return None

    def knows(self, line: bytes) -> bool:
        """Whether a first line is the token; it takes as long whatever it is."""
        return hmac.compare_digest(line.removesuffix(b"\r"), self._token)


def opened(port: int, beside: Path) -> TcpDoor:
    """A door at a port, with its token in a file beside a Unix socket.

    Args:
        port: 0 lets the system choose.
        beside: The path of the socket; the file has `.token` in place of its `.sock`.

    Raises:
        OSError: The port is taken, or the file cannot be written.
    """
    file = token_beside(beside)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        token = secrets.token_urlsafe(_BYTES)
        # The socket beside it is this system's, so what is there was left by one that was killed.
        with suppress(FileNotFoundError):
            os.unlink(file)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writing:
            writing.write(f"{token}\n")
        listening.listen(16)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return TcpDoor(listening, file, token)
