"""The HTTP API: reads only, from the same pool of connections that the consumers write through.

The pool has ten connections and the lock lets two consumers in, so eight are always left to requests.
"""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from resprout import CallTimeout, NoProcess, ProcessExit, process, supervision, throttle

from . import measure, store
from .consumer import THROTTLE
from .database import NAME, borrow

# The endpoints are plain functions, so Starlette calls them in a thread and they may wait for the database.


def order(request: Request) -> Response:
    """`GET /orders/{id}`: the order as it is now."""
    id = request.path_params["id"]
    with borrow(measure.to_api) as connection:
        found = store.find_order(connection, id)
    if found is None:
        return JSONResponse({"error": f"there is no order {id!r} (yet)"}, status_code=404)
    return JSONResponse(attrs.asdict(found))


def health(_: Request) -> Response:
    """`GET /health`: whether the database answers, and how the lock is doing."""
    with borrow(measure.to_api) as connection:
        handled = store.handled(connection)
    lock = throttle.lock_state(THROTTLE)
    return JSONResponse(
        {"status": "ok", "handled": handled, "running": lock.running, "waiting": lock.waiting}
    )


def tree(_: Request) -> Response:
    """`GET /tree`: the supervision tree with the state of every child."""
    return JSONResponse(_as_json(_root()))


def _root() -> supervision.TreeNode:
    """The supervisor at the top, looked for upwards from a process whose name is known."""
    pid = process.whereis(NAME)
    if pid is None:
        raise NoProcess(NAME)
    node = supervision.tree(pid)
    while pid.parent is not None and (above := supervision.tree(pid.parent)).type == "supervisor":
        node, pid = above, pid.parent
    return node


def _as_json(node: supervision.TreeNode) -> dict[str, object]:
    return {
        "id": node.id or "root",
        "type": node.type,
        "state": node.state,
        "process": None if node.pid is None else str(node.pid),
        "restarts": node.restarts,
        "uptime_seconds": node.uptime,
        "waiting_messages": node.mailbox_length,
        "children": [_as_json(child) for child in node.children],
    }


def unavailable(_: Request, error: Exception) -> Response:
    """The answer while a part of the tree restarts, and when no connection came free in time."""
    return JSONResponse({"error": str(error)}, status_code=503, headers={"Retry-After": "1"})


handlers: dict[Any, Any] = {
    ProcessExit: unavailable,
    CallTimeout: unavailable,
    PoolTimeout: unavailable,
    OperationalError: unavailable,
}

app = Starlette(
    routes=[Route("/orders/{id}", order), Route("/health", health), Route("/tree", tree)],
    exception_handlers=handlers,
)
