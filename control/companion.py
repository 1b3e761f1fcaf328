"""Gives every application that starts its control socket, unless it is told not to."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from ..supervision import Application
from .listener import Listener
from .sockets import CAN_LISTEN, bound, here, usable_folder
from .system import RunningSystem

__all__ = ["VARIABLE", "Window", "accompany"]

logger = logging.getLogger("resprout.control")
VARIABLE = "RESPROUT_SOCKET"
"""The environment variable that says where, unless the program does."""


class Window:
    """What accompanies an application: what is kept of it to be shown, and the socket at which it is.

    Args:
        system: The application, as it is seen from outside.
        listener: At its socket.
    """

    def __init__(self, system: RunningSystem, listener: Listener) -> None:
        self.system = system
        self._listener = listener

    @property
    def path(self) -> Path | None:
        """Where the socket is."""
        return self._listener.path

    def end(self) -> None:
        """The application has ended."""
        self.system.detach()
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
    system = RunningSystem(application)
    listener = Listener(system, listening, path)
    system.attach()
    listener.start()
    return Window(system, listener)


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
