"""Servers for the tests that are marked `postgres` and `redis`, a database of its own for each test, and an
engine on it.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from resprout import GenServer, Registry, cluster, process, throttle

if TYPE_CHECKING:
    from .databases import Database
    from .postgres_database import PostgresDatabase
    from .postgres_server import PostgresServer
    from .redis_server import RedisDatabase, RedisServer

collect_ignore = []
if importlib.util.find_spec("psycopg") is None:
    collect_ignore += [
        "test_after_crashes.py",
        "test_fencing.py",
        "test_need.py",
        "test_poolers.py",
        "test_refusals.py",
        "test_upgrades.py",
    ]
if importlib.util.find_spec("redis") is None:
    collect_ignore += ["test_redis.py", "test_redis_keys.py"]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    from .postgres_server import PostgresServer, bin_folder

    folder = bin_folder()
    if folder is None:
        pytest.fail("--postgres needs initdb and pg_ctl, which are not here")
    started = PostgresServer(folder)
    yield started
    started.remove()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    from .redis_server import RedisServer, find_program

    program = find_program()
    if program is None:
        pytest.fail("--redis needs redis-server, which is not on PATH")
    started = RedisServer(program)
    yield started
    started.remove()


@pytest.fixture
def kind() -> str:
    """Of the engine. A file of tests for both has a fixture of this name that says so."""
    return "postgres"


@pytest.fixture
def database(kind: str, request: pytest.FixtureRequest) -> Database:
    """An empty one, on the server of a kind."""
    found: Database = request.getfixturevalue(f"{kind}_database")
    return found


@pytest.fixture
def postgres_database(server: PostgresServer) -> PostgresDatabase:
    from .postgres_database import PostgresDatabase

    name = f"test_{next(_numbers)}"
    with closing(server.connect()) as connection:
        connection.execute(f"create database {name}")
    return PostgresDatabase(server, name)


@pytest.fixture
def redis_database(redis_server: RedisServer) -> RedisDatabase:
    return redis_server.database()


@pytest.fixture
def url(database: Database) -> str:
    """Of an empty database."""
    return database.url


@pytest.fixture
def engine(url: str) -> Iterator[str]:
    """An engine `shared`; its locks are stopped with it."""
    process.trap_exit(True)
    pid = cluster.Engine.start_link(url, name="shared", ttl=3.0, node="here")
    before = set(throttle.locks())
    registries = set(Registry.registries())
    yield "shared"
    for registry in set(Registry.registries()) - registries:
        Registry.stop(registry)
    for lock in set(throttle.locks()) - before:
        throttle.stop_lock(lock)
    running = process.whereis("shared")
    if running is not None:
        GenServer.stop(running)
    process.unlink(pid)
    process.trap_exit(False)
