"""The tables and the one transaction a message, for asyncpg and for what stands for it.

Exactly once: the effect of a message and the step of its partition's offset are one transaction, and the step
only happens from the offset of the message. So a crash loses nothing and repeats nothing, even when a killed
consumer's last transaction ends beside its successor.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from . import sqlite_pool
from .topic import Message, parse, partition

TABLES = (
    "CREATE TABLE IF NOT EXISTS consumed (number INTEGER PRIMARY KEY, position INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS customers (name TEXT PRIMARY KEY, orders INTEGER, cents BIGINT)",
)


async def open_pool(url: str, size: int) -> Any:
    """A pool of so many connections, asyncpg's for a URL of PostgreSQL's; makes the tables that are missing.

    Raises:
        ValueError: The URL is of neither, or asyncpg or the folder of the file is not there.
    """
    if url.startswith("sqlite:///"):
        if not Path(url.removeprefix("sqlite:///")).parent.is_dir():
            raise ValueError(f"expected a database in a folder that is there, got: {url}")
        pool: Any = await sqlite_pool.create_pool(url.removeprefix("sqlite:///"), size)
    elif url.startswith(("postgresql://", "postgres://")):
        try:
            import asyncpg
        except ImportError:
            raise ValueError("asyncpg is not there: pip install -e '.[postgres]'") from None
        pool = await asyncpg.create_pool(url, min_size=size, max_size=size)
    else:
        raise ValueError(f"expected sqlite:///PATH or postgresql://..., got: {url!r}")
    async with pool.acquire() as connection, connection.transaction():
        for statement in TABLES:
            await connection.execute(statement)
    return pool


def free(pool: Any) -> int:
    """How many connections of a pool can be had without waiting."""
    return int(pool.get_max_size() - (pool.get_size() - pool.get_idle_size()))


@attrs.frozen
class Total:
    """What a customer has ordered."""

    orders: int
    cents: int


async def position(connection: Any, number: int) -> int:
    """The offset of a partition's next message."""
    await connection.execute("INSERT INTO consumed VALUES ($1, 0) ON CONFLICT DO NOTHING", number)
    [row] = await connection.fetch("SELECT position FROM consumed WHERE number = $1", number)
    return int(row["position"])


async def handle(connection: Any, message: Message) -> None:
    """Carries a message out, unless a former consumer did."""
    order = parse(message)
    async with connection.transaction():
        step = "UPDATE consumed SET position = position + 1 WHERE number = $1 AND position = $2"
        if await connection.execute(step, message.partition, message.offset) != "UPDATE 1":
            return
        await connection.execute(
            "INSERT INTO customers VALUES ($1, 1, $2) ON CONFLICT (name) "
            "DO UPDATE SET orders = customers.orders + 1, cents = customers.cents + excluded.cents",
            order.customer,
            order.cents,
        )


async def total(connection: Any, customer: str) -> Total | None:
    """What a customer has ordered so far."""
    rows = await connection.fetch("SELECT orders, cents FROM customers WHERE name = $1", customer)
    return Total(rows[0]["orders"], rows[0]["cents"]) if rows else None


async def everything(connection: Any) -> tuple[dict[int, int], dict[str, Total]]:
    """The offsets by their partitions, and the totals by their customers."""
    offsets = await connection.fetch("SELECT number, position FROM consumed")
    totals = await connection.fetch("SELECT name, orders, cents FROM customers")
    return (
        {row["number"]: row["position"] for row in offsets},
        {row["name"]: Total(row["orders"], row["cents"]) for row in totals},
    )


def expected(offsets: Mapping[int, int]) -> dict[str, Total]:
    """What the topic says the totals are, each message before these offsets handled once."""
    found: dict[str, Total] = {}
    for number, reached in offsets.items():
        for offset, value in enumerate(partition(number)[:reached]):
            order = parse(Message(number, offset, value))
            before = found.get(order.customer, Total(0, 0))
            found[order.customer] = Total(before.orders + 1, before.cents + order.cents)
    return found
