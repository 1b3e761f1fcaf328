"""The pool of database connections as a process of the tree."""

from __future__ import annotations

from typing import cast

import attrs
from sqlalchemy import Engine

from resprout import GenServer, Ok, Reply

from . import store

NAME = "database"


@attrs.frozen
class FetchEngine:
    """Asks the pool for the engine that its connections are behind."""


class Pool(GenServer):
    """Owns the engine: makes it when the tree starts, closes its connections when the tree stops.

    `args` are `url` and `size`. The engine itself is safe to share, so clients fetch it and use it in their
    own thread; the pool process is never between them and the database.
    """

    trap_exit = True  # so that `terminate` runs at a shutdown

    def init(self, arg: dict[str, object]) -> Ok:
        return Ok(store.connect(str(arg["url"]), cast(int, arg["size"])))

    def handle_call(self, message: FetchEngine, from_: object, state: Engine) -> Reply:
        return Reply(state, state)

    def terminate(self, reason: object, state: Engine) -> None:
        state.dispose()


def engine() -> Engine:
    """The engine of the pool that is running now: ask again each time, since a restarted pool has another.

    Raises:
        resprout.ProcessExit: The pool is down; its supervisor is about to start the next.
    """
    return cast(Engine, GenServer.call(NAME, FetchEngine()))
