"""Work in the background, on the same loop: what is low is filled up."""

from __future__ import annotations

import asyncio

from resprout import GenServer

from .orders import NAME, Restock


async def restock(every: float) -> None:
    """Do so for ever; the supervisor starts it again should it fail."""
    while True:
        await asyncio.sleep(every)
        GenServer.cast(NAME, Restock())
