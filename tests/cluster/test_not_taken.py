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


@pytest.mark.parametrize("kind", [pytest.param("redis", marks=pytest.mark.redis)])
def test_who_waits_as_it_begins_hears_of_it(
    engine: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    throttle.new("bad", 1, engine=engine)
    grant = throttle.acquire("bad")
    jobs = [throttle.execute("bad", int) for _ in range(2)]
    until(lambda: throttle.lock_state("bad", everywhere=True).waiting == 2)
    with caplog.at_level(logging.ERROR, "resprout.cluster"):
        spoil(database)
        for job in jobs:
            with pytest.raises(cluster.EngineRefused, match=WHY):
                job.result(20)
    assert (
        len([record for record in caplog.records if "'bad': the engine does not take" in record.message]) == 1
    )
    spoil(database, good=True)
    grant.release()
    assert throttle.run("bad", int, timeout=10) == 0


@pytest.fixture
def sql(kind: str, database: Database) -> Iterator[Any]:
    import psycopg

    with closing(psycopg.connect(database.url, autocommit=True)) as connection:
        yield connection.execute


ON_POSTGRES = pytest.mark.parametrize("kind", [pytest.param("postgres", marks=pytest.mark.postgres)])


@ON_POSTGRES
def test_one_claim_that_is_not_taken_keeps_nothing_else_of_that_lock(
    engine: str, database: Database, sql: Any
) -> None:
    throttle.new("db", 5, engine=engine)
    throttle.run("db", int)
    sql("alter table resprout.claims add constraint good check (weight <> 3) not valid")

    def take(weight: int) -> int:
        with throttle.slot("db", weight=weight, timeout=20):
            return weight

    with ThreadPoolExecutor(3) as threads:
        with said_at_once():
            jobs = [threads.submit(take, weight) for weight in (1, 3, 2)]
            throttle.resize("db", 7)
            until(lambda: throttle.lock_state("db").waiting == 3)
        assert (jobs[0].result(20), jobs[2].result(20)) == (1, 2)
        with pytest.raises(cluster.EngineRefused, match=r"constraint .good"):
            jobs[1].result(20)
    until(lambda: database.num_slots() == 7)


@ON_POSTGRES
def test_what_is_to_last_is_said_again_until_it_is_taken(engine: str, database: Database, sql: Any) -> None:
    throttle.new("db", 2, engine=engine)
    throttle.run("db", int)
    sql("alter table resprout.locks add constraint good check (num_slots <> 5) not valid")
    with said_at_once():
        throttle.resize("db", 5)
    assert handles["shared"].ask(lambda _: True)
    sql("alter table resprout.locks drop constraint good")
    until(lambda: database.num_slots() == 5)


@ON_POSTGRES
def test_what_a_trigger_of_somebodys_raises_is_about_what_was_said(
    engine: str, database: Database, sql: Any
) -> None:
    before = cluster.info(engine).reconnects
    throttle.new("bad", 1, engine=engine)
    throttle.new("good", 1, engine=engine)
    sql("create function no() returns trigger language plpgsql as $$ begin raise 'not today'; end $$")
    sql(
        "create trigger no before insert on resprout.claims for each row when (new.lock = 'bad') "
        "execute function no()"
    )
    with pytest.raises(cluster.EngineRefused, match="not today"):
        throttle.run("bad", int)
    assert throttle.run("good", int) == 0
    assert cluster.info(engine).reconnects == before


@ON_POSTGRES
def test_what_a_transaction_keeps_is_free_after_it_though_its_lock_was_stopped_and_the_connection_cut(
    engine: str, database: Database
) -> None:
    import psycopg

    throttle.new("db", 1, engine=engine)
    grant = throttle.acquire("db")
    with closing(psycopg.connect(database.url)) as connection:
        cluster.assert_held(connection, grant)
        grant.release()
        # It was said, and is to be said again.
        assert handles["shared"].ask(lambda _: True)
        throttle.stop_lock("db")
        before = cluster.info(engine).reconnects
        assert database.cut() == 1
        until(lambda: cluster.info(engine).reconnects > before)
        connection.commit()
    until(lambda: database.claims() == 0)


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


@contextmanager
def no_key_can_be_released(database: Any) -> Iterator[None]:
    """For a while, though the keys there are stay as they are."""
    if database.url.startswith("redis"):
        with database.client() as client:
            client.rename("resprout:{bad}:keys", "kept")
            client.set("resprout:{bad}:keys", "of somebody else")
            yield
            client.rename("kept", "resprout:{bad}:keys")
        return
    import psycopg

    with closing(psycopg.connect(database.url, autocommit=True)) as connection:
        connection.execute(
            "create or replace function resprout.kept() returns trigger language plpgsql as "
            "$$begin raise exception 'no' using errcode = 'check_violation'; end$$"
        )
        connection.execute(
            "create trigger kept before delete on resprout.keys for each row execute function resprout.kept()"
        )
        yield
        connection.execute("drop trigger kept on resprout.keys")


def test_a_key_whose_release_was_refused_is_free_as_soon_as_that_is_taken(
    engine: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    before = cluster.info(engine).reconnects
    Registry.start_link(keys="unique", name="bad", engine=engine)
    # What is left to be said outlives its registry.
    for give_up in (lambda: Registry.unregister("bad", 1), lambda: Registry.stop("bad")):
        Registry.register("bad", 1)
        caplog.clear()
        with no_key_can_be_released(database), caplog.at_level(logging.ERROR, "resprout.cluster"):
            give_up()
            until(lambda: "registry 'bad': the engine does not take what is asked of it" in caplog.text)
        until(lambda: database.keys() == 0)
    assert cluster.info(engine).reconnects == before
