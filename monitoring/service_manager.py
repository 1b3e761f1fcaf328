"""What systemd is told of a tree: that it is ready, that it stops, how it is doing, and that it lives.

The protocol of sd_notify(3): datagrams of text to the socket that `$NOTIFY_SOCKET` names, as a unit with
`Type=notify` has it. With `WatchdogSec=` systemd ends a program that has not said for so long that it lives.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic, monotonic_ns
from typing import Any, Final

from ..actors import telemetry
from ..actors.engine import check_alive, lock
from ..supervision import Application, ShuttingDown
from .conditions import Readiness, health, readiness

logger: Final = logging.getLogger("resprout.monitoring")

_SHUTDOWN: Final = ("resprout", "supervisor", "shutdown")
_APPLICATION: Final = ("resprout", "application")
_RELOADING: Final = (*_APPLICATION, "reloading")
_RELOADED: Final = (*_APPLICATION, "reloaded")
_SOON: Final = 0.05
"""Seconds between two looks until the tree has started."""
_LATER: Final = 5.0
"""The same afterwards, at most."""
_NAMED: Final = 5
"""How many children that are not ready a status names."""
_LONGEST: Final = 1_000
"""Characters of a status."""
_UNTOLD: Final = 16
"""How many things are kept that the service manager did not take."""


def notify(*lines: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the service manager something, such as `"STATUS=migrating the database"`.

    It does not wait: what the service manager cannot take now is lost.

    Args:
        lines: Assignments of sd_notify(3), sent together.
        environment: Where `NOTIFY_SOCKET` is.

    Returns:
        Whether it was sent; False where no service manager asks to be told, or none listens.

    Raises:
        ValueError: A line is no assignment, or is more than one.
    """
    check_alive()
    for line in lines:
        if "=" not in line or "\n" in line:
            raise ValueError(f"expected one line NAME=VALUE, got: {line!r}")
    address = _address(environment.get("NOTIFY_SOCKET", ""))
    return address is not None and _send(address, lines)


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """How long systemd waits for a sign of life of this process (`WatchdogSec=`); None if it does not."""
    check_alive()
    try:
        microseconds = int(environment["WATCHDOG_USEC"])
        pid = int(environment.get("WATCHDOG_PID") or os.getpid())
    except (KeyError, ValueError):
        return None
    return microseconds / 1e6 if microseconds > 0 and pid == os.getpid() else None


