"""Gives every application that starts its control socket, unless it is told not to."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..supervision import Application
from .listener import Listener
from .past import Past
from .protocol import Request
from .sockets import CAN_LISTEN, bound, here, usable_folder

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
        listening: A socket that listens.
        path: Where.
    """

    def __init__(self, application: Application, listening: socket.socket, path: Path) -> None:
        self._application = application
        self._past = Past()
        self._system: RunningSystem | None = None
        self._listener = Listener(self.system, self._carry_out, self._is_quick, listening, path)

    def system(self) -> RunningSystem:
        """The application, as it is seen from outside."""
        from .system import RunningSystem

        if self._system is None:
            self._system = RunningSystem(self._application, self._past)
        return self._system

    def _carry_out(self, request: Request) -> Any:
        from .requests import carry_out

        return carry_out(self.system(), request)

    def _is_quick(self, request: Request) -> bool:
        from .requests import is_quick

        return is_quick(request)

    def begin(self) -> None:
        """The application starts."""
        self._past.attach()
        self._listener.start()

    def end(self) -> None:
        """The application has ended."""
        self._past.detach()
        self._listener.end()

    def join(self) -> None:
        """Waits a moment until no thread of it is left."""
        self._listener.join()


def accompany(application: Application) -> Window | None:
    """Opens the control socket of an application that starts.

    Returns:
        It; None if it has none, since it is not wanted, or cannot be, which the log tells.
    """
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
    window = Window(application, listening, path)
    window.begin()
    return window


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
