"""Servers of a test's own, of each kind."""

from __future__ import annotations

from typing import Protocol


class Server(Protocol):
    """With nothing in it."""

    port: int

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def crash(self) -> None: ...

    def cut(self) -> int:
        """End connections of engines; how many."""

    def remove(self) -> None: ...


def own_server(kind: str) -> Server:
    if kind == "redis":
        from .redis_server import RedisServer, find_program

        program = find_program()
        assert program is not None
        return RedisServer(program)
    from .postgres_server import PostgresServer, bin_folder

    folder = bin_folder()
    assert folder is not None
    return PostgresServer(folder)
