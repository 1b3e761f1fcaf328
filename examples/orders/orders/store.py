"""The tables and the one transaction per message.

Exactly once: a message's effect and the step of its partition's offset are one transaction, and the step only
happens from the offset that the handler read. So a crash loses nothing and repeats nothing, even when a
killed consumer's handler is still at work beside its successor: one of the two moves the offset, the other
finds it moved and changes nothing.

Nothing here knows of processes: `database.py` holds the pool of connections for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from sqlite3 import Connection as SQLiteConnection
from typing import Any

import attrs
from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    NullPool,
    QueuePool,
    String,
    Table,
    Text,
    create_engine,
    event,
    func,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from .check import DeadLetter, Effects
from .events import Event, Malformed, parse
from .order import Impossible, Order, apply
from .topic import Message

Bind = Engine | Connection
"""What a transaction runs on: a connection that the caller has, or one of an engine's pool for the time."""

metadata = MetaData()

offsets = Table(
    "offsets",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", String, primary_key=True),
    Column("partition", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("total_cents", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("file", String, nullable=False),
    Column("raw", Text, nullable=False),
    Column("reason", Text, nullable=False),
)


def connect(url: str, size: int, timeout: float = 30.0, pool: str = "sqlalchemy") -> Engine:
    """An engine with `size` pooled connections and never more, its tables made where they are missing.

    Args:
        url: Of the database.
        size: How many connections there are.
        timeout: Seconds that somebody waits for a free one, before an error is raised.
        pool: Whose pool it is: "sqlalchemy", or "psycopg" for the one of psycopg itself.

    Raises:
        ValueError: The URL names SQLite in memory, which connections cannot share, its folder or the
            driver is not there, or the pool is neither.
    """
    _check(make_url(url))
    if pool == "sqlalchemy":
        engine = create_engine(url, poolclass=QueuePool, pool_size=size, max_overflow=0, pool_timeout=timeout)
    elif pool == "psycopg":
        engine = _on_psycopg_pool(url, size, timeout)
    else:
        raise ValueError(f"expected pool to be sqlalchemy or psycopg, got: {pool}")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begins)
    try:
        metadata.create_all(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check(url: URL) -> None:
    if url.get_backend_name() != "sqlite":
        if find_spec(driver := url.get_driver_name()) is None:
            raise ValueError(f"{driver} is not there: pip install -e '.[postgres]' has psycopg")
    elif url.database in (None, "", ":memory:"):
        raise ValueError(f"expected a database that connections can share (sqlite:///orders.db), got: {url}")
    elif not Path(url.database).parent.is_dir():
        raise ValueError(f"expected a database in a folder that is there, got: {url}")


def open_all(engine: Engine, size: int) -> None:
    """Opens all connections of a pool at once, so nobody waits for the database to accept one later."""
    with ExitStack() as stack:
        for _ in range(size):
            stack.enter_context(engine.connect())


def close(engine: Engine) -> None:
    """Closes all connections of an engine: those that somebody has, when they are given back."""
    event.listen(engine.pool, "checkin", lambda _, record: record.invalidate())
    engine.dispose()


def _on_psycopg_pool(url: str, size: int, timeout: float) -> Engine:
    from psycopg_pool import ConnectionPool

    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    pool = ConnectionPool(plain, min_size=size, max_size=size, timeout=timeout, close_returns=True, open=True)
    # The engine keeps none itself: what it closes goes back to the pool.
    engine = create_engine(url, poolclass=NullPool, creator=pool.getconn, use_native_hstore=False)
    event.listen(engine, "engine_disposed", lambda _: pool.close())
    return engine


def _sqlite_connected(connection: SQLiteConnection, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours to say: sqlite3 begins late, and never says IMMEDIATE
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer
    connection.execute("PRAGMA synchronous = NORMAL")


def _sqlite_begins(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for another writer, it fails: ask at once.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _transaction(bind: Bind, *, writes: bool = False) -> Iterator[Connection]:
    with bind.connect() if isinstance(bind, Engine) else nullcontext(bind) as connection:
        with connection.execution_options(writes=writes).begin():
            yield connection


def position(bind: Bind, partition: int) -> int:
    """The offset of the first message of the partition that was not handled yet."""
    at = select(offsets.c.position).where(offsets.c.partition == partition)
    with _transaction(bind) as connection:
        found = connection.scalar(at)
    if found is not None:
        return int(found)
    try:
        with _transaction(bind, writes=True) as connection:
            connection.execute(insert(offsets).values(partition=partition, position=0))
    except IntegrityError:
        pass  # another incarnation of the consumer was faster, and may have gone on since
    with _transaction(bind) as connection:
        return int(connection.execute(at).scalar_one())


def handle(bind: Bind, message: Message) -> bool:
    """Carries out a message, or puts it aside as a dead letter, and moves the offset behind it.

    Returns:
        False when the offset was elsewhere, that is when somebody else has handled the message; then nothing
        was changed.
    """
    fact = _understood(message)
    with _transaction(bind, writes=True) as connection:
        if not _step(connection, message):
            return False
        reason = fact if isinstance(fact, str) else _change_order(connection, message.partition, fact)
        if reason is not None:
            _put_aside(connection, message, reason)
        return True


def _understood(message: Message) -> Event | str:
    try:
        return parse(message.raw)
    except Malformed as error:
        return str(error)


def _step(connection: Connection, message: Message) -> bool:
    # Comes first: it locks the partition's row, so the second of two handlers waits here and finds no row.
    here = (offsets.c.partition == message.partition) & (offsets.c.position == message.offset)
    return connection.execute(update(offsets).where(here).values(position=message.offset + 1)).rowcount == 1


def _change_order(connection: Connection, partition: int, fact: Event) -> str | None:
    before = _fetch(connection, fact.order)
    try:
        after = apply(before, fact)
    except Impossible as error:
        return str(error)
    values = attrs.asdict(after)
    if before is None:
        connection.execute(insert(orders).values(partition=partition, **values))
    else:
        connection.execute(update(orders).where(orders.c.id == after.id).values(**values))
    return None


def _put_aside(connection: Connection, message: Message, reason: str) -> None:
    # PostgreSQL takes no NUL in a text.
    raw = message.raw.decode("utf-8", errors="backslashreplace").replace("\0", "\\x00")
    connection.execute(
        insert(dead_letters).values(
            partition=message.partition, line=message.line, file=message.file, raw=raw, reason=reason
        )
    )


def _fetch(connection: Connection, id: str) -> Order | None:
    row = connection.execute(select(orders).where(orders.c.id == id)).one_or_none()
    return None if row is None else _order(row)


def _order(row: Any) -> Order:
    return Order(row.id, row.state, row.items, row.total_cents, row.version)


def find_order(bind: Bind, id: str) -> Order | None:
    """The order of that id as it is now."""
    with _transaction(bind) as connection:
        return _fetch(connection, id)


def handled(bind: Bind) -> int:
    """How many messages have been handled, by all runs."""
    with _transaction(bind) as connection:
        return int(connection.execute(select(func.coalesce(func.sum(offsets.c.position), 0))).scalar_one())


def everything(engine: Engine) -> tuple[dict[int, int], Effects]:
    """All offsets and all effects, as they were at one moment."""
    moment: dict[str, Any] = {} if engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    with engine.execution_options(**moment).begin() as connection:
        positions = {row.partition: row.position for row in connection.execute(select(offsets))}
        known = {row.id: _order(row) for row in connection.execute(select(orders))}
        rows = connection.execute(select(dead_letters))
        letters = {DeadLetter(row.partition, row.line, row.reason) for row in rows}
    return positions, Effects(known, frozenset(letters))
