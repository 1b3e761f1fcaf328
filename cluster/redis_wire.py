"""One conversation with a Redis server, in which no wait is longer than it may be.

The client library connects: it knows what a URL may say, TLS, and how to log in. What follows is said and
heard here, since its own calls wait anew for each part of an answer.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Sequence
from time import monotonic
from typing import Any, TypeAlias

import hiredis
import redis
from redis.connection import Connection, SSLConnection, parse_url

from .driver import ConnectionLost

Word: TypeAlias = bytes | str | int | float
_AGAIN = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_OURS = {"connection_class", "protocol", "decode_responses", "client_name", "socket_timeout"}
"""What a URL can't change."""


class RedisError(ConnectionLost):
    """The server refused a command.

    Attributes:
        kind: the first word of what it says.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.kind = message.partition(" ")[0]
        # Not where a session of ours is over.
        self.by_request = self.kind != "UNKNOWN"


class Wire:
    """See the module.

    Args:
        url: of the library's kind.
        name: what the connection is called over there.
        timeout: seconds for connecting.

    Raises:
        ValueError: the URL makes no sense.
        RedisError: the server says no.
        ConnectionLost: there is none, or not in time.
    """

    def __init__(self, url: str, name: str, timeout: float) -> None:
        parse: Any = parse_url
        given = {key: value for key, value in parse(url).items() if key not in _OURS}
        make: Any = SSLConnection if url.startswith("rediss:") else Connection
        try:
            self._owner = make(
                **{"socket_connect_timeout": timeout, **given},
                protocol=2,
                socket_timeout=timeout,
                client_name=name,
                driver_info=None,
            )
        except TypeError as error:
            raise ValueError(f"it has an option that is not known ({error})") from None
        try:
            self._owner.connect()
        except redis.exceptions.NoPermissionError as error:
            # The library has taken the first word for itself.
            raise RedisError(f"NOPERM {error}") from None
        except redis.ResponseError as error:
            raise RedisError(str(error)) from None
        except redis.RedisError as error:
            raise ConnectionLost(str(error)) from None
        # There is no other way to it. The connection of the library stays its owner.
        self._socket: socket.socket = self._owner._sock
        self._socket.setblocking(False)
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)

    def fileno(self) -> int:
        """Its socket."""
        return self._socket.fileno()

    def ask(self, commands: Sequence[Sequence[Word]], timeout: float) -> list[Any]:
        """Say several commands at once; their answers, of which some may be a RedisError.

        Raises:
            ConnectionLost: there is no answer in time.
        """
        until = monotonic() + timeout
        # Typed for tuples of one.
        pack: Any = hiredis.pack_command
        try:
            self._send(b"".join([pack(tuple(command)) for command in commands]), until)
            return [self._answer(until) for _ in commands]
        except OSError as error:
            raise ConnectionLost(str(error)) from None

    def run(self, *command: Word, timeout: float) -> Any:
        """Say one command.

        Raises:
            RedisError: the server says no.
            ConnectionLost: there is no answer in time.
        """
        (answer,) = self.ask([command], timeout)
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def heard(self) -> list[Any]:
        """What has come in without being asked for. Never blocks.

        Raises:
            ConnectionLost: nothing will come any more.
        """
        found = []
        try:
            while True:
                answer = self._gets()
                if answer is not _NOTHING:
                    found.append(answer)
                elif not self._receive():
                    break
        except OSError as error:
            raise ConnectionLost(str(error)) from None
        return found

    def interrupt(self) -> None:
        """Have whoever waits here meet ConnectionLost; from another thread."""
        try:
            with socket.socket(fileno=socket.dup(self.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is gone by itself.
            pass

    def close(self) -> None:
        """End it."""
        self._owner.disconnect()

    def _send(self, data: bytes, until: float) -> None:
        left = memoryview(data)
        while True:
            if not left:
                break
            try:
                left = left[self._socket.send(left) :]
            except _AGAIN:
                self._wait(until, writing=True)

    def _answer(self, until: float) -> Any:
        while True:
            answer = self._gets()
            if answer is not _NOTHING:
                return answer
            if not self._receive():
                self._wait(until)

    def _gets(self) -> Any:
        try:
            answer = self._reader.gets()
        except hiredis.HiredisError as error:
            raise ConnectionLost(f"that is no Redis server: {error}") from None
        return RedisError(str(answer)) if isinstance(answer, hiredis.ReplyError) else answer

    def _receive(self) -> bool:
        """Read what there is; False where there is nothing yet."""
        try:
            data = self._socket.recv(65536)
        except _AGAIN:
            return False
        if not data:
            raise ConnectionLost("the server has closed the connection")
        self._reader.feed(data)
        return True

    def _wait(self, until: float, writing: bool = False) -> None:
        left = until - monotonic()
        if left <= 0 or not _ready(self._socket.fileno(), left, writing):
            raise ConnectionLost("the server did not answer in time")


_NOTHING = object()


def _ready(fd: int, seconds: float, writing: bool) -> bool:
    """Wait until a socket can be read, or written if that is wanted, too."""
    if not hasattr(select, "poll"):
        # Windows
        return any(select.select([fd], [fd] if writing else [], [], seconds))
    poller = select.poll()
    poller.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))
    return bool(poller.poll(seconds * 1000))
