"""What stands for Kafka: a topic in memory, and a consumer that is used as aiokafka's.

The messages are the same for each run. A real consumer waits for more at the end of a partition; this one is
through there, so that the example comes to an end.
"""

from __future__ import annotations

import asyncio
import json
import random
from functools import cache

import attrs

PARTITIONS = 8
LENGTH = 100
CUSTOMERS = 40

FETCH = 25
"""Messages that come at once."""

ROUND_TRIP = 0.003
"""Seconds until they are there."""


@attrs.frozen
class Message:
    """One message of the topic."""

    partition: int
    offset: int
    value: bytes


@attrs.frozen
class Order:
    """What a message says."""

    customer: str
    cents: int


def parse(message: Message) -> Order:
    """Reads a message."""
    return Order(**json.loads(message.value))


@cache
def partition(number: int) -> tuple[bytes, ...]:
    """What lies in a partition."""
    chance = random.Random(number)
    return tuple(
        json.dumps(
            {"customer": f"c{chance.randrange(CUSTOMERS)}", "cents": chance.randint(100, 9999)}
        ).encode()
        for _ in range(LENGTH)
    )


class Consumer:
    """Reads one partition, with the names of `aiokafka.AIOKafkaConsumer`.

    Args:
        number: Of the partition.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._position = 0
        self._fetched: list[Message] = []
        self._started = False

    async def start(self) -> None:
        """Connects."""
        await asyncio.sleep(ROUND_TRIP)
        self._started = True

    async def stop(self) -> None:
        """Disconnects."""
        self._started = False

    def seek(self, offset: int) -> None:
        """Says where to go on."""
        self._position = offset
        self._fetched.clear()

    def __aiter__(self) -> Consumer:
        return self

    async def __anext__(self) -> Message:
        if not self._started:
            raise RuntimeError("expected the consumer to be started, got: one that is not")
        if not self._fetched:
            await asyncio.sleep(ROUND_TRIP)
            ahead = partition(self._number)[self._position : self._position + FETCH]
            self._fetched = [
                Message(self._number, self._position + place, value) for place, value in enumerate(ahead)
            ]
        if not self._fetched:
            raise StopAsyncIteration
        self._position += 1
        return self._fetched.pop(0)
