"""What an engine refuses for what it says: whoever has said it hears that, and nobody else waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest

from resprout import Registry, cluster, throttle
from resprout.cluster.handle import handles

from ..waiting import until
from .databases import Database
from .kinds import KINDS

WHY = r"engine 'shared': .*(constraint .good|wrong kind of value)"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def spoil(database: Any, good: bool = False) -> None:
    """From now on nothing is taken that is about a lock or registry `bad`, or it is again."""
    if database.url.startswith("redis"):
        with database.client() as client:
            for what in ("lock", "keys"):
                client.delete(f"resprout:{{bad}}:{what}")
                if not good:
                    client.set(f"resprout:{{bad}}:{what}", "of somebody else")
        return
    import psycopg

    with closing(psycopg.connect(database.url, autocommit=True)) as connection:
        for table, column in (("claims", "lock"), ("keys", "registry")):
            added = f"add constraint good check ({column} <> 'bad') not valid"
            change = "drop constraint good" if good else added
            connection.execute(f"alter table resprout.{table} {change}")


@contextmanager
def said_at_once() -> Iterator[None]:
    """All that is left meanwhile is said in one request."""
    began, go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        look = threads.submit(handles["shared"].ask, lambda _: began.set() or go_on.wait(10))
        assert began.wait(10)
        try:
            yield
        finally:
            go_on.set()
        assert look.result(10)


def test_a_lock_that_is_not_taken_keeps_no_other_from_its_slots(
    engine: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    names, before = ("a", "bad", "c"), cluster.info(engine).reconnects
    for name in names:
        throttle.new(name, 1, engine=engine)
        throttle.run(name, int)
    spoil(database)
    with caplog.at_level(logging.ERROR, "resprout.cluster"), said_at_once():
        jobs = {name: throttle.execute(name, int) for name in names}
    assert jobs["a"].result(10) == jobs["c"].result(10) == 0
    with pytest.raises(cluster.EngineRefused, match=WHY):
        jobs["bad"].result(10)
    assert "lock 'bad': the engine does not take what is asked of it" in caplog.text
    spoil(database, good=True)
    assert throttle.run("bad", int, timeout=10) == 0
    assert cluster.info(engine).reconnects == before


def test_what_is_given_back_is_said_again_until_it_is_taken(engine: str, database: Database) -> None:
    before = cluster.info(engine).reconnects
    throttle.new("bad", 1, engine=engine)
    grant = throttle.acquire("bad")
    spoil(database)
    with said_at_once():
        job = throttle.execute("bad", int)
        grant.release()
    if job.exception(10) is not None:
        with pytest.raises(cluster.EngineRefused, match=WHY):
            job.result(10)
    spoil(database, good=True)
    until(lambda: throttle.lock_state("bad", everywhere=True).running == 0)
    assert throttle.run("bad", int, timeout=10) == 0
    assert cluster.info(engine).reconnects == before


def test_a_registry_that_is_not_taken_keeps_no_other_from_its_keys(engine: str, database: Database) -> None:
    names, before = ("a", "bad", "c"), cluster.info(engine).reconnects
    for name in names:
        Registry.start_link(keys="unique", name=name, engine=engine)
    spoil(database)
    with ThreadPoolExecutor(3) as threads:
        with said_at_once():
            jobs = {name: threads.submit(Registry.register, name, 1) for name in names}
            until(lambda: len(handles["shared"].keys.dirty) == len(names))
        jobs["a"].result(10)
        jobs["c"].result(10)
        with pytest.raises(cluster.EngineRefused, match=WHY):
            jobs["bad"].result(10)
    spoil(database, good=True)
    Registry.register("bad", 1)
    assert cluster.info(engine).reconnects == before
