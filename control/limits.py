"""What a client of the control socket may ask for: sizes, rates, numbers and times."""

from __future__ import annotations

import attrs

__all__ = ["DEFAULTS", "SocketLimits"]


@attrs.frozen
class SocketLimits:
    """The limits of one socket.

    Args:
        line: Bytes of a request.
        answer: Bytes of an answer.
        backlog: Bytes of followed records that a client has not read yet; what comes then is left out.
        clients: How many there may be at once.
        rate: Requests a second, of all clients together; more have to wait.
        half_line: Seconds in which the rest of a line must come.
        unread: Seconds in which a client must read something of what waits for it.
        idle: Seconds after which a client that asks for nothing is sent away.
    """

    line: int = 64 * 1024
    answer: int = 4 * 1024 * 1024
    backlog: int = 256 * 1024
    clients: int = 16
    rate: float = 500.0
    half_line: float = 10.0
    unread: float = 30.0
    idle: float = 600.0


DEFAULTS = SocketLimits()
