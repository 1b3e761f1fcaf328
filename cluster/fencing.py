"""Going on only with a grant that is good, in the very transaction that must not be done by somebody too
late.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from ..actors import forbid_loop
from ..actors.engine import check_alive
from ..throttle import Grant, LockLost
from ..throttle.engine import Hold, cores
from .driver import EXTRAS
from .engine import handle_of
from .pipe_lock import ParentLock

STALE = "RS001"
"""The SQLSTATE of an error that the function in the database raises."""


def assert_held(connection: Any, grant: Grant) -> None:
    """Assert a grant in a transaction of your own, in the PostgreSQL database that keeps the lock.

    Until that transaction ends nobody else is granted these slots, whatever happens to this process; so what
    it writes is written by the holder, or not at all. Commit before you release.

    With ``fairness="eventual"`` the database knows a block of tokens, which one holder after the other in
    this process has; that the grant is the one of now is looked at here.

    Args:
        connection: of psycopg, or a connection or session of SQLAlchemy, in a transaction.
        grant: of a lock with an engine.

    Raises:
        LockLost: the grant is void; roll back.
        ValueError: the lock has no engine, or one on Redis, which takes part in no transaction of a database;
            or the connection is in autocommit, and in no transaction.
        TypeError: that is no grant, or no connection of this kind.
        BlockingInLoop: an event loop runs in this thread; see ``aassert_held``.
    """
    check_alive()
    forbid_loop("cluster.assert_held()", "cluster.aassert_held()")
    statement = _statement(connection, grant)
    try:
        made = connection.execute(*statement)
    except Exception as error:
        raise _told(error, grant) from error
    if inspect.iscoroutine(made):
        # Nothing of it has run.
        made.close()
        raise TypeError(
            f"expected a synchronous connection, got: {type(connection).__name__}; use "
            f"`await cluster.aassert_held(...)` for that"
        )
    _check_begun(connection, made)


async def aassert_held(connection: Any, grant: Grant) -> None:
    """The same with an asynchronous connection of psycopg or asyncpg, or one or a session of SQLAlchemy's
    asyncio.

    Raises:
        LockLost, ValueError, TypeError: as ``assert_held``.
    """
    check_alive()
    statement = _statement(connection, grant)
    library, kind = _library_of(connection)
    if library in ("psycopg", "sqlalchemy") and not inspect.iscoroutinefunction(kind.execute):
        raise TypeError(
            f"expected an asynchronous connection, got: {type(connection).__name__}; use "
            f"`cluster.assert_held(...)` for that, outside of event loops"
        )
    try:
        made = await connection.execute(*statement)
    except Exception as error:
        raise _told(error, grant) from error
    _check_begun(connection, made)


def _statement(connection: Any, grant: Grant) -> tuple[Any, ...]:
    """What a connection is to execute."""
    if not isinstance(grant, Grant):
        # Said at once to whoever has written attempt(), which gives None.
        raise TypeError(f"expected grant to be what acquire() or slot() gives, got: {type(grant).__name__}")
    schema = _schema_of(grant)
    if not hasattr(connection, "execute"):
        raise TypeError(
            f"expected a connection of psycopg or asyncpg, or a connection or session of SQLAlchemy, got: "
            f"{type(connection).__name__}"
        )
    if isinstance(grant, Hold) and not grant.core.ledger.note_assertion(grant):
        raise LockLost(grant.name, grant.token)
    values = {"name": grant.name, "token": grant.token}
    match _library_of(connection)[0]:
        case "sqlalchemy":
            text = importlib.import_module("sqlalchemy").text
            return text(f"select {schema}.assert_held(:name, :token)"), values
        case "asyncpg":
            return (f"select {schema}.assert_held($1, $2)", *values.values())
        case _:
            return f"select {schema}.assert_held(%(name)s, %(token)s)", values


def _library_of(connection: Any) -> tuple[str, Any]:
    """Whose connection it is, and its class there: people have classes of their own that are made of that."""
    for kind in type(connection).__mro__:
        library = kind.__module__.partition(".")[0]
        if library in ("sqlalchemy", "asyncpg", "psycopg") and hasattr(kind, "execute"):
            return library, kind
    return "", None


def _check_begun(connection: Any, made: Any) -> None:
    """Refuse a connection for which each statement is a transaction by itself."""
    # A cursor of psycopg, and a result of SQLAlchemy, knows its connection; behind SQLAlchemy's is another.
    driver = getattr(made, "connection", connection)
    driver = getattr(getattr(driver, "connection", None), "driver_connection", driver)
    if _library_of(driver)[0] == "asyncpg":
        # Its pool runs each statement on a connection that is free.
        begun = hasattr(driver, "is_in_transaction") and driver.is_in_transaction()
    else:
        # Of psycopg and psycopg2: 0 is idle. Others don't tell.
        begun = getattr(getattr(driver, "info", None), "transaction_status", None) != 0
    if not begun:
        raise ValueError(
            "expected a connection in a transaction, got one for which each statement is one by itself, so "
            "that nothing that comes after the assertion is protected; begin a transaction (of psycopg and "
            "asyncpg in autocommit: `with connection.transaction():`), assert the grant and write in it"
        )


def _schema_of(grant: Grant) -> str:
    core = grant.core if isinstance(grant, Hold) else cores.get(grant.name)
    if isinstance(core, ParentLock) and core.schema is not None:
        return core.schema
    engine = None if core is None else core.settings.engine
    if engine is None:
        raise ValueError(
            f"expected a grant of a lock with an engine, got one of {grant.name!r}, which this process "
            f"keeps itself"
        )
    settings = handle_of(engine).settings
    if EXTRAS.get(settings.scheme) != "postgres":
        raise ValueError(
            f"expected a grant of a lock with an engine on PostgreSQL, got one of {grant.name!r}, whose "
            f"engine is on {settings.scheme}://, which takes part in no transaction of a database; have what "
            f"you write refuse tokens below the highest that it has seen (with num_slots: 1), or keep this "
            f"lock on PostgreSQL"
        )
    return settings.schema


def _told(error: Exception, grant: Grant) -> Exception:
    """What a driver says, in our words if it is about that."""
    origin = getattr(error, "orig", error)
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    return LockLost(grant.name, grant.token) if state == STALE else error
