"""The addresses of the page: itself, its files, the stream of what it sees, and what it may do."""

from __future__ import annotations

import json
import logging
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ...actors import Killed
from .. import protocol
from ..errors import Refusal
from ..requests import carry_out
from ..system import RunningSystem
from ..words import shown
from .guard import Guard, Guarded
from .lock_history import LockHistory
from .streams import Streams, elsewhere
from .timeline import Timeline
from .views import Watcher, read_look

__all__ = ["ACTIONS", "Site"]

logger = logging.getLogger("resprout.control")
ACTIONS = ("restart", "terminate", "start", "suspend", "resume", "pause", "resize", "stop")
"""The requests that the page has buttons for."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_STATUS = {"bad_request": 400, "bad_argument": 400, "too_many_pages": 503}


class Site:
    """What is served: an ASGI application.

    Args:
        system: What it shows.
        token: What every address begins with.
        allow_actions: Whether it may act.
        pause: Seconds from one look of a page to the next.
    """

    def __init__(self, system: RunningSystem, token: str, allow_actions: bool, pause: float) -> None:
        self._system = system
        self._allow_actions = allow_actions
        locks, timeline = LockHistory(), Timeline(system)
        self.streams = Streams(lambda: Watcher(system, locks, timeline, allow_actions), pause)
        self._files = dict(_files())
        app = Starlette(
            routes=[
                Route("/", self._page, methods=["GET"]),
                Route("/static/{name}", self._file, methods=["GET"]),
                Route("/stream", self._stream, methods=["GET"]),
                Route("/look/{stream}", self._look, methods=["POST"]),
                Route("/act/{do}", self._act, methods=["POST"]),
            ]
        )
        self.app = Guarded(app, Guard(token))

    async def _page(self, request: Request) -> Response:
        return self._sent("index.html")

    async def _file(self, request: Request) -> Response:
        return self._sent(request.path_params["name"])

    def _sent(self, name: str) -> Response:
        found = self._files.get(name)
        if found is None:
            return Response(f"there is no file {name[:80]!r}\n", 404, media_type="text/plain")
        content, kind = found
        return Response(content, headers={"content-type": kind})

    async def _stream(self, request: Request) -> Response:
        try:
            look = request.query_params.get("look")
            events = self.streams.events(None if look is None else read_look(_json(look)))
            first = await anext(events)
        except Refusal as refused:
            return _refused(refused)

        async def all_of_them() -> Any:
            try:
                yield first
                async for event in events:
                    yield event
            finally:
                await events.aclose()  # type: ignore[attr-defined]  # it is a generator

        return StreamingResponse(all_of_them(), media_type="text/event-stream")

    async def _look(self, request: Request) -> Response:
        try:
            self.streams.turn(request.path_params["stream"], read_look(await _told(request)))
        except Refusal as refused:
            return _refused(refused)
        return Response(status_code=204)

    async def _act(self, request: Request) -> Response:
        do = request.path_params["do"]
        try:
            if do not in ACTIONS:
                raise Refusal("unknown_request", f"expected one of {', '.join(ACTIONS)}, got: {do[:80]!r}")
            if not self._allow_actions:
                raise Refusal("actions_off", "this page only looks; `--allow-actions` lets it act")
            args = await _told(request)
            if not isinstance(args, dict):
                raise Refusal("bad_request", f"expected an object, got: {shown(args, 80)}")
            told = await elsewhere(carry_out, self._system, protocol.Request(do, args))
        except Refusal as refused:
            return _refused(refused)
        except Killed:
            raise
        except Exception as error:
            logger.exception("the page could not carry out %s", do)
            failed = f"{do} failed: {type(error).__name__}; the log has the reason"
            return _refused(Refusal("failed", failed))
        return JSONResponse(told)


def _refused(refused: Refusal) -> Response:
    status = {**_STATUS, "unknown_request": 404, "unknown_stream": 404, "actions_off": 403}
    told = {"kind": refused.kind, "message": refused.message, "meant": list(refused.meant)}
    return JSONResponse(told, status.get(refused.kind, 409))


async def _told(request: Request) -> Any:
    return _json(await request.body())  # its length has been looked at


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal("bad_request", f"expected JSON, got: {shown(text, 80)}") from None


def _files() -> Any:
    for each in (resources.files(__package__) / "static").iterdir():
        kind = _TYPES.get(f".{each.name.rpartition('.')[2]}")
        if kind is not None:
            yield each.name, (each.read_bytes(), kind)
