"""`/metrics`, `/health` and `/ready` as an ASGI application, to be mounted, or served by a tree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

import attrs

from ..actors.engine import check_alive
from ..supervision import Application
from .conditions import health, readiness
from .counting import books

Scope: TypeAlias = "MutableMapping[str, Any]"
Receive: TypeAlias = "Callable[[], Awaitable[MutableMapping[str, Any]]]"
Send: TypeAlias = "Callable[[MutableMapping[str, Any]], Awaitable[None]]"

MISSING: Final = "metrics for Prometheus need prometheus-client: pip install 'resprout[prometheus]'"
_NOT_THERE: Final = "expected /metrics, /health or /ready\n"


@attrs.frozen
class Answer:
    """What a request is answered with."""

    status: int
    content_type: str
    body: bytes


class Endpoints:
    """`GET /metrics`, `/health` and `/ready`; see `endpoints`."""

    def __init__(self, application: Application | None = None) -> None:
        self._application = application
        self._ends: Callable[[], None] | None = None

    def __eq__(self, other: object) -> bool:
        """Whether it tells of the same application."""
        return self._application is other._application if isinstance(other, Endpoints) else NotImplemented

    def __hash__(self) -> int:
        return hash(id(self._application))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "lifespan":
            self.count()
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"expected an HTTP request, got: {scope['type']}")
        self.count()
        look = _LOOKS.get(_path_in(scope))
        if look is None:
            answer = _text(404, _NOT_THERE)
        elif scope["method"] not in ("GET", "HEAD"):
            answer = _text(405, "expected GET or HEAD\n")
        else:
            # In a thread, as there may be many processes, and others want their turn of this loop.
            answer = await asyncio.to_thread(look, self._application_of(scope), scope)
        length = str(len(answer.body)).encode()
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", length),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    def count(self) -> None:
        """Counts from now on; more than once does nothing."""
        if self._ends is None:
            self._ends = books.open()

    def close(self) -> None:
        """Counts no more."""
        ends, self._ends = self._ends, None
        if ends is not None:
            ends()

    def _application_of(self, scope: Scope) -> Application | None:
        if self._application is not None:
            return self._application
        # Where `resprout.lifespan` runs a tree for the web application that this is mounted in.
        found = (scope.get("state") or {}).get("resprout")
        return found if isinstance(found, Application) else None


def endpoints(application: Application | None = None) -> Endpoints:
    """Make an ASGI application that answers `/metrics`, `/health` and `/ready`:
    ``app.mount("/internal", monitoring.endpoints())``.

    `/health` and `/ready` answer 200 or 503 and JSON that says why; `/metrics` is what Prometheus scrapes.
    Counting begins now, and costs each acquire of a lock some microseconds. Nobody is asked
    who they are, so do not show it to the world.

    Args:
        application: Whose tree `/health` and `/ready` speak of; by default that of `resprout.lifespan`, where
            it runs one for the application that this is mounted in, or else all trees of the program.

    Returns:
        The application. Its `close()` ends the counting.
    """
    check_alive()
    made = Endpoints(application)
    made.count()
    return made


def _path_in(scope: Scope) -> str:
    """The path below where this is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return path.rstrip("/")


def _metrics(application: Application | None, scope: Scope) -> Answer:
    try:
        from .prometheus_metrics import exposition
    except ImportError:
        return _text(501, f"{MISSING}\n")
    accepted = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept")
    body, content_type = exposition(accepted.decode("latin-1"))
    return Answer(200, content_type, body)


def _health(application: Application | None, scope: Scope) -> Answer:
    found = health(application)
    told = {"status": "ok" if found.healthy else "failing", "reasons": list(found.reasons)}
    return _json(found.healthy, told)


def _ready(application: Application | None, scope: Scope) -> Answer:
    found = readiness(application)
    told = {
        "status": "ready" if found.ready else "not ready",
        "not_ready": [attrs.asdict(each) for each in found.not_ready],
    }
    return _json(found.ready, told)


_LOOKS: Final[Mapping[str, Callable[[Application | None, Scope], Answer]]] = {
    "/metrics": _metrics,
    "/health": _health,
    "/ready": _ready,
}


def _json(good: bool, told: Mapping[str, object]) -> Answer:
    return Answer(200 if good else 503, "application/json", json.dumps(told).encode() + b"\n")


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", text.encode())


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
