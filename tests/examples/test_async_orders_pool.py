"""The pool of connections that stands for asyncpg's, and the store, without processes.

Set RESPROUT_TEST_POSTGRES to the URL of an empty database to hold asyncpg's to the same.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from async_orders import sqlite_pool, store
from async_orders.topic import Message, partition

POSTGRES = os.environ.get("RESPROUT_TEST_POSTGRES")


@pytest.fixture(params=["sqlite", *(["postgres"] if POSTGRES else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/orders.db"
    return str(POSTGRES).replace("+psycopg", "")


def with_pool(url: str, use: Callable[[Any], Awaitable[None]]) -> None:
    async def main() -> None:
        pool = await store.open_pool(url, 2)
        try:
            async with pool.acquire() as connection:
                for table in ("consumed", "customers"):
                    await connection.execute(f"DELETE FROM {table}")
            await use(pool)
        finally:
            await pool.close()

    asyncio.run(main())


def messages(number: int, count: int) -> list[Message]:
    return [Message(number, offset, value) for offset, value in enumerate(partition(number)[:count])]


def test_each_message_has_its_effect_once(url: str) -> None:
    async def use(pool: Any) -> None:
        async with pool.acquire() as connection:
            assert await store.position(connection, 3) == 0
            for message in messages(3, 20):
                for _ in range(2):
                    await store.handle(connection, message)
            assert await store.position(connection, 3) == 20
            offsets, totals = await store.everything(connection)
            assert offsets == {3: 20}
            assert totals == store.expected(offsets)
            name, total = next(iter(totals.items()))
            assert await store.total(connection, name) == total
            assert await store.total(connection, "nobody") is None

    with_pool(url, use)


def test_a_transaction_that_fails_leaves_nothing(url: str) -> None:
    async def use(pool: Any) -> None:
        async with pool.acquire() as connection:
            await store.position(connection, 1)
            with pytest.raises(ZeroDivisionError):
                async with connection.transaction():
                    await connection.execute("UPDATE consumed SET position = 7")
                    raise ZeroDivisionError
            assert await store.position(connection, 1) == 0

    with_pool(url, use)


def test_connections_that_somebody_has_are_not_free(url: str) -> None:
    async def use(pool: Any) -> None:
        assert store.free(pool) == 2
        async with pool.acquire():
            assert store.free(pool) == 1
            async with pool.acquire():
                assert store.free(pool) == 0
        assert store.free(pool) == 2

    with_pool(url, use)


def test_who_is_cancelled_in_a_statement_gives_its_connection_back_when_that_is_over(tmp_path: Path) -> None:
    begun, gate = threading.Event(), threading.Event()

    def waits() -> int:
        begun.set()
        assert gate.wait(20)
        return 1

    async def use(pool: Any) -> None:
        async def work() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection._in_thread(connection._raw.create_function, "waits", 0, waits)
                await connection.execute("SELECT waits()")

        task = asyncio.ensure_future(work())
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert (task.done(), store.free(pool)) == (False, 1)
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.free(pool) == 2

    with_pool(f"sqlite:///{tmp_path}/orders.db", use)


def test_another_loop_is_refused_and_so_is_a_pool_that_is_closed(tmp_path: Path) -> None:
    pool = asyncio.run(sqlite_pool.create_pool(str(tmp_path / "orders.db"), 1))

    async def borrow(pool: sqlite_pool.Pool) -> None:
        async with pool.acquire():
            raise AssertionError("it was lent")

    with pytest.raises(RuntimeError, match="used in a different loop than it was made in"):
        asyncio.run(borrow(pool))

    async def close_and_borrow() -> None:
        pool = await sqlite_pool.create_pool(str(tmp_path / "orders.db"), 1)
        await pool.close()
        with pytest.raises(RuntimeError, match="the pool is closed"):
            await borrow(pool)

    asyncio.run(close_and_borrow())
    # What its own loop cannot do any more.
    asyncio.run(pool.terminate())


def test_a_url_of_another_database_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected sqlite:///PATH or postgresql://..., got: 'mysql://x'"):
        asyncio.run(store.open_pool("mysql://x", 1))


def test_a_folder_or_a_driver_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)  # as if it was not installed
    for url, reason in (
        ("sqlite:///no/such/folder/orders.db", "expected a database in a folder that is there"),
        ("postgresql://user@localhost/orders", "asyncpg is not there: pip install"),
    ):
        with pytest.raises(ValueError, match=reason):
            asyncio.run(store.open_pool(url, 1))
