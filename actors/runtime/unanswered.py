"""Why a server that lives on another event loop has not answered: the loop does not run, or is blocked.

Told in the error of a call whose time is over. A call that may wait for ever has no such error, so it is told
once while it waits: such a loop may run again, or come free, and then the call is answered.
"""

from __future__ import annotations

import logging
from asyncio import _get_running_loop
from typing import TYPE_CHECKING

from ..vocabulary.errors import brief
from .loop_watch import whereabouts

if TYPE_CHECKING:
    import asyncio

    from ..vocabulary.identity import Identity
    from .parking import LoopBell

logger = logging.getLogger("resprout")
PATIENCE = 0.25
"""Seconds that a loop has to show that it serves."""
SHORTEST = 0.05
"""Seconds of a timeout below which nobody looks why it was not enough."""
LOOK = 5.0
"""Seconds after which a wait for ever is looked into; then after twice as many, and so on."""


def other_loop(server: Identity) -> asyncio.AbstractEventLoop | None:
    """The loop on which a server lives; None if it has none, or that is the one that runs here."""
    loop: asyncio.AbstractEventLoop | None = getattr(server, "loop", None)
    return None if loop is None or loop is _get_running_loop() else loop


class Beat:
    """A sign that the loop of a server is asked for in the last part of a wait for an answer, so that it is
    known when the time is over why there is none.

    Attributes:
        lead: seconds before the end of the wait at which it is to be sent; 0 for a wait that is too short.
    """

    __slots__ = ("_came", "_loop", "_sent", "lead")

    def __init__(self, server: Identity, timeout: float) -> None:
        self._loop = other_loop(server)
        self._sent = self._came = False
        self.lead = 0.0 if timeout < SHORTEST else min(PATIENCE, timeout / 2)

    def send(self) -> None:
        """Have the loop give the sign, if it runs."""
        loop = self._loop
        if loop is None or not self.lead or not loop.is_running():
            return
        try:
            loop.call_soon_threadsafe(self._come)
        except RecursionError:
            raise
        except RuntimeError:
            # It is closed.
            return
        self._sent = True

    def _come(self) -> None:
        self._came = True

    def why(self) -> str:
        """What is wrong with the loop, to be put behind the text of an error; nothing if it serves."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return ""
        if not loop.is_running():
            return (
                "; its event loop does not run: it answers when that is run again (run_forever, "
                "run_until_complete), and is dead when that is closed"
            )
        return _blocked(loop) if self._sent and not self._came else ""


async def ring_or_why(bell: LoopBell, server: Identity, timeout: float) -> str | None:
    """Wait for an answer in a coroutine: None when the bell has rung, else why it has not, as `Beat.why`."""
    beat = Beat(server, timeout)
    if await bell.wait(timeout - beat.lead):
        return None
    beat.send()
    if beat.lead and await bell.wait(beat.lead):
        return None
    return beat.why()


def tell_of_wait(server: Identity, message: object, seconds: float, why: str) -> None:
    """Log that a call waits for ever, and why."""
    logger.warning("%s has not answered %s for %g s%s", server, brief(message), seconds, why)


def _blocked(loop: asyncio.AbstractEventLoop) -> str:
    where = whereabouts(loop)
    return (
        f"; its event loop is blocked{where}: whoever waits there without `await`, perhaps for this very "
        f"call, should await that, or do it in a thread (`await asyncio.to_thread(...)`)"
    )
