"""What stands for asyncpg where no PostgreSQL is: a pool of SQLite connections with the same names.

As asyncpg's it belongs to the event loop in which it was made, and refuses to be used in another. A statement
runs in the connection's own thread; whoever is cancelled while it does waits for the end of it, so that a
connection that is given back is free.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class Connection:
    """One connection; statements have `$1`, `$2` for their arguments."""

    def __init__(self, path: str) -> None:
        self._thread = ThreadPoolExecutor(1, "sqlite")
        self._path = path
        self._raw: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Connects."""
        self._raw = await self._in_thread(self._connect)

    async def close(self) -> None:
        """Disconnects."""
        if self._raw is not None:
            await self._in_thread(self._raw.close)
        self._thread.shutdown()

    async def execute(self, statement: str, *args: object) -> str:
        """Carries a statement out; gives its status, such as `UPDATE 1`."""
        cursor = await self._in_thread(self._run, statement, args)
        return f"{statement.split()[0]} {cursor.rowcount}"

    async def fetch(self, statement: str, *args: object) -> list[Any]:
        """The rows of a query."""
        return await self._in_thread(lambda: self._run(statement, args).fetchall())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All of the block, or nothing."""
        await self._in_thread(self._run, "BEGIN IMMEDIATE", ())
        try:
            yield
        except BaseException:
            await self.reset()
            raise
        await self._in_thread(self._run, "COMMIT", ())

    async def reset(self) -> None:
        """Undoes what was not committed."""
        await self._in_thread(lambda: self._raw is not None and self._raw.rollback())

    def _connect(self) -> sqlite3.Connection:
        raw = sqlite3.connect(self._path, timeout=20, isolation_level=None)
        raw.row_factory = sqlite3.Row
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = OFF")
        return raw

    def _run(self, statement: str, args: tuple[object, ...]) -> sqlite3.Cursor:
        assert self._raw is not None
        named = {str(place): value for place, value in enumerate(args, 1)}
        return self._raw.execute(statement, named)

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._thread, call, *args)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # The thread hears nothing of it.
            await asyncio.wait([running])
            raise


class Pool:
    """So many connections. Made by `create_pool`."""

    def __init__(self, connections: list[Connection]) -> None:
        self._loop = asyncio.get_running_loop()
        self._all = tuple(connections)
        self._idle: asyncio.LifoQueue[Connection] = asyncio.LifoQueue()
        self._closing = False
        for connection in connections:
            self._idle.put_nowait(connection)

    def get_max_size(self) -> int:
        """How many connections there may be."""
        return len(self._all)

    def get_size(self) -> int:
        """How many there are."""
        return len(self._all)

    def get_idle_size(self) -> int:
        """How many of them nobody has."""
        return self._idle.qsize()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lends a connection, when one is free.

        Raises:
            RuntimeError: It is closed, or of another loop.
        """
        self._check_loop()
        if self._closing:
            raise RuntimeError("the pool is closed")
        connection = await self._idle.get()
        try:
            yield connection
        finally:
            await asyncio.shield(self._release(connection))

    async def close(self) -> None:
        """Waits until all are given back, and disconnects."""
        self._check_loop()
        self._closing = True
        for _ in self._all:
            await (await self._idle.get()).close()

    async def terminate(self) -> None:
        """Disconnects all, in whatever loop and whoever has them."""
        self._closing = True
        for connection in self._all:
            await connection.close()

    async def _release(self, connection: Connection) -> None:
        await connection.reset()
        self._idle.put_nowait(connection)

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a pool of connections was used in a different loop than it was made in")


async def create_pool(path: str, size: int) -> Pool:
    """Connects so often."""
    connections = [Connection(path) for _ in range(size)]
    for connection in connections:
        await connection.open()
    return Pool(connections)
