"""Streams that hold a slot of a room to their last row, in each of the forms of a generator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from resprout import throttle

ROWS = [f"{number}\n".encode() for number in range(5)]


def rows_in_a_block(room: Any) -> Iterator[bytes]:
    with throttle.slot(room.name), room.entered():
        yield from ROWS


async def arows_in_a_block(room: Any) -> AsyncIterator[bytes]:
    async with throttle.slot(room.name):
        with room.entered():
            for row in ROWS:
                yield row


def limited_rows(room: Any) -> Iterator[bytes]:
    @throttle.limited(room.name)
    def rows() -> Iterator[bytes]:
        with room.entered():
            yield from ROWS

    return rows()


def limited_arows(room: Any) -> AsyncIterator[bytes]:
    @throttle.limited(room.name)
    async def rows() -> AsyncIterator[bytes]:
        with room.entered():
            for row in ROWS:
                yield row

    return rows()
