"""PostgreSQL that does not take what an engine asks, for a while: what is told, and that it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ..waiting import until
from .peer import Peer, PeerError
from .postgres_server import PostgresServer

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def admin(server: PostgresServer) -> Iterator[psycopg.Connection[Any]]:
    with server.connect() as connection:
        yield connection


@pytest.fixture
def role(admin: psycopg.Connection[Any], url: str) -> Iterator[str]:
    """Of no rights but on the database; its name."""
    name = f"role_{os.path.basename(url)}"
    admin.execute(f"create role {name} login password 'hunter2'")
    admin.execute(f"alter database {os.path.basename(url)} owner to {name}")
    yield name
    admin.execute(f"alter role {name} connection limit -1")


@contextmanager
def peer_with_lock(url: str) -> Iterator[Peer]:
    with Peer(url, ttl=1.0) as peer:
        peer.do("throttle.new('db', 1, engine='shared') and None")
        peer.do("throttle.run('db', int)")
        yield peer


def tells(peer: Peer, why: str) -> None:
    """Wait until it says what is wrong."""
    until(lambda: why in (peer.do("cluster.info('shared').why_not") or ""))


def comes_back(peer: Peer, number: int) -> None:
    """What has waited is done, and so is what comes now."""
    assert peer.result(number) == 0
    assert peer.do("throttle.run('db', int)") == 0


def test_a_database_that_takes_no_more_connections_is_tried_until_it_does(
    url: str, server: PostgresServer, admin: psycopg.Connection[Any]
) -> None:
    name = os.path.basename(url)
    with peer_with_lock(url) as peer:
        admin.execute(f"alter database {name} allow_connections false")
        server.cut()
        tells(peer, "not currently accepting")
        number = peer.later("throttle.run('db', int)")
        with pytest.raises(PeerError, match="EngineDown"):
            peer.do("throttle.holders('db', everywhere=True)")
        admin.execute(f"alter database {name} allow_connections true")
        comes_back(peer, number)


def test_a_server_that_is_full_is_tried_until_it_is_not(
    url: str, server: PostgresServer, role: str, admin: psycopg.Connection[Any]
) -> None:
    with peer_with_lock(url.replace("resprout@", f"{role}@")) as peer:
        admin.execute(f"alter role {role} connection limit 0")
        server.cut()
        tells(peer, "too many connections")
        number = peer.later("throttle.run('db', int)")
        admin.execute(f"alter role {role} connection limit 5")
        comes_back(peer, number)


def test_a_password_that_was_changed_is_tried_until_it_is_right_and_nobody_sees_it(
    url: str, server: PostgresServer, role: str, admin: psycopg.Connection[Any]
) -> None:
    server.ask_password_of(role)
    with peer_with_lock(url.replace("resprout@", f"{role}:hunter2@")) as peer:
        admin.execute(f"alter role {role} password 'another'")
        server.cut()
        tells(peer, "password authentication failed")
        number = peer.later("throttle.run('db', int)")
        assert "hunter2" not in peer.do("str(cluster.info('shared'))")
        admin.execute(f"alter role {role} password 'hunter2'")
        comes_back(peer, number)


def test_a_schema_that_became_newer_is_told_of_and_tried_until_it_fits(
    url: str, server: PostgresServer
) -> None:
    with peer_with_lock(url) as peer, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("update resprout.server set version = version + 97")
        server.cut()
        tells(peer, "got: 99; update resprout here")
        number = peer.later("throttle.run('db', int)")
        connection.execute("update resprout.server set version = version - 97")
        comes_back(peer, number)


RECORDS = """\
import logging
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logging.getLogger("resprout.cluster").addHandler(handler)
"""


def test_a_statement_that_fails_is_tried_with_pauses_and_told_of_once(url: str) -> None:
    with peer_with_lock(url) as peer, psycopg.connect(url, autocommit=True) as connection:
        peer.do(RECORDS)
        connection.execute("alter function resprout.step_lock rename to away")
        number = peer.later("throttle.run('db', int)")
        tells(peer, "does not exist")
        before = peer.do("cluster.info('shared').reconnects")
        began = time.monotonic()
        until(lambda: peer.do("cluster.info('shared').reconnects") >= before + 5)
        assert time.monotonic() - began >= 0.02 + 0.04 + 0.08 + 0.16
        # Each text of it once.
        records = peer.do("records")
        assert len(records) == len(set(records)) <= 2
        assert all("does not exist" in each for each in records)
        connection.execute("alter function resprout.away rename to step_lock")
        comes_back(peer, number)
        assert peer.do("sum('connected again' in each for each in records)") == 1


@pytest.fixture
def small_disk(admin: psycopg.Connection[Any], url: str) -> Iterator[Path]:
    """What the database is on."""
    folder = Path(tempfile.mkdtemp(prefix="resprout-disk-"))
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        folder.rmdir()
        pytest.skip(f"no disk can be made here that gets full: {made.stderr.decode().strip()}")
    inside = folder / "space"
    inside.mkdir()
    shutil.chown(inside, "postgres", "postgres")
    name = os.path.basename(url)
    admin.execute(f"create tablespace {name} location '{inside}'")
    admin.execute(f"alter database {name} set tablespace {name}")
    yield folder
    admin.execute(f"drop database {name} with (force)")
    admin.execute(f"drop tablespace {name}")
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_disk_that_is_full_is_told_of_and_nothing_is_lost(url: str, small_disk: Path) -> None:
    with peer_with_lock(url) as peer:
        peer.do("grants.append(throttle.acquire('db'))")
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65536)
        # More rows than there is room for in the pages that are there.
        peer.do("futures = [throttle.execute('db', int) for _ in range(1000)]")
        tells(peer, "No space left on device")
        filler.unlink()
        until(lambda: peer.do("cluster.info('shared').connected"))
        until(lambda: peer.do("throttle.lock_state('db', everywhere=True).waiting") == 1000)
        peer.do("grants[0].held and grants[0].release()")
        assert peer.do("sum(future.result(20) for future in futures)") == 0


@pytest.mark.parametrize("hours", [1, -1])
def test_the_clock_of_a_client_that_is_set_by_an_hour_is_nothing_to_a_lock(url: str, hours: int) -> None:
    with peer_with_lock(url) as peer, peer_with_lock(url) as other:
        token = peer.do("grants.append(throttle.acquire('db')) or grants[0].token")
        number = other.later("throttle.acquire('db').token")
        peer.do(f"real = time.time\ntime.time = lambda: real() + 3600 * {hours}")
        # For longer than a grant is good without a word from the server.
        time.sleep(1.2)
        assert peer.do("grants[0].held")
        peer.do("grants[0].release()")
        assert other.result(number) > token
