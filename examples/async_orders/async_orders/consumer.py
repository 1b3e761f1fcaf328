"""One coroutine a partition: it hands message after message to the database, when the lock lets it in."""

from __future__ import annotations

import asyncio

from resprout import throttle

from . import measure, store
from .database import pool
from .topic import Consumer, Message

THROTTLE = "consumers"

REMOTE_CALL = 0.002
"""Seconds that the warehouse takes to answer."""


async def consume(partition: str) -> None:
    """Consumes a partition from the committed offset to its end.

    It keeps nothing that the database does not know, so it may be killed at any moment: the next one asks the
    database where to go on.
    """
    measure.num_slots = throttle.lock_info(THROTTLE).num_slots
    consumer = Consumer(int(partition))
    await consumer.start()
    try:
        async with throttle.slot(THROTTLE), (await pool()).acquire() as connection:
            consumer.seek(await store.position(connection, int(partition)))
        async for message in consumer:
            async with throttle.slot(THROTTLE):
                await handle(message)
    finally:
        await consumer.stop()


async def handle(message: Message) -> None:
    """Carries one message out; at most as many of these are at work at once as the lock has slots."""
    with measure.running:
        await asyncio.sleep(REMOTE_CALL)
        async with (await pool()).acquire() as connection:
            await store.handle(connection, message)
        measure.handled += 1
