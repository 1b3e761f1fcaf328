"""Awaiting the death of a process: a monitor whose ``Down`` comes to whoever awaits it, in no mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runtime.parking import need_loop
from ..runtime.thread_state import check_alive
from ..vocabulary.messages import Down, Ref
from ..vocabulary.reasons import NOPROC
from .death_waits import Deaths

if TYPE_CHECKING:
    from collections.abc import Generator

    from .pid import Pid


class Monitor:
    """What ``process.amonitor`` gives: to be awaited for the ``Down``, as often as one likes, and to be
    entered with ``async with`` where the monitor shall end with a block.

    Attributes:
        ref: the monitor, as ``process.monitor`` returns one.
    """

    __slots__ = ("_deaths", "_down", "ref")

    def __init__(self, pid: Pid | None) -> None:
        self._deaths = deaths = Deaths()
        self._down: Down | None = None
        if pid is None:
            self.ref = ref = Ref(deaths.pid, None)
            self._down = Down(ref, None, NOPROC)
        else:
            self.ref = deaths.watch(pid)

    def __repr__(self) -> str:
        state = "down" if self.done() else "watching"
        return f"<Monitor of {self.ref.target or 'nobody'}, {state}>"

    def done(self) -> bool:
        """Whether the process is dead, as far as this has been told: awaiting it does not wait then."""
        check_alive()
        if self._down is None:
            self._down = self._deaths.look()
        return self._down is not None

    def stop(self) -> None:
        """Watch no longer. Again, or when the process is dead: nothing."""
        target = self.ref.target
        if target is not None:
            target.remove_monitor(self.ref)

    def __await__(self) -> Generator[Any, None, Down]:
        while not self.done():
            # A wait that is cancelled ends the wait only.
            yield from self._deaths.await_one().__await__()
        assert self._down is not None, "it is done"
        return self._down

    async def __aenter__(self) -> Monitor:
        check_alive()
        need_loop("async with process.amonitor()")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    def __del__(self) -> None:
        # Nobody can await it any more. (It may be half made.)
        if hasattr(self, "ref"):
            self.stop()
