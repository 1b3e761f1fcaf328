"""The pool of connections as a process, and who borrows from it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orders import measure, store
from orders.api import app
from orders.database import NAME, Pool, borrow, engine
from orders.measure import Lent
from resprout import process

from ..waiting import await_end


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A pool of two connections that nobody waits for longer than a moment."""
    for name in ("to_api", "to_consumers"):
        monkeypatch.setattr(measure, name, Lent())
    monkeypatch.setattr(measure, "pool_size", None)
    options = {"url": f"sqlite:///{tmp_path}/orders.db", "size": 2, "timeout": 0.01}
    pid = Pool.start(options, name=NAME)
    yield engine()
    if pid.alive:
        await_end(pid, "shutdown")


def test_all_connections_are_open_from_the_start(pool: Engine) -> None:
    assert pool.pool.checkedin() == 2  # type: ignore[attr-defined]
    assert measure.pool_size == 2


@pytest.mark.parametrize("reason", ["shutdown", "kill"])
def test_all_are_closed_at_the_end_however_it_comes(pool: Engine, reason: str) -> None:
    before = pool.pool
    await_end(process.whereis(NAME), reason)
    assert before.checkedin() == 0  # type: ignore[attr-defined]


@pytest.mark.usefixtures("pool")
def test_one_that_somebody_has_then_is_closed_when_it_comes_back() -> None:
    with borrow(measure.to_consumers) as connection:
        raw = connection.connection.dbapi_connection
        await_end(process.whereis(NAME), "kill")
        assert store.handled(connection) == 0

    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        raw.execute("SELECT 1")


def test_what_is_borrowed_is_counted_and_given_back(pool: Engine) -> None:
    with borrow(measure.to_consumers) as connection:
        assert measure.to_consumers.out.inside == 1
        assert store.handled(connection) == 0
        assert pool.pool.checkedin() == 1  # type: ignore[attr-defined]

    assert measure.to_consumers.out.inside == 0
    assert pool.pool.checkedin() == 2  # type: ignore[attr-defined]
    assert measure.to_consumers.waits.statistics().requests == 1
    assert measure.to_consumers.found_none.value == 0


def test_who_finds_none_free_and_gets_none_in_time_is_told_and_counted(pool: Engine) -> None:
    with borrow(measure.to_consumers), borrow(measure.to_consumers):
        with pytest.raises(PoolTimeout), borrow(measure.to_api):
            raise AssertionError("there was a third connection")

    assert measure.to_api.found_none.value == 1
    assert measure.to_api.waits.statistics().errors == 1
    assert measure.to_api.out.most == 0
    assert measure.to_consumers.out.most == 2


@pytest.mark.usefixtures("pool")
def test_the_api_says_that_it_is_unavailable_when_consumers_have_all_connections() -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            return await client.get("/orders/o")

    with borrow(measure.to_consumers), borrow(measure.to_consumers):
        answer = asyncio.run(ask())
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert asyncio.run(ask()).status_code == 404


def test_another_pool_than_the_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected pool to be sqlalchemy or psycopg, got: c3p0"):
        store.connect(f"sqlite:///{tmp_path}/orders.db", 2, pool="c3p0")
