"""The database alone, without processes.

Set RESPROUT_TEST_POSTGRES to the URL of an empty database to hold PostgreSQL to the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, NullPool, event

from orders import store
from orders.check import DeadLetter, expected
from orders.order import Order
from orders.topic import Message, Partition, read_partition

POSTGRES = os.environ.get("RESPROUT_TEST_POSTGRES")


@pytest.fixture(params=["sqlite", *(["postgres", "psycopg's pool"] if POSTGRES else [])])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/orders.db" if request.param == "sqlite" else str(POSTGRES)
    pool = "psycopg" if request.param == "psycopg's pool" else "sqlalchemy"
    engine = store.connect(url, size=10, pool=pool)
    yield engine
    if request.param != "sqlite":
        store.metadata.drop_all(engine)
    engine.dispose()


def messages(partition: Partition) -> list[Message]:
    return [Message(partition.number, offset, raw) for offset, raw in enumerate(partition.lines)]


STORY = Partition(
    0,
    (
        b'{"event": "created", "order": "o", "customer": "c"}',
        b'{"event": "item_added", "order": "o", "sku": "mug", "quantity": 2, "price_cents": 100}',
        b"what \x00 is \xff this",
        b'{"event": "shipped", "order": "o", "carrier": "post"}',
        b'{"event": "paid", "order": "o", "amount_cents": 200}',
    ),
)


def test_messages_change_orders_dead_letters_and_the_offset(engine: Engine) -> None:
    assert store.position(engine, 0) == 0

    assert [store.handle(engine, message) for message in messages(STORY)] == [True] * 5

    assert store.position(engine, 0) == 5
    assert store.find_order(engine, "o") == Order("o", "paid", 2, 200, 3)
    assert store.find_order(engine, "p") is None
    offsets, effects = store.everything(engine)
    assert effects == expected([STORY], offsets)
    assert effects.dead_letters == {
        DeadLetter(0, 3, "not UTF-8: invalid start byte at byte 10"),
        DeadLetter(0, 4, "Shipped cannot happen to an order that is created"),
    }


def test_a_message_is_handled_once_however_often_it_comes(engine: Engine) -> None:
    store.position(engine, 0)
    first, second, *_ = messages(STORY)

    assert [store.handle(engine, message) for message in (first, first, second, first, second)] == [
        True,
        False,
        True,
        False,
        False,
    ]

    assert store.find_order(engine, "o") == Order("o", "created", 2, 200, 2)
    assert store.position(engine, 0) == 2


def test_a_message_ahead_of_the_offset_changes_nothing(engine: Engine) -> None:
    store.position(engine, 0)

    assert not store.handle(engine, messages(STORY)[1])

    assert store.everything(engine) == ({0: 0}, expected([], {}))


def test_handlers_of_one_partition_that_race_apply_each_message_once(engine: Engine) -> None:
    partition = read_partition(5)
    gate = Barrier(4)

    def consume() -> int:
        gate.wait(timeout=30)
        applied = 0
        while (message := partition.message(store.position(engine, 5))) is not None:
            applied += store.handle(engine, message)
        return applied

    with ThreadPoolExecutor(4) as pool:
        applied = [future.result(timeout=60) for future in [pool.submit(consume) for _ in range(4)]]

    assert sum(applied) == len(partition)
    offsets, effects = store.everything(engine)
    assert offsets == {5: len(partition)}
    assert effects.mismatches(expected([partition], offsets)) == 0


def test_consumers_that_start_at_once_make_one_offset(engine: Engine) -> None:
    gate = Barrier(8)

    def start() -> int:
        gate.wait(timeout=30)
        return store.position(engine, 7)

    with ThreadPoolExecutor(8) as pool:
        assert [future.result(timeout=30) for future in [pool.submit(start) for _ in range(8)]] == [0] * 8

    assert store.everything(engine)[0] == {7: 0}


@pytest.mark.parametrize("statement", ["UPDATE offsets", "INSERT INTO orders", "COMMIT"])
def test_a_crash_at_any_point_of_a_transaction_leaves_it_undone(engine: Engine, statement: str) -> None:
    store.position(engine, 0)
    message = messages(STORY)[0]

    class PowerCut(BaseException): ...

    def cut(*arguments: object) -> None:
        if statement == "COMMIT" or statement in str(arguments[2]):
            raise PowerCut

    happening = "commit" if statement == "COMMIT" else "after_cursor_execute"
    event.listen(engine, happening, cut)
    with pytest.raises(PowerCut):
        store.handle(engine, message)
    event.remove(engine, happening, cut)

    assert store.everything(engine) == ({0: 0}, expected([], {}))
    assert store.handle(engine, message)


def test_the_pool_never_opens_more_connections_than_its_size(engine: Engine) -> None:
    opened = [] if isinstance(engine.pool, NullPool) else ["that which has made the tables"]
    # Of psycopg's pool a connection is told of each time it is borrowed.
    event.listen(engine, "connect", lambda connection, _: opened.append(connection))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: store.handled(engine), range(200)))

    assert 1 <= len({id(connection) for connection in opened}) <= 10


def test_readers_go_on_while_somebody_writes(engine: Engine) -> None:
    store.position(engine, 0)

    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(store.offsets.update().values(position=9))
        assert store.handled(engine) == 0

    assert store.handled(engine) == 9


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///no/such/folder/orders.db", "expected a database in a folder that is there"),
        ("postgresql+pg8000://user@localhost/orders", "pg8000 is not there: pip install"),
    ],
)
def test_what_is_missing_is_told(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        store.connect(url, size=10)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a database that connections can share"):
        store.connect(url, size=10)
