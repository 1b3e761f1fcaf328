"""Orders and stock: the server that owns the pool of connections, and takes orders one after the other."""

from __future__ import annotations

import sqlite3
from typing import Any

import attrs

from resprout import GenServer, NoReply, Ok, Reply

from .pool import Pool

NAME = "orders"
STOCK = {"apples": 100, "pears": 100}


@attrs.frozen
class Place:
    """Sell something to somebody: the answer is the order's id, or None if there is not enough."""

    customer: str
    item: str
    number: int


@attrs.frozen
class FetchPool:
    """Ask for the pool, to read without waiting in line. A server that was started anew has another."""


@attrs.frozen
class Restock:
    """Fill up what is low."""


class Orders(GenServer):
    """Owns the pool, which is closed when this ends in whatever way."""

    async def init(self, arg: dict[str, Any]) -> Ok:
        """Open the pool, on the loop of the web server."""
        pool = Pool(arg["path"], arg["size"])
        self.own(pool, Pool.close)
        await pool.run(create)
        return Ok(pool)

    async def handle_call(self, message: Place | FetchPool, from_: object, state: Pool) -> Reply:
        """Take an order."""
        if isinstance(message, FetchPool):
            return Reply(state, state)
        return Reply(await state.run(place, message), state)

    async def handle_cast(self, message: Restock, state: Pool) -> NoReply:
        """Fill up."""
        await state.run(restock)
        return NoReply(state)


def create(connection: sqlite3.Connection) -> None:
    """Make the tables where they are missing."""
    connection.execute("CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, number INTEGER NOT NULL)")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT, item TEXT, number INTEGER)"
    )
    connection.executemany("INSERT OR IGNORE INTO stock VALUES (?, ?)", STOCK.items())


def place(connection: sqlite3.Connection, order: Place) -> int | None:
    """Sell."""
    taken = connection.execute(
        "UPDATE stock SET number = number - ? WHERE item = ? AND number >= ?",
        (order.number, order.item, order.number),
    )
    if taken.rowcount != 1:
        return None
    sold = "INSERT INTO orders (customer, item, number) VALUES (?, ?, ?)"
    return connection.execute(sold, attrs.astuple(order)).lastrowid


def find(connection: sqlite3.Connection, id: int) -> Place | None:
    """Look an order up."""
    found = connection.execute("SELECT customer, item, number FROM orders WHERE id = ?", (id,)).fetchone()
    return None if found is None else Place(*found)


def restock(connection: sqlite3.Connection) -> None:
    """Have at least as many as in the beginning."""
    least = [(number, item) for item, number in STOCK.items()]
    connection.executemany("UPDATE stock SET number = max(number, ?) WHERE item = ?", least)
