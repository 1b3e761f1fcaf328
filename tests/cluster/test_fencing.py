"""Grants that are asserted in a transaction of the user's, on PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine
from sqlalchemy.orm import Session

from resprout import LockLost, cluster, throttle
from resprout.cluster import ledger

from ..waiting import until
from .peer import Peer
from .postgres_database import PostgresDatabase

pytestmark = pytest.mark.postgres


@pytest.fixture
def both(engine: str, url: str) -> Iterator[Peer]:
    """A lock `db` of one slot, here and there."""
    with Peer(url, node="there") as other:
        throttle.new("db", 1, engine="shared")
        other.do("throttle.new('db', 1, engine='shared') and None")
        yield other


def test_a_transaction_that_asserts_its_grant_keeps_the_slots_until_it_ends(
    both: Peer, url: str, postgres_database: PostgresDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    grant = throttle.acquire("db")
    number = both.later("throttle.acquire('db').token")
    until(lambda: throttle.lock_state("db", everywhere=True).waiting == 1)
    with closing(psycopg.connect(url)) as connection:
        cluster.assert_held(connection, grant)
        with caplog.at_level(logging.WARNING):
            grant.release()
            until(lambda: "commit first, then release" in caplog.text)
        assert postgres_database.one("select count(*) from resprout.claims where not waiting") == 1
        connection.commit()
    assert both.result(number) > grant.token
    with closing(psycopg.connect(url)) as connection, pytest.raises(LockLost):
        cluster.assert_held(connection, grant)


class OwnSession(Session):
    """As those of SQLModel and Flask-SQLAlchemy."""


def pool(url: str, **options: Any) -> Engine:
    return create_engine(url.replace("postgresql", "postgresql+psycopg"), poolclass=NullPool, **options)


WAYS: dict[str, Callable[[str], AbstractContextManager[Any]]] = {
    "psycopg": psycopg.connect,
    "connection of SQLAlchemy": lambda url: pool(url).connect(),
    "session": lambda url: Session(pool(url)),
    "session of a class of one's own": lambda url: OwnSession(pool(url)),
}


@pytest.mark.parametrize("way", WAYS)
def test_connections_and_sessions_refuse_a_stale_token(
    both: Peer, url: str, postgres_database: PostgresDatabase, way: str
) -> None:
    grant = throttle.acquire("db")
    with WAYS[way](url) as connection:
        cluster.assert_held(connection, grant)
    grant.release()
    until(lambda: postgres_database.claims() == 0)
    with WAYS[way](url) as connection, pytest.raises(LockLost):
        cluster.assert_held(connection, grant)


@asynccontextmanager
async def of_psycopg(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@asynccontextmanager
async def of_asyncpg(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def of_sqlalchemy(url: str, driver: str, session: bool, **options: Any) -> AsyncIterator[Any]:
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    class OwnAsyncSession(AsyncSession):
        """The same as OwnSession."""

    pool = create_async_engine(url.replace("postgresql", f"postgresql+{driver}"), **options)
    try:
        async with OwnAsyncSession(pool) if session else pool.connect() as connection:
            yield connection
    finally:
        await pool.dispose()


ASYNCHRONOUS: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "psycopg": of_psycopg,
    "asyncpg": of_asyncpg,
    "SQLAlchemy on psycopg": lambda url: of_sqlalchemy(url, "psycopg", session=False),
    "SQLAlchemy on asyncpg": lambda url: of_sqlalchemy(url, "asyncpg", session=False),
    "session on psycopg": lambda url: of_sqlalchemy(url, "psycopg", session=True),
    "session on asyncpg": lambda url: of_sqlalchemy(url, "asyncpg", session=True),
}


@pytest.mark.parametrize("way", ASYNCHRONOUS)
def test_asynchronous_connections_and_sessions_refuse_a_stale_token(
    both: Peer, url: str, postgres_database: PostgresDatabase, way: str
) -> None:
    grant = throttle.acquire("db")

    async def good() -> None:
        async with ASYNCHRONOUS[way](url) as connection:
            await cluster.aassert_held(connection, grant)

    async def stale() -> None:
        async with ASYNCHRONOUS[way](url) as connection:
            with pytest.raises(LockLost):
                await cluster.aassert_held(connection, grant)

    asyncio.run(good())
    grant.release()
    until(lambda: postgres_database.claims() == 0)
    asyncio.run(stale())


def test_a_connection_on_which_each_statement_is_a_transaction_is_refused(both: Peer, url: str) -> None:
    grant = throttle.acquire("db")
    with psycopg.connect(url, autocommit=True) as connection:
        for each in (connection, connection.cursor()):
            with pytest.raises(ValueError, match=r"`with connection.transaction\(\):`"):
                cluster.assert_held(each, grant)
            with connection.transaction():
                cluster.assert_held(each, grant)
    with pool(url, isolation_level="AUTOCOMMIT").connect() as other:
        with pytest.raises(ValueError, match="in a transaction"):
            cluster.assert_held(other, grant)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_an_asynchronous_one_is_refused_as_well(both: Peer, url: str, driver: str) -> None:
    grant = throttle.acquire("db")

    async def main() -> None:
        async with of_sqlalchemy(url, driver, session=True, isolation_level="AUTOCOMMIT") as session:
            with pytest.raises(ValueError, match="in a transaction"):
                await cluster.aassert_held(session, grant)

    asyncio.run(main())


def test_a_pool_and_a_connection_of_asyncpg_outside_of_a_transaction_are_refused(
    both: Peer, url: str
) -> None:
    grant = throttle.acquire("db")

    async def main() -> None:
        async with asyncpg.create_pool(url, min_size=1) as pool:
            with pytest.raises(ValueError, match="in a transaction"):
                await cluster.aassert_held(pool, grant)
            async with pool.acquire() as connection:
                with pytest.raises(ValueError, match="in a transaction"):
                    await cluster.aassert_held(connection, grant)
                async with connection.transaction():
                    await cluster.aassert_held(connection, grant)

    asyncio.run(main())


def test_what_is_no_grant_or_no_connection_of_the_kind_that_is_asked_for_is_refused(
    both: Peer, url: str
) -> None:
    nothing: Any = None
    grant = throttle.acquire("db")
    with closing(psycopg.connect(url)) as connection:
        with pytest.raises(TypeError, match=r"what acquire\(\) or slot\(\) gives, got: NoneType"):
            cluster.assert_held(connection, nothing)
        with pytest.raises(TypeError, match=r"a connection of psycopg or asyncpg, .* got: Engine"):
            cluster.assert_held(pool(url), grant)
        with pytest.raises(TypeError, match=r"got: Connection; use `cluster.assert_held\(...\)`"):
            asyncio.run(cluster.aassert_held(connection, grant))
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    async def main() -> None:
        async with of_psycopg(url) as connection:
            with pytest.raises(TypeError, match=r"got: AsyncConnection; use `await cluster.aassert_held"):
                await asyncio.to_thread(cluster.assert_held, connection, grant)

    asyncio.run(main())


def test_a_grant_of_a_lock_without_an_engine_can_not_be_asserted_in_a_database(url: str) -> None:
    throttle.new("own", 1)
    with throttle.slot("own") as grant, closing(psycopg.connect(url)) as connection:
        with pytest.raises(ValueError, match="a lock with an engine"):
            cluster.assert_held(connection, grant)
    throttle.stop_lock("own")


def test_an_assertion_holds_for_whoever_has_the_slot_now_and_keeps_it_until_its_transaction_ends(
    engine: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "HAND_ON", 3600.0)
    throttle.new("db", 1, engine=engine, fairness="eventual")
    first = throttle.acquire("db")
    handed: list[throttle.Grant] = []

    def work() -> None:
        handed.append(throttle.acquire("db"))

    job = throttle.execute("db", lambda: throttle.holders("db")[0].token)
    until(lambda: throttle.lock_state("db", everywhere=True).waiting == 1)
    first.release()
    assert job.result(5) == first.token + 1
    second = throttle.acquire("db")
    with closing(psycopg.connect(url)) as connection:
        with pytest.raises(LockLost):
            cluster.assert_held(connection, first)
        cluster.assert_held(connection, second)
        mine = throttle.execute("db", work)
        until(lambda: throttle.lock_state("db", everywhere=True).waiting == 1)
        second.release()
        # Its transaction is open.
        until(lambda: not throttle.holders("db"))
        assert throttle.lock_state("db", everywhere=True) == throttle.LockState(1, 1, 1)
        connection.commit()
    mine.result(10)
    assert handed[0].token >= second.token + ledger.BLOCK
