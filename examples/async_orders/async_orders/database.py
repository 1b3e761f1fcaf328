"""The one pool of connections, as a process of the tree."""

from __future__ import annotations

from typing import Any

import attrs

from resprout import GenServer, Ok, Reply, process

from . import store

NAME = "database"


@attrs.frozen
class FetchPool:
    """Asks for the pool."""


class Database(GenServer):
    """Owns the pool, which belongs to the event loop of the tree: so consumers and the API use it as it is.

    `args` are `url` and `size`. It is closed when this ends, however it ends, and its successor starts then.
    """

    async def init(self, arg: dict[str, Any]) -> Ok:
        return Ok(process.own(await store.open_pool(arg["url"], arg["size"])))

    async def handle_call(self, message: FetchPool, from_: object, state: Any) -> Reply:
        return Reply(state, state)


async def pool() -> Any:
    """The pool that is open now: ask again each time, since a restarted database has another.

    Raises:
        resprout.ProcessExit: The database is down; its supervisor is about to start the next.
    """
    return await GenServer.acall(NAME, FetchPool())
