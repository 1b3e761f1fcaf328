"""What is counted while a tree runs: restarts, who gave up, and the signals that came."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from .. import supervision
from ..actors import Pid, telemetry
from ..supervision import STOP_SIGNALS, ChildRestarting, ChildStarted, GaveUp, ShuttingDown

__all__ = ["Tally", "address_of", "signals_seen"]

_SUPERVISORS = ("resprout", "supervisor")
_WEB_SERVERS = f"{supervision.__name__}.trees.asgi"
_EXITED = ("resprout", "process", "exited")


class Tally:
    """Counts the restarts of every supervisor while it is attached, and remembers the last that gave up.

    The handlers run in the processes that the events are about, so they do next to nothing.

    Args:
        root: Gives the root of the tree, None as long as there is none.

    Attributes:
        restarts: How many there were.
        gave_up: The last supervisor that did.
        addresses: Where each web application listens, or listened last, by its name.
        ending_since: When the root began to stop its children, by the monotonic clock; None if it has not.
    """

    def __init__(self, root: Callable[[], Pid | None]) -> None:
        self.restarts = 0
        self.gave_up: GaveUp | None = None
        self.addresses: dict[str, str] = {}
        self.ending_since: float | None = None
        self._root = root
        self._on_exit: Callable[[Pid], None] | None = None

    @property
    def ending(self) -> bool:
        """Whether the root has begun to stop its children."""
        return self.ending_since is not None

    @contextmanager
    def attached(self, on_exit: Callable[[Pid], None] | None = None) -> Iterator[None]:
        """Listens inside the `with`.

        Args:
            on_exit: Is told of every process that dies.
        """
        self._on_exit = on_exit
        telemetry.attach(("resprout.observer", id(self)), _SUPERVISORS, self._supervised)
        try:
            if on_exit is not None:
                telemetry.attach(("resprout.observer.exits", id(self)), _EXITED, self._exited)
            yield
        finally:
            telemetry.detach(("resprout.observer", id(self)))
            if on_exit is not None:
                telemetry.detach(("resprout.observer.exits", id(self)))

    def _supervised(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        happened = metadata.get("event")
        if isinstance(happened, ChildRestarting):
            self.restarts += 1
        elif isinstance(happened, ChildStarted):
            address = address_of(happened.pid)
            if address is not None:
                self.addresses[str(happened.pid.name)] = address
        elif isinstance(happened, GaveUp) and happened.scope == "supervisor":
            self.gave_up = happened
        elif isinstance(happened, ShuttingDown) and happened.supervisor is self._root():
            self.ending_since = monotonic()

    def _exited(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        if self._on_exit is not None:
            self._on_exit(metadata["pid"])


def address_of(pid: object) -> str | None:
    """Where a process listens, if it is a web application that serves: `host:port`."""
    actor = getattr(pid, "actor", None)
    address = getattr(actor, "listens_at", None) if type(actor).__module__ == _WEB_SERVERS else None
    if address is None:
        return None
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def signals_seen() -> Iterator[Callable[[], list[str]]]:
    """Notes the signals to stop that Python handlers get inside the `with`, whoever installs those; main
    thread only.

    It takes none away: the interpreter itself writes their numbers down (`signal.set_wakeup_fd`).

    Yields:
        What gives the names of those so far, the first one first.
    """
    reader, writer = socket.socketpair()
    numbers: list[int] = []

    def seen() -> list[str]:
        try:
            numbers.extend(reader.recv(4096))
        except BlockingIOError:
            pass
        # Others come, too: SIGQUIT, which shows what goes on, and those of the program's own.
        return [signal.Signals(number).name for number in numbers if number in STOP_SIGNALS]

    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        try:
            before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        except ValueError:  # in another thread than the main one, where no handlers are, either
            yield seen
            return
        try:
            yield seen
        finally:
            signal.set_wakeup_fd(before)