@contextmanager
def service_told_of(application: Application, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Tell the service manager of a tree inside the `with`; where there is none, do nothing.

    `READY=1` when all children have started, `RELOADING=1` when the tree file is read again and `READY=1`
    after that, `STOPPING=1` when the root begins to stop them, `STATUS=` with who is not at work, and
    `WATCHDOG=1` at half the interval that systemd wants, only while the tree is healthy (see `health`).
    `resprout run` does this; a program that starts an `Application` itself enters it before.

    Args:
        application: Whose tree it is.
        environment: Where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are.
    """
    check_alive()
    address = _address(environment.get("NOTIFY_SOCKET", ""))
    if address is None:
        yield
        return
    teller = _Teller(application, address, watchdog_seconds(environment))
    telemetry.attach((teller, _SHUTDOWN), _SHUTDOWN, teller.hear_of_the_end)
    telemetry.attach((teller, _APPLICATION), _APPLICATION, teller.hear_of_a_reload)
    teller.thread.start()
    try:
        yield
    finally:
        for event in (_SHUTDOWN, _APPLICATION):
            telemetry.detach((teller, event))
        teller.end()


class _Teller:
    """Looks at a tree from time to time, in a thread, and tells what has changed.

    What the service manager cannot take at the moment is told again soon, in the same order.
    """

    def __init__(self, application: Application, address: str, watchdog: float | None) -> None:
        self.thread = threading.Thread(target=self._run, name="resprout service manager", daemon=True)
        self._application = application
        self._address = address
        self._alive_every = None if watchdog is None else watchdog / 2
        self._alive_at = 0.0
        self._ended = False
        self._wake = threading.Event()
        self._telling = lock()
        self._untold: deque[tuple[str, ...]] = deque(maxlen=_UNTOLD)
        self._is_ready = False
        self._stops = False
        self._failed = False
        self._status = ""

    def hear_of_the_end(
        self, event: telemetry.Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """A supervisor stops: in its own process, so this must not wait."""
        happened = metadata["event"]
        if isinstance(happened, ShuttingDown) and happened.supervisor is self._application.root:
            self._stop()

    def hear_of_a_reload(
        self, event: telemetry.Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        """An application begins to read its tree again, or has taken it over."""
        if metadata["application"] is not self._application:
            return
        with self._telling:
            if not self._is_ready or self._stops:
                return
        if event == _RELOADING:
            self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1_000}")
        elif event == _RELOADED:
            self._tell("READY=1")

    def end(self) -> None:
        """The tree has ended; nothing is told after this has returned."""
        self._ended = True
        self._wake.set()
        self.thread.join()
        self._stop()
        self._tell_again()

    def _stop(self) -> None:
        if not self._stops:
            self._stops = True
            self._tell("STOPPING=1", "STATUS=stopping")

    def _tell(self, *lines: str) -> None:
        self._untold.append(lines)
        if not self._tell_again():
            self._wake.set()

    def _tell_again(self) -> bool:
        """Tells what is untold; whether nothing is left of it."""
        with self._telling:
            while True:
                if not self._untold:
                    return True
                if not _send(self._address, self._untold[0]):
                    return False
                self._untold.popleft()

    def _run(self) -> None:
        pause, misses = 0.0, 0
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._ended:
                return
            try:
                told = self._look()
            except Exception:
                if not self._failed:
                    logger.exception(
                        "the service manager is not told of application %s", self._application.name
                    )
                self._failed, pause = True, min(_LATER, self._alive_every or _LATER)
                continue
            self._failed = False
            if not told:
                misses += 1
                pause = min(_LATER, _SOON * 2 ** min(misses, 10))
                continue
            misses = 0
            pause = _LATER if self._is_ready else _SOON
            if self._alive_every is not None:
                pause = min(pause, max(0.0, self._alive_at - monotonic()))

    def _look(self) -> bool:
        """Tells what has changed; whether the service manager has taken that."""
        if not self._tell_again():
            return False
        now = monotonic()
        root = self._application.root
        ready = self._is_ready or (root is not None and root.alive)
        status = _in_words(readiness(self._application))
        is_due = self._alive_every is not None and now >= self._alive_at
        alive = is_due and health(self._application).healthy
        with self._telling:
            lines = []
            if not self._stops:
                lines += ["READY=1"] if ready and not self._is_ready else []
                lines += [f"STATUS={status}"] if status != self._status else []
            if alive:
                lines.append("WATCHDOG=1")
            if lines and not self._ended and not _send(self._address, lines):
                return False
            self._is_ready, self._status = ready, status
            if is_due and self._alive_every is not None:
                self._alive_at = now + self._alive_every
        return True


def _in_words(found: Readiness) -> str:
    if found.ready:
        return "all children are at work"
    named = ", ".join(f"{each.child} ({each.state})" for each in found.not_ready[:_NAMED])
    more = len(found.not_ready) - _NAMED
    text = f"not at work: {named}" + (f" and {more} more" if more > 0 else "")
    return " ".join(text.split())[:_LONGEST]


def _address(path: str) -> str | None:
    """Where the socket is: a path, or a name in Linux' abstract namespace, which begins with @."""
    if not hasattr(socket, "AF_UNIX") or not path.startswith(("/", "@")):
        return None
    return "\0" + path[1:] if path.startswith("@") else path


def _send(address: str, lines: Iterable[str]) -> bool:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            # A name may have what UTF-8 cannot write.
            sending.sendto("\n".join(lines).encode("utf-8", "replace"), address)
    except OSError as error:
        logger.debug("the service manager was not told: %s", error)
        return False
    return True
