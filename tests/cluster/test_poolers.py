"""Connections that are none to PostgreSQL itself, as an engine has to have one, or that it does not take."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator

import pytest

from resprout import StartError, cluster

from ..waiting import until, until_elsewhere
from .peer import Peer
from .postgres_server import PostgresServer, as_postgres, bin_folder, free_port

pytestmark = pytest.mark.postgres


def pool(listener: socket.socket, port: int) -> None:
    """Do what a pooler does: the key that it gives to its client is its own, and not that of the server
    process.
    """
    inside, _ = listener.accept()
    outside = socket.create_connection(("127.0.0.1", port))
    with inside, outside:
        # The request for TLS, then the start.
        inside.recv(8)
        inside.sendall(b"N")
        outside.sendall(inside.recv(65536))
        answer = outside.recv(65536)
        at = answer.index(b"K" + struct.pack("!i", 12))
        inside.sendall(answer[: at + 5] + struct.pack("!i", 1) + answer[at + 9 :])
        while data := inside.recv(65536):
            outside.sendall(data)
            inside.sendall(outside.recv(65536))


@pytest.fixture
def pooler(server: PostgresServer) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=pool, args=(listener, server.port))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def test_a_pooler_is_refused_since_sessions_change_hands_behind_it(pooler: int) -> None:
    with pytest.raises(StartError, match="is a connection pooler"):
        cluster.Engine.start_link(
            f"postgresql://resprout@127.0.0.1:{pooler}/postgres?gssencmode=disable", name="shared"
        )


PGBOUNCER = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture(params=["session", "transaction"])
def pgbouncer(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[int]:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer here")
    port = free_port()
    settings = server.folder / f"pgbouncer-{request.param}.ini"
    text = PGBOUNCER.format(server=server.port, port=port, mode=request.param)
    # All come as one user, whoever they say they are.
    settings.write_text(text.replace(f"port={server.port}", f"port={server.port} user=resprout"))
    settings.chmod(0o644)
    command = [*as_postgres(), program, "-q", str(settings)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_elsewhere(lambda: listens(port))
    yield port
    running.kill()
    running.wait()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_pgbouncer_is_refused_whatever_it_does_with_sessions(pgbouncer: int) -> None:
    with pytest.raises(StartError, match="is a connection pooler"):
        cluster.Engine.start_link(f"postgresql://resprout@127.0.0.1:{pgbouncer}/postgres", name="shared")


@pytest.fixture
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A server of the test's own, and a hot standby of it."""
    folder = bin_folder()
    assert folder is not None
    primary = PostgresServer(folder)
    standby = PostgresServer(folder, of=primary)
    yield primary, standby
    standby.remove()
    primary.remove()


@pytest.mark.slow
def test_a_hot_standby_is_refused_and_after_a_failover_all_say_what_they_hold_before_anybody_is_granted(
    pair: tuple[PostgresServer, PostgresServer],
) -> None:
    primary, standby = pair
    with pytest.raises(StartError, match="is a hot standby"):
        cluster.Engine.start_link(standby.url, name="shared")
    url = f"postgresql://resprout@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
    with Peer(url, ttl=3.0) as holder, Peer(url, ttl=3.0) as waiter:
        for peer in (holder, waiter):
            peer.do("throttle.new('db', 1, engine='shared') and None")
        token = holder.do("grants.append(throttle.acquire('db')) or grants[0].token")
        number = waiter.later("throttle.acquire('db').token")
        primary.stop("immediate")
        standby.promote()
        until(lambda: holder.do("cluster.info('shared').connected and cluster.info('shared').reconnects"))
        assert holder.do("grants[0].held")
        holder.do("grants[0].release()")
        assert waiter.result(number) > token
