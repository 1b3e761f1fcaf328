"""How events get to the listeners: without ever waiting for one, and without one that is full being no news.

A listener whose mailbox is bounded (``Bounded``) and full loses events, whatever it does with other senders.
They are counted, and when it has room again it gets one `EventsLost` in their place.
"""

from __future__ import annotations

from collections.abc import Callable

from ..actors import Pid, process
from ..actors.engine import has_room, offer, when_room
from .events import Change, EventsLost


class Listener:
    """One listener of a registry. Used by the registry's process, and kept with the table when that crashes.

    Args:
        registry: the registry's name.
        name: the listener's, which is looked up for each event, so it may come and go.
        wake: has the registry's process call `catch_up` soon; may be called anywhere.
    """

    __slots__ = ("_asked", "_lost", "_pid", "_registry", "_wake", "name")

    def __init__(self, registry: str, name: str, wake: Callable[[], object]) -> None:
        self.name = name
        self._registry = registry
        self._wake = wake
        self._pid: Pid | None = None
        self._lost = 0
        self._asked = False

    def hear(self, event: Change) -> None:
        """Tell it, or count what it has lost."""
        pid = self._find()
        if pid is None:
            return
        if self._lost and has_room(pid):
            self._own_up(pid)
        if not offer(pid, event):
            self._lost += 1
            self._ask(pid)

    def catch_up(self, *, at_last: bool = False) -> None:
        """Tell it what it has lost, if it has room by now; in the end (at_last) also if it has none."""
        if not self._lost or (pid := self._find()) is None or not self._lost:
            return
        if at_last or has_room(pid):
            self._own_up(pid)
        else:
            self._ask(pid)

    def _find(self) -> Pid | None:
        pid = process.whereis(self.name)
        if pid is not self._pid:
            # What its predecessor has lost is no news for somebody who has heard nothing at all.
            self._pid = pid
            self._lost = 0
            self._asked = False
        return pid

    def _own_up(self, pid: Pid) -> None:
        lost, self._lost = self._lost, 0
        # It needs no place itself: a mailbox for one message would never hear anything else.
        offer(pid, EventsLost(self._registry, lost))

    def _ask(self, pid: Pid) -> None:
        if not self._asked:
            self._asked = True
            when_room(pid, self._has_room)

    def _has_room(self) -> None:
        self._asked = False
        self._wake()
