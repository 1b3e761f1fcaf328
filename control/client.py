"""The other end of the control socket: finds a running system, asks it, and reads its answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import Refusal, near
from .protocol import VERSION
from .sockets import CAN_LISTEN, Socket, connected, listed
from .tcp import HOST, TcpAddress

__all__ = ["Client", "NoSystem", "address_of", "find_system"]

_CONNECT = 5.0
_PIECE = 65_536


class NoSystem(Exception):
    """There is no system to ask, there are several, or it does not answer: as a sentence."""


def find_system(name: str | None = None, path: Path | None = None) -> Path:
    """The socket of the system that is meant.

    Args:
        name: Of the system, or `NAME-PID`; by default the one that runs.
        path: Where its socket is, if that is known.

    Raises:
        NoSystem: There is none, or it is not clear which.
    """
    if not CAN_LISTEN:
        raise NoSystem("this system has no Unix sockets, so running trees cannot be asked")
    if path is not None:
        return path
    there = listed()
    if name is None:
        fitting = there
    else:
        fitting = [each for each in there if each.label == name] or [
            each for each in there if each.is_called(name)
        ]
    if len(fitting) == 1:
        return fitting[0].path
    if fitting:
        raise NoSystem(f"several systems run; choose one with --name: {_names(fitting)}")
    if not there:
        raise NoSystem("no system runs of this user (`resprout run TREE.yaml` starts one)")
    hint = near(str(name), [*(each.name for each in there), *(each.label for each in there)], 1)
    meant = f"; did you mean {hint[0]!r}?" if hint else ""
    raise NoSystem(f"no system {name!r} runs, only {_names(there)}{meant}")


def address_of(port: int, token_file: Path) -> TcpAddress:
    """Where a system answers on TCP, with the token that a file has.

    Raises:
        NoSystem: The file cannot be read.
    """
    try:
        token = token_file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no token"
        raise NoSystem(f"the token of the system cannot be read: {token_file}: {why}") from error
    return TcpAddress(port, token)


def _names(there: list[Socket]) -> str:
    return ", ".join(each.label for each in there)


def _connected(where: Path | TcpAddress) -> socket.socket:
    if not isinstance(where, TcpAddress):
        return connected(where, _CONNECT)
    made = socket.create_connection((HOST, where.port), _CONNECT)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sendall(f"{where.token}\n".encode())
    except BaseException:
        made.close()
        raise
    return made


class Client:
    """A connection to a running system; one thread at a time may use it.

    Args:
        path: Its socket, or where it answers on TCP.
        timeout: Seconds that an answer may take; None for ever.

    Raises:
        NoSystem: Nobody listens there.
    """

    def __init__(self, path: Path | TcpAddress, timeout: float | None = 60.0) -> None:
        self._path = path
        try:
            self._socket = _connected(path)
        except OSError as error:
            raise NoSystem(f"no system listens at {path}: {error.strerror or error}") from error
        self._socket.settimeout(timeout)
        self._read = bytearray()
        self._id = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()

    def ask(self, do: str, args: Mapping[str, Any] | None = None, **values: Any) -> Any:
        """Makes a request and waits for its answer.

        Args:
            do: Its name.
            args: Its arguments; those that are None are not sent.
            values: Arguments that are sent whatever they are.

        Returns:
            The result, as JSON says it.

        Raises:
            Refusal: The system refuses.
            NoSystem: It does not answer, or is gone.
        """
        self._id += 1
        given = {name: value for name, value in (args or {}).items() if value is not None} | values
        asked = {"v": VERSION, "id": self._id, "do": do, "with": given}
        try:
            self._socket.sendall(json.dumps(asked).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # It has said why, which is read below.
        except OSError as error:
            raise self._gone(error) from error
        return self._result(self._line())

    def more(self) -> Iterator[Any]:
        """What follows an answer, until the system ends."""
        self._socket.settimeout(None)
        while True:
            try:
                line = self._line()
            except NoSystem:
                return
            yield self._result(line)

    def pages(self, do: str, args: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The rows of all pages."""
        offset: int | None = 0
        while offset is not None:
            page = self.ask(do, {**(args or {}), "offset": offset, "limit": 1_000})
            yield from page["rows"]
            offset = page["next"]

    def _line(self) -> bytes:
        while True:
            end = self._read.find(b"\n")
            if end >= 0:
                line = bytes(self._read[:end])
                del self._read[: end + 1]
                return line
            try:
                data = self._socket.recv(_PIECE)
            except OSError as error:
                raise self._gone(error) from error
            if not data:
                raise NoSystem(f"the system at {self._path} has ended")
            self._read += data

    def _gone(self, error: OSError) -> NoSystem:
        what = "does not answer in time" if isinstance(error, socket.timeout) else f"is gone: {error}"
        return NoSystem(f"the system at {self._path} {what}")

    def _result(self, line: bytes) -> Any:
        told = json.loads(line)
        if told["ok"]:
            return told["result"]
        error = told["error"]
        refused = Refusal(error["kind"], error["message"])
        refused.meant = tuple(error["meant"])
        raise refused
