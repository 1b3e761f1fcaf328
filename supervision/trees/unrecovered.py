"""Which supervisors gave up and were never replaced: what decides whether a tree ended well.

A supervisor that gives up exits with `"shutdown"`, as OTP's do, so the exit reason of the root does not tell
whether the tree was done or was lost. This core follows the events of supervisors instead.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from ...actors import Pid
from ..supervisors.events import ChildExited, ChildStarted, GaveUp

_Place: TypeAlias = tuple[Pid, Any]


class Unrecovered:
    """The supervisors of a tree that gave up and that nobody has started again.

    A pure core: it is told events in the order in which they happen, and remembers only what went wrong.
    """

    def __init__(self) -> None:
        self._ending: Final[dict[Pid, tuple[GaveUp, ...]]] = {}
        self._vacant: Final[dict[_Place, tuple[GaveUp, ...]]] = {}

    def gave_up(self, event: GaveUp) -> None:
        """A supervisor is about to exit since there were too many restarts."""
        if event.scope == "supervisor":
            self._ending[event.supervisor] = (*self._ending.get(event.supervisor, ()), event)

    def child_exited(self, event: ChildExited) -> None:
        """A child has ended; if it had given up, or its own children had, its place is vacant now."""
        lost = self._ending.pop(event.pid, ())
        for place in list(self._vacant):
            if place[0] == event.pid:
                lost += self._vacant.pop(place, ())
        if lost:
            place = (event.supervisor, event.id)
            self._vacant[place] = self._vacant.get(place, ()) + lost

    def child_started(self, event: ChildStarted) -> None:
        """A child runs; whatever became of the one before it is made good."""
        self._vacant.pop((event.supervisor, event.id), None)

    def events(self) -> list[GaveUp]:
        """What was never made good, the oldest first."""
        return [event for lost in (*self._vacant.values(), *self._ending.values()) for event in lost]
