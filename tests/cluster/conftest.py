"""A server for the tests that are marked `postgres`, a database of its own for each, and an engine on it."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from resprout import GenServer, cluster, process, throttle

if TYPE_CHECKING:
    from .postgres_server import PostgresServer

if importlib.util.find_spec("psycopg") is None:
    collect_ignore = ["test_locks.py", "test_failures.py", "test_poolers.py", "test_refusals.py"]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    from .postgres_server import PostgresServer, bin_folder

    folder = bin_folder()
    if folder is None:
        pytest.skip("no PostgreSQL here")
    started = PostgresServer(folder)
    yield started
    started.remove()


@pytest.fixture
def url(server: PostgresServer) -> str:
    """Of an empty database."""
    name = f"test_{next(_numbers)}"
    with closing(server.connect()) as connection:
        connection.execute(f"create database {name}")
    return server.url_of(name)


@pytest.fixture
def engine(url: str) -> Iterator[str]:
    """An engine `shared`; its locks are stopped with it."""
    process.trap_exit(True)
    pid = cluster.Engine.start_link(url, name="shared", ttl=3.0, node="here")
    before = set(throttle.locks())
    yield "shared"
    for lock in set(throttle.locks()) - before:
        throttle.stop_lock(lock)
    running = process.whereis("shared")
    if running is not None:
        GenServer.stop(running)
    process.unlink(pid)
    process.trap_exit(False)
