"""How a coroutine that has been cancelled waits for an end in order, and what hurries that end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from typing import Any

from .resting import start_task


def hidden_task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Start a task on the running loop that nobody finds among all tasks, and cancels with them."""
    return start_task(work, asyncio.get_running_loop(), copy_context(), name)


async def see_through(
    work: asyncio.Future[Any],
    cancelled: asyncio.CancelledError | None,
    hurry: Callable[[], object],
    first: Callable[[], object] = lambda: None,
) -> asyncio.CancelledError | None:
    """Wait until work is done, whoever cancels the caller meanwhile.

    A cancel scope of anyio cancels what is in it again and again, which is still one cancellation: the wait
    is shielded from its own kind after the first.

    Args:
        work: a task of the same loop, which is never cancelled by this.
        cancelled: what has cancelled the caller already.
        hurry: called when the caller is cancelled once more.
        first: called when the caller is cancelled for the first time, while it waits.

    Returns:
        The first cancellation, for the caller to raise when all is over.
    """
    while not work.done():
        with nullcontext() if cancelled is None else _shield():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError as error:
                if cancelled is None:
                    cancelled = error
                    first()
                else:
                    hurry()
    return cancelled


def _shield() -> AbstractContextManager[object]:
    """Keep the cancel scopes of anyio out, if there are any."""
    scope: Callable[..., AbstractContextManager[object]] | None = getattr(
        sys.modules.get("anyio"), "CancelScope", None
    )
    return nullcontext() if scope is None else scope(shield=True)
