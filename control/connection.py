"""What has come from one client, and what is to go to it, within the limits. Knows no socket and no clock."""

from __future__ import annotations

from collections import deque

from .errors import Refusal
from .limits import SocketLimits

__all__ = ["Connection"]


class Connection:
    """The two buffers of a client.

    One request is carried out at a time, in the order in which they come. Nothing is read from a client while
    there are whole lines of it, or while it does not read its answers: what it sends then stays in its own
    buffers.

    Args:
        limits: Of the socket.
        now: The time, in seconds, as in all that is told it.
        is_awaited: Whether the first line has to come as soon as the rest of one.
    """

    def __init__(self, limits: SocketLimits, now: float, *, is_awaited: bool = False) -> None:
        self._limits = limits
        self._incoming = bytearray()
        self._searched = 0
        self._outgoing: deque[bytes] = deque()
        self._waiting = 0
        self._left_out = 0
        self._seen = now
        self._half_since: float | None = now if is_awaited else None
        self._unread_since: float | None = None
        self.busy = False
        self.following = False
        self.closing = False

    # In ---------------------------------------------------------------------------------------------

    @property
    def reads(self) -> bool:
        """Whether anything is to be read from it."""
        return not (self.closing or self.busy or self._waiting or b"\n" in self._incoming)

    def received(self, data: bytes, now: float) -> None:
        """The client has sent something.

        Raises:
            Refusal: A line is too long.
        """
        self._seen = now
        if self.following:
            raise Refusal("bad_request", "expected nothing more on a connection that follows the log")
        self._incoming += data
        self._half_since = self._half_since or now
        if self._incoming.find(b"\n", self._searched) < 0:
            self._searched = len(self._incoming)
            if len(self._incoming) > self._limits.line:
                raise self._too_long()

    def _too_long(self) -> Refusal:
        return Refusal("too_long", f"expected a line of at most {self._limits.line} bytes, got more")

    @property
    def ready(self) -> bool:
        """Whether a request waits to be begun with."""
        return not (self.busy or self._waiting or self.closing or self.following) and b"\n" in self._incoming

    def next_line(self, now: float) -> bytes | None:
        """The next request, if there is a whole one and the one before it has been answered.

        Raises:
            Refusal: It is too long.
        """
        if self.busy or self._waiting or self.closing or self.following:
            return None
        end = self._incoming.find(b"\n")
        if end < 0:
            return None
        if end > self._limits.line:
            raise self._too_long()
        line = bytes(self._incoming[:end])
        del self._incoming[: end + 1]
        self._searched = 0
        self._half_since = now if self._incoming else None
        return line

    def at_end(self) -> Refusal | None:
        """The client sends no more: what is wrong with that, if anything is."""
        if self._incoming and b"\n" not in self._incoming:
            return Refusal("half_line", "expected a line end, got the end of the connection")
        return None

    # Out --------------------------------------------------------------------------------------------

    @property
    def writes(self) -> bool:
        """Whether something waits to be sent to it."""
        return self._waiting > 0

    @property
    def left_out(self) -> int:
        """How many records were left out since this was asked, as the client does not read them."""
        count, self._left_out = self._left_out, 0
        return count

    @property
    def has_room(self) -> bool:
        """Whether another record may be put in."""
        return self._waiting < self._limits.backlog

    def put(self, line: bytes, now: float) -> None:
        """Something is to be sent."""
        if not self._waiting:
            self._unread_since = now
        self._outgoing.append(line)
        self._waiting += len(line)

    def leave_out(self) -> None:
        """A record is not sent."""
        self._left_out += 1

    @property
    def outgoing(self) -> bytes:
        """What is to be sent next."""
        return self._outgoing[0]

    def sent(self, count: int, now: float) -> None:
        """So many bytes of that were."""
        first = self._outgoing.popleft()
        if count < len(first):
            self._outgoing.appendleft(first[count:])
        self._waiting -= count
        if count:
            self._seen = now
            self._unread_since = now if self._waiting else None

    # Time -------------------------------------------------------------------------------------------

    def overdue(self, now: float) -> Refusal | None:
        """Why it is to be sent away now, if it is."""
        limits = self._limits
        if self._unread_since is not None and now - self._unread_since >= limits.unread:
            return Refusal("too_slow", f"expected answers to be read within {limits.unread:g} s")
        if self._half_since is not None and self.reads and now - self._half_since >= limits.half_line:
            return Refusal("half_line", f"expected the rest of the line within {limits.half_line:g} s")
        if not self.busy and not self.following and now - self._seen >= limits.idle:
            return Refusal("idle", f"expected a request within {limits.idle:g} s")
        return None

    def due(self) -> float | None:
        """When `overdue` is worth asking again; None if never."""
        times = []
        if self._unread_since is not None:
            times.append(self._unread_since + self._limits.unread)
        if self._half_since is not None and self.reads:
            times.append(self._half_since + self._limits.half_line)
        if not self.busy and not self.following:
            times.append(self._seen + self._limits.idle)
        return min(times, default=None)
