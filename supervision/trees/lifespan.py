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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from ...actors import (
    AlreadyRegistered,
    AlreadyStarted,
    Crash,
    Named,
    NoProcess,
    NotFound,
    Pid,
    StartError,
    need_loop,
    process,
)
from ...actors.engine import check_timeout, in_words
from ..supervisors.values import failed_start
from .application import Application
from .limits import DEFAULTS, Limits
from .mistakes import InvalidTree
from .overlays import OverlayName, Overlays, absolute

logger: Final = logging.getLogger("resprout.application")

_FIRST_LOOK: Final = 0.001
_LAST_LOOK: Final = 0.1
"""Seconds between two looks for a server that is about to come back: ever longer, as thousands may wait."""

Lifespan: TypeAlias = "Callable[[Any], AbstractAsyncContextManager[Mapping[str, Application]]]"

_serving: Final[dict[Application, Path]] = {}
"""The trees that run for web applications of this process."""


def lifespan(
    path: str | os.PathLike[str],
    settings: Mapping[str, str] | None = None,
    *,
    overlays: Overlays = (),
    limits: Limits = DEFAULTS,
    shutdown_timeout: float | None = None,
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
        path: The tree file; a relative one is looked for in what is the current folder at this call, so
            rather write ``Path(__file__).with_name("tree.yaml")``. Standard input cannot be, since each
            worker reads the file.
        settings, overlays, limits: As for `Application.load`; the relative path of an overlay is made
            absolute likewise.
        shutdown_timeout: Seconds that the whole tree has for its stop; whatever is left of it then is killed.
            None: as long as the shutdown times of its children allow.

    Returns:
        What Starlette and FastAPI take for ``lifespan=``. The application is in ``request.state.resprout``.
        Entered, it raises `InvalidTree`, or `StartError`, whose text names the child that did not start; or
        `RuntimeError` where no asyncio event loop runs.

    Raises:
        TypeError, ValueError: The path is none, or it is `-`; or the timeout is not a time.
    """
    file = _file(path)
    check_timeout(shutdown_timeout)
    laid_over = absolute(overlays)

    @asynccontextmanager
    async def run(app: object) -> AsyncIterator[Mapping[str, Application]]:
        application = await _started(file, settings, laid_over, limits)
        _serving[application] = file
        watching = asyncio.ensure_future(_watch(application))
        try:
            yield {"resprout": application}
        finally:
            watching.cancel()
            try:
                await application._astop_within(shutdown_timeout)
            finally:
                del _serving[application]

    return run


def server(name: object, timeout: float | None = 5.0) -> Callable[[], Awaitable[Pid]]:
    """Make a dependency that finds a server: ``orders: Pid = Depends(resprout.server("orders"))``.

    One that has crashed is waited for, as its supervisor is about to start it again.

    Args:
        name: A registered name, or a `Via`.
        timeout: Seconds to wait for it; None: as long as it takes.

    Returns:
        A coroutine function without arguments, which raises `NoProcess` when the time is over.

    Raises:
        TypeError, ValueError: The name is none, or the timeout is not a time.
    """
    if not isinstance(name, (str, Named)):
        raise TypeError(f"expected name to be a str or a Via, got: {name!r}")
    check_timeout(timeout)

    async def find() -> Pid:
        need_loop("await server()")
        found = process.whereis(name) if isinstance(name, str) else _whereis(name)
        return await _wait_for(name, timeout) if found is None else found

    return find


def _whereis(name: object) -> Pid | None:
    try:
        return process.whereis(name)
    except NotFound:
        # The registry is not there either.
        return None


async def _wait_for(name: object, timeout: float | None) -> Pid:
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_LOOK
    while (found := _whereis(name)) is None:
        left = pause if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise NoProcess(name)
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _LAST_LOOK)
    return found


def _file(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"expected path to be the path of a tree file, got: {path!r}")
    if os.fspath(path) == "-":
        raise ValueError("expected path to be the path of a tree file, which each worker reads, got: '-'")
    return Path(path).absolute()


async def _started(
    file: Path, settings: Mapping[str, str] | None, overlays: Sequence[OverlayName], limits: Limits
) -> Application:
    """Start the tree; what is wrong is raised without our own frames, since servers print all of them."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"expected the lifespan of {file} to be entered in an asyncio event loop (uvloop's is one), "
            f"got none: servers with another kind of loop, such as trio's, cannot run a tree"
        ) from None
    try:
        application = Application.load(file, settings, overlays=overlays, limits=limits)
        await application.astart()
    except InvalidTree as error:
        raise error.with_traceback(None) from None
    except StartError as error:
        error.args = (f"{file}: {_why(error, file)}",)
        raise error.with_traceback(None) from None
    return application


def _why(error: StartError, file: Path) -> str:
    """Why a tree did not start, from the child on which it depends."""
    told = f"the tree did not start: {in_words(error.reason)}"
    _, cause = failed_start(error.reason)
    if isinstance(cause, Crash):
        cause = cause.exception
    if isinstance(cause, (AlreadyStarted, AlreadyRegistered)) and file in list(_serving.values()):
        told += (
            "; this process runs the same tree for another web application, or for another lifespan of this "
            "one, and a name stands for one process: end that first, or let one application have the tree"
        )
    return told


async def _watch(application: Application) -> None:
    reason = await application.await_()
    handled = callable(signal.getsignal(signal.SIGTERM))
    logger.error(
        "application %s ended by itself: %s; %s",
        application.name,
        in_words(reason),
        "the server that it runs in is told to end"
        if handled
        else "what it runs in handles no SIGTERM, so it goes on without it",
    )
    if handled:
        # Not os.kill, which on Windows ends the process without asking any handler.
        signal.raise_signal(signal.SIGTERM)
