"""What is crawled: two hosts whose pages link to each other, and which keep a log of what they were asked."""

from __future__ import annotations

import asyncio
import time

import attrs
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from resprout.supervision.trees.asgi import AsgiServer

PAGES = 30
"""Pages of each host; they make a tree, and each links back to the first and over to the other host."""

BROKEN = 20
"""A page that is only ever an error."""


@attrs.frozen
class Visit:
    """A request, as the host that was asked saw it."""

    page: int
    status: int
    began: float
    ended: float


log: dict[str, list[Visit]] = {"north": [], "south": []}
"""The requests of each host in order of their ends."""


def site(name: str, other: str, seconds: float) -> Starlette:
    """A host that thinks for so many seconds before it answers."""

    async def page(request: Request) -> Response:
        number, began = request.path_params["number"], time.monotonic()
        status = status_of(number, asked_before=any(visit.page == number for visit in log[name]))
        try:
            await asyncio.sleep(seconds)
        finally:
            log[name].append(Visit(number, status, began, time.monotonic()))
        return HTMLResponse(content(number, other) if status == 200 else "sorry", status)

    return Starlette(routes=[Route("/pages/{number:int}", page)])


def status_of(number: int, *, asked_before: bool) -> int:
    """Some pages are to be had at the second request only."""
    if number == BROKEN:
        return 500
    return 503 if number % 7 == 3 and not asked_before else 200


def content(number: int, other: str) -> str:
    """A page."""
    below = [child for child in (2 * number + 1, 2 * number + 2) if child < PAGES]
    targets = ["/pages/0#top", *map(str, below), url_of(other, number)]
    return "".join(f'<p><a href="{target}">{target}</a></p>' for target in targets)


def url_of(name: str, number: int) -> str:
    """The URL of a page of a host that runs."""
    host, port = AsgiServer.address(name)
    return f"http://{host}:{port}/pages/{number}"


north = site("north", "south", seconds=0.1)  # so slow that the number at once is what holds up a crawler
south = site("south", "north", seconds=0.005)  # so fast that the rate does
