"""Asks the API all the time, as customers would: three at once, through one client of this loop."""

from __future__ import annotations

import asyncio
import logging
import random

import httpx

from resprout.supervision.trees.asgi import AsgiServer

from . import measure
from .topic import CUSTOMERS

AT_ONCE = 3

PAUSE = 0.01
"""Seconds between an answer and the next request."""

# It would tell of each request.
logging.getLogger("httpx").setLevel(logging.WARNING)


async def probe(api: str) -> None:
    """Sends request after request for as long as the tree runs. `api` is the name of the API."""
    # Asked once: the listening socket, and so the address, outlives every crash of the API.
    host, port = AsgiServer.address(api)
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=5.0) as client:
        await asyncio.gather(*(_ask(client, random.Random(number)) for number in range(AT_ONCE)))


async def _ask(client: httpx.AsyncClient, chance: random.Random) -> None:
    while True:
        path = "/health" if chance.random() < 0.1 else f"/customers/c{chance.randrange(CUSTOMERS)}"
        if await _is_answered(client, path):
            measure.answers += 1
        else:
            measure.errors += 1
        await asyncio.sleep(PAUSE)


async def _is_answered(client: httpx.AsyncClient, path: str) -> bool:
    for _ in range(2):  # a request that a killed API was at is sent once more
        try:
            answer = await client.get(path)
        except httpx.HTTPError:
            continue
        return answer.status_code == 200
    return False
