"""The applications that run in this program, for who is part of one and wants to know of which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..actors import Pid
from ..actors.engine import lock
from ..supervision import Application

if TYPE_CHECKING:
    from .system import RunningSystem

__all__ = ["Noted", "forget", "note", "system_above"]


class Noted(Protocol):
    """What accompanies an application."""

    @property
    def application(self) -> Application:
        """Which."""

    def system(self) -> RunningSystem:
        """The application, as it is seen from outside."""


_noted: tuple[Noted, ...] = ()
_changing = lock()


def note(each: Noted) -> None:
    """An application begins."""
    global _noted
    with _changing:
        _noted = (*_noted, each)


def forget(each: Noted) -> None:
    """It has ended; may be repeated."""
    global _noted
    with _changing:
        _noted = tuple(other for other in _noted if other is not each)


def system_above(pid: Pid) -> RunningSystem | None:
    """The application that a process is part of, be it that it is still starting."""
    above: Pid | None = pid
    while above is not None:
        for each in reversed(_noted):
            if each.application.master is above:
                return each.system()
        above = above.parent
    return None
