"""The pool of database connections as a process of the tree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import attrs
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from resprout import GenServer, Ok, Reply, process

from . import measure, store

NAME = "database"
own: Engine | None = None
"""The engine of a consumer in an OS process of its own, to which the pool's does not reach."""


@attrs.frozen
class FetchEngine:
    """Asks the pool for the engine that its connections are behind."""


class Pool(GenServer):
    """Owns the engine, whose connections are open from the start until this ends, however it ends.

    `args` are those of `store.connect`. The engine itself is safe to share, so clients fetch it and use it in
    their own thread; the pool process is never between them and the database.
    """

    def init(self, arg: dict[str, Any]) -> Ok:
        engine = process.own(store.connect(**arg), store.close)
        store.open_all(engine, arg["size"])
        measure.pool_size = arg["size"]
        return Ok(engine)

    def handle_call(self, message: FetchEngine, from_: object, state: Engine) -> Reply:
        return Reply(state, state)


def engine() -> Engine:
    """That of the pool that is running now: ask again each time, since a restarted pool has another.

    Raises:
        resprout.ProcessExit: The pool is down; its supervisor is about to start the next.
    """
    return cast(Engine, GenServer.call(NAME, FetchEngine())) if own is None else own


@contextmanager
def borrow(lent: measure.Lent) -> Iterator[Connection]:
    """Lends a connection of the pool, when one is free, and notes in `lent` how long that took.

    Raises:
        sqlalchemy.exc.TimeoutError: None came free in time.
        resprout.ProcessExit: The pool is down; its supervisor is about to start the next.
    """
    if measure.all_are_out():
        lent.found_none.up()
    pool, asked = engine(), time.perf_counter()
    try:
        connection = pool.connect()
    except SQLAlchemyError:
        lent.waits.failed()
        raise
    lent.waits.answered(time.perf_counter() - asked)
    with connection, lent.out:
        yield connection
