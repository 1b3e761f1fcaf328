"""Connections for coroutines of one event loop, as asyncpg and aiohttp have them; these are of SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """So many connections, each with a thread of its own, for the loop that it was made in and no other."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(size, "pool", self._connect)

    async def run(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `work(connection, ...)` in one transaction.

        Raises:
            RuntimeError: This is not the pool's event loop.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this pool is attached to a different loop")
        return await self._loop.run_in_executor(self._threads, lambda: self._transact(work, *args, **kwargs))

    def close(self) -> None:
        """Wait for what runs, and close all connections."""
        self._threads.shutdown(cancel_futures=True)
        while self._all:
            self._all.pop().close()

    def _connect(self) -> None:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        self._all.append(connection)
        self._mine.connection = connection

    def _transact(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        connection: sqlite3.Connection = self._mine.connection
        with connection:
            # A transaction that reads first and writes later cannot wait for another writer: ask at once.
            connection.execute("BEGIN IMMEDIATE")
            return work(connection, *args, **kwargs)
