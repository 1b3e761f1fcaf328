"""Gives every application that starts its control socket, unless it is told not to."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..supervision import Application
from .errors import NO_OBSERVER, Refusal
from .listener import Listener
from .noted import forget, note
from .past import Past
from .protocol import Request
from .sockets import CAN_LISTEN, bound, here, usable_folder
from .tcp import HOST, TcpDoor, opened

if TYPE_CHECKING:
    from .system import RunningSystem

__all__ = ["VARIABLE", "Window", "accompany"]

logger = logging.getLogger("resprout.control")
VARIABLE = "RESPROUT_SOCKET"
"""The environment variable that says where, unless the program does."""


class Window:
    """What accompanies an application: what is kept of it to be shown, and the socket at which it is.

    Args:
        application: Which.
        at: A socket that listens, where it does, and where else; None if there is none.

    Attributes:
        application: The same.
    """

    def __init__(
        self, application: Application, at: tuple[socket.socket, Path, list[TcpDoor]] | None
    ) -> None:
        self.application = application
        self._past = Past()
        self._system: RunningSystem | None = None
        self._pages: Any = None
        self._listener: Listener | None = None
        self._tcp: list[TcpDoor] = []
        if at is not None:
            listening, path, self._tcp = at
            self._listener = Listener(
                self.system, self._carry_out, self._is_quick, listening, path, doors=self._tcp
            )

    def system(self) -> RunningSystem:
        """The application, as it is seen from outside."""
        from .system import RunningSystem

        if self._system is None:
            self._system = RunningSystem(self.application, self._past)
            self._system.open_page = self._open_page
            self._system.tcp = next((f"{HOST}:{door.port}" for door in self._tcp), None)
        return self._system

    def _carry_out(self, request: Request) -> Any:
        from .requests import carry_out

        return carry_out(self.system(), request)

    def _is_quick(self, request: Request) -> bool:
        from .requests import is_quick

        return is_quick(request)

    def _open_page(
        self, port: int | None, allow_actions: bool | None, page: str | None, close: bool
    ) -> dict[str, Any]:
        """Opens a page, with what that needs, which is an extra."""
        if self._pages is None:
            try:
                from .web.page_server import Pages
            except ImportError as error:
                raise Refusal("cannot_observe", NO_OBSERVER) from error
            self._pages = Pages(self.system())
        told: dict[str, Any] = self._pages(port, allow_actions, page, close)
        return told

    def begin(self) -> None:
        """The application starts."""
        note(self)
        if self._listener is not None:
            self._past.attach()
            self._listener.start()

    def end(self) -> None:
        """The application has ended."""
        if self._listener is not None:
            self._listener.end()
        self._past.detach()
        forget(self)
        if self._pages is not None:
            self._pages.end()

    def join(self) -> None:
        """Waits a moment until no thread of it is left."""
        if self._listener is not None:
            self._listener.join()
        if self._pages is not None:
            self._pages.join()


def accompany(application: Application) -> Window:
    """Opens the control socket of an application that starts, if it is wanted and can be."""
    window = Window(application, _at(application))
    window.begin()
    return window


def _at(application: Application) -> tuple[socket.socket, Path, list[TcpDoor]] | None:
    """What listens, and where; None if that is not wanted, or cannot be, which the log tells."""
    wanted = _wanted(application)
    if wanted is False or not CAN_LISTEN:
        return None
    try:
        path, listening = _opened(application.name, wanted)
    except OSError as error:
        where = "in the runtime directory" if wanted is True else f"at {wanted}"
        why = error.strerror or str(error)
        logger.warning("application %s has no control socket: %s: %s", application.name, where, why)
        return None
    return listening, path, _tcp(application, path)


def _tcp(application: Application, path: Path) -> list[TcpDoor]:
    """Where it answers on TCP as well, if that is wanted."""
    port = application.control_tcp
    if port is None:
        return []
    try:
        door = opened(port, path)
    except OSError as error:
        why = error.strerror or str(error)
        logger.warning("application %s does not answer on TCP: port %d: %s", application.name, port, why)
        return []
    where = application.name, HOST, door.port, door.path
    logger.info("application %s answers at %s:%d as well, with the token in %s", *where)
    return [door]


def _wanted(application: Application) -> bool | Path:
    """False for nowhere, True for the runtime directory, or a path."""
    said = application.socket
    if said is None:
        word = os.environ.get(VARIABLE, "on")
        said = {"on": True, "": True, "off": False}.get(word.lower(), word)
    return said if isinstance(said, bool) else Path(said)


def _opened(name: str, wanted: bool | Path) -> tuple[Path, socket.socket]:
    if isinstance(wanted, Path):
        path = wanted.absolute()
        return path, bound(path)
    for path in here(name, usable_folder()):
        try:
            return path, bound(path)
        except FileExistsError:
            continue
    raise FileExistsError("every name is taken")
