"""Grants that are asserted in a transaction of the user's, on PostgreSQL."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

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


def test_a_stale_token_is_refused_by_sqlalchemy_and_asynchronous_connections_as_well(
    both: Peer, url: str, postgres_database: PostgresDatabase
) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    try:
        from sqlalchemy.ext.asyncio import create_async_engine
    except ImportError:
        # It needs greenlet, which is not there.
        create_async_engine = None

    pool = sqlalchemy.create_engine(url.replace("postgresql", "postgresql+psycopg"))
    grant = throttle.acquire("db")
    with pool.begin() as connection:
        cluster.assert_held(connection, grant)

    async def main(stale: bool) -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            if stale:
                with pytest.raises(LockLost):
                    await cluster.aassert_held(connection, grant)
            else:
                await cluster.aassert_held(connection, grant)
        if create_async_engine is None:
            return
        other = create_async_engine(url.replace("postgresql", "postgresql+psycopg"))
        async with other.connect() as connection:
            if stale:
                with pytest.raises(LockLost):
                    await cluster.aassert_held(connection, grant)
            else:
                await cluster.aassert_held(connection, grant)
        await other.dispose()

    asyncio.run(main(stale=False))
    grant.release()
    until(lambda: postgres_database.claims() == 0)
    asyncio.run(main(stale=True))
    with pytest.raises(LockLost), pool.begin() as connection:
        cluster.assert_held(connection, grant)
    pool.dispose()


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
