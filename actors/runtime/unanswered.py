"""Why a server that lives on another event loop has not answered: the loop does not run, or is blocked.

Told in the error of a call whose time is over. A call that may wait for ever has no such error, so it is told
once while it waits: such a loop may run again, or come free, and then the call is answered.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any

from ..vocabulary.errors import brief
from .loop_watch import whereabouts
from .parking import LoopBell, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vocabulary.identity import Identity

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


def why_unanswered(server: Identity, timeout: float) -> str:
    """What is wrong with the loop of a server that did not answer a thread in time, to be put behind the text
    of an error; nothing if the loop serves. Takes at most as long as the timeout did.
    """
    loop = other_loop(server)
    if loop is None or not loop.is_running() or timeout < SHORTEST:
        return _why(loop)
    waiter = Waiter()
    if not _has(loop, waiter.wake) or waiter.wait(min(PATIENCE, timeout)):
        return ""
    return _blocked(loop)


async def awhy_unanswered(server: Identity, timeout: float) -> str:
    """The form of why_unanswered for coroutines."""
    loop = other_loop(server)
    if loop is None or not loop.is_running() or timeout < SHORTEST:
        return _why(loop)
    bell = LoopBell(asyncio.get_running_loop())
    if not _has(loop, bell.wake) or await bell.wait(min(PATIENCE, timeout)):
        return ""
    return _blocked(loop)


def tell_of_wait(server: Identity, message: object, seconds: float, why: str) -> None:
    """Log that a call waits for ever, and why."""
    logger.warning("%s has not answered %s for %g s%s", server, brief(message), seconds, why)


def _why(loop: asyncio.AbstractEventLoop | None) -> str:
    if loop is None or loop.is_running() or loop.is_closed():
        return ""
    return (
        "; its event loop does not run: it answers when that is run again (run_forever, run_until_complete), "
        "and is dead when that is closed"
    )


def _has(loop: asyncio.AbstractEventLoop, beat: Callable[[], Any]) -> bool:
    """Have a loop give a sign that it serves; False if it is closed."""
    try:
        loop.call_soon_threadsafe(beat)
    except RecursionError:
        raise
    except RuntimeError:
        return False
    return True


def _blocked(loop: asyncio.AbstractEventLoop) -> str:
    where = whereabouts(loop)
    return (
        f"; its event loop is blocked{where}: whoever waits there without `await`, perhaps for this very "
        f"call, should await that, or do it in a thread (`await asyncio.to_thread(...)`)"
    )
