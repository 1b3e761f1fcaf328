"""A tree that runs as long as a web application serves: for the `lifespan` of Starlette and FastAPI.

Whatever serves the application calls it in each of its workers, on the loop of that, when the worker is about
to serve: so every worker of `uvicorn --workers` and of gunicorn, preloaded or not, has a tree of its own,
started after the fork.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeAlias

from ...actors import NoProcess, Pid, process
from .application import Application
from .limits import DEFAULTS, Limits

logger: Final = logging.getLogger("resprout.application")

_LOOK: Final = 0.01
"""Seconds between two looks for a server that is about to come back."""

Lifespan: TypeAlias = "Callable[[Any], AbstractAsyncContextManager[Mapping[str, Application]]]"


def lifespan(
    path: str | os.PathLike[str],
    settings: Mapping[str, str] | None = None,
    *,
    limits: Limits = DEFAULTS,
) -> Lifespan:
    """Have a tree run as long as a web application serves:
    ``Starlette(lifespan=resprout.lifespan("tree.yaml"))``.

    The file is read and the tree started when a worker starts, before its first request; what is wrong with
    either is raised there, and the worker does not serve. It is stopped in reverse order after the last
    request. All of its coroutines live on the loop of the worker, so a pool that a server of the tree has
    opened can be used in a request.

    Should the tree end by itself before that (its root gave up), this is logged, and the worker is told to
    end as by SIGTERM, if the program that serves handles that signal: whoever started it starts another one.

    Args:
        path, settings, limits: As for `Application.load`.

    Returns:
        What Starlette and FastAPI take for ``lifespan=``. The application is in ``request.state.resprout``.
    """

    @asynccontextmanager
    async def run(app: object) -> AsyncIterator[Mapping[str, Application]]:
        application = Application.load(path, settings, limits=limits)
        async with application:
            watching = asyncio.ensure_future(_watch(application))
            try:
                yield {"resprout": application}
            finally:
                watching.cancel()

    return run


def server(name: object, timeout: float = 5.0) -> Callable[[], Awaitable[Pid]]:
    """Make a dependency that finds a server: ``orders: Pid = Depends(resprout.server("orders"))``.

    One that has crashed is waited for, as its supervisor is about to start it again.

    Args:
        name: A registered name, or a `Via`.
        timeout: Seconds to wait for it.

    Returns:
        A coroutine function without arguments, which raises `NoProcess` when the time is over.
    """

    async def find() -> Pid:
        deadline = time.monotonic() + timeout
        while (found := process.whereis(name)) is None:
            if time.monotonic() >= deadline:
                raise NoProcess(name)
            await asyncio.sleep(_LOOK)
        return found

    return find


async def _watch(application: Application) -> None:
    reason = await application.await_()
    logger.error(
        "application %s ended by itself: %r; the server that it runs in is told to end",
        application.name,
        reason,
    )
    if callable(signal.getsignal(signal.SIGTERM)):
        os.kill(os.getpid(), signal.SIGTERM)
