"""Waiting for the deaths of others, and for nothing else, without looking into one's mailbox.

A wait in the mailbox (``process.receive``) looks at everything in there, once a wait: a supervisor with ten
thousand messages that stops a thousand children would look ten million times, in its children's shutdown
time.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from ..runtime.parking import LoopBell, need_loop, park
from ..vocabulary.messages import Down, Ref
from .ambient import current

if TYPE_CHECKING:
    from ..runtime.parking import Parked, Waiter
    from .pid import Pid


class Deaths:
    """The deaths that the current process waits for. Only that process may ask; anybody may deliver.

    It stands where a monitor has its watcher, and takes the ``Down`` in that one's place.

    Attributes:
        pid: who waits.
    """

    __slots__ = ("_down", "_fate", "_waiters", "_watching", "pid")

    def __init__(self) -> None:
        self.pid = current()
        self._down: deque[Down] = deque()
        # Several coroutines may await the same.
        self._waiters: tuple[Parked, ...] = ()
        # What a monitor uses of its watcher beside `deliver`: a table to be in, and that it lives.
        self._watching: dict[int, Ref] = {}
        self._fate: tuple[object, ...] = ()

    def watch(self, pid: Pid) -> Ref:
        """Be told once when a process is dead; at once ("noproc") when it is already."""
        ref = Ref(cast("Pid", self), pid)
        pid.add_monitor(ref)
        return ref

    def deliver(self, down: Any) -> None:
        """Be told. Never blocks; safe anywhere."""
        self._down.append(down)
        for waiter in self._waiters:
            waiter.wake()

    def take(self, timeout: float | None) -> Down | None:
        """The next death, waited for if need be; None when the time is over.

        Args:
            timeout: seconds, None for ever.

        Raises:
            Killed: who waits has died meanwhile.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._down:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            park(self._register, self._unregister, left)
        return self._down.popleft()

    def look(self) -> Down | None:
        """The next death, if there is one already."""
        return self._down.popleft() if self._down else None

    async def await_one(self) -> None:
        """Wait in a coroutine until there is a death to be looked at."""
        bell = LoopBell(need_loop("await process.amonitor()"))
        self._waiters += (bell,)
        try:
            if not self._down:
                await bell
        finally:
            self._waiters = tuple(each for each in self._waiters if each is not bell)

    def _register(self, waiter: Waiter) -> bool:
        # First known, then looked: a death between the two wakes it or is seen.
        self._waiters = (waiter,)
        return bool(self._down)

    def _unregister(self, waiter: Waiter) -> None:
        self._waiters = ()
