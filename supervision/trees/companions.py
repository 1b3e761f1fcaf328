"""What comes along with every application that runs, found by entry points: this room knows none of it.

The control socket is one. A room or a program adds another through the entry point group
`resprout.companions`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

logger: Final = logging.getLogger("resprout.application")


class Companion(Protocol):
    """Something that begins with an application and ends with it."""

    def end(self) -> None:
        """The application has ended, or did not start. Must not wait; may be called more than once."""

    def join(self) -> None:
        """Wait a moment until nothing of it is left; `end` was called."""


@functools.cache
def _installed() -> tuple[Callable[[Any], Companion | None], ...]:
    """What is called with an application that starts; it returns what accompanies it, or None."""
    found = []
    for point in entry_points(group="resprout.companions"):
        try:
            found.append(point.load())
        except Exception:
            logger.exception("the companion %s of applications cannot be loaded", point.name)
    return tuple(found)


class Company:
    """All that accompanies one life of an application.

    Args:
        application: It is about to start. One companion that fails is told in the log, and is missing.
    """

    def __init__(self, application: Any) -> None:
        self._members: list[Companion] = []
        for begin in _installed():
            try:
                member = begin(application)
            except Exception:
                logger.exception("%r cannot accompany application %s", begin, application.name)
            else:
                if member is not None:
                    self._members.append(member)

    def end(self, ended: object = None) -> None:
        """The application has ended."""
        for each in self._members:
            each.end()

    def leave(self) -> None:
        """The same, and wait until nothing of them is left."""
        self.end()
        for each in self._members:
            each.join()
