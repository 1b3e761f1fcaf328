"""Going on only with a grant that is good, in the very transaction that must not be done by somebody too
late.
"""

from __future__ import annotations

import importlib
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
        ValueError: the lock has no engine, or one on Redis, which takes part in no transaction of a database.
        BlockingInLoop: an event loop runs in this thread; see ``aassert_held``.
    """
    check_alive()
    forbid_loop("cluster.assert_held()", "cluster.aassert_held()")
    statement, values = _statement(connection, grant)
    try:
        connection.execute(statement, values)
    except Exception as error:
        raise _told(error, grant) from error


async def aassert_held(connection: Any, grant: Grant) -> None:
    """The same with an asynchronous connection of psycopg, or one of SQLAlchemy's asyncio.

    Raises:
        LockLost, ValueError: as ``assert_held``.
    """
    check_alive()
    statement, values = _statement(connection, grant)
    try:
        await connection.execute(statement, values)
    except Exception as error:
        raise _told(error, grant) from error


def _statement(connection: Any, grant: Grant) -> tuple[Any, dict[str, object]]:
    schema = _schema_of(grant)
    if isinstance(grant, Hold) and not grant.core.ledger.note_assertion(grant):
        raise LockLost(grant.name, grant.token)
    values: dict[str, object] = {"name": grant.name, "token": grant.token}
    if type(connection).__module__.partition(".")[0] == "sqlalchemy":
        text = importlib.import_module("sqlalchemy").text
        return text(f"select {schema}.assert_held(:name, :token)"), values
    return f"select {schema}.assert_held(%(name)s, %(token)s)", values


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
