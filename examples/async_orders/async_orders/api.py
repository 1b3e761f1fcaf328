"""The HTTP API: reads only, through the same pool that the consumers write through.

The pool has ten connections and the lock lets two consumers in, so eight are always left to requests.
"""

from __future__ import annotations

from typing import Any

import attrs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resprout import CallTimeout, ProcessExit, throttle

from . import measure, store
from .consumer import THROTTLE
from .database import pool


async def customer(request: Request) -> Response:
    """`GET /customers/{name}`: what that one has ordered so far."""
    connections = await pool()
    measure.found_free(store.free(connections))
    async with connections.acquire() as connection:
        found = await store.total(connection, request.path_params["name"])
    return JSONResponse(attrs.asdict(found or store.Total(0, 0)))


async def health(_: Request) -> Response:
    """`GET /health`: how the lock and the pool are doing."""
    lock = throttle.lock_state(THROTTLE)
    free = store.free(await pool())
    return JSONResponse({"status": "ok", "running": lock.running, "waiting": lock.waiting, "free": free})


def unavailable(_: Request, error: Exception) -> Response:
    """The answer while a part of the tree restarts."""
    return JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "1"})


handlers: dict[Any, Any] = {ProcessExit: unavailable, CallTimeout: unavailable}

app = Starlette(
    routes=[Route("/customers/{name}", customer), Route("/health", health)], exception_handlers=handlers
)
