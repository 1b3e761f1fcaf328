"""Connections that are none to PostgreSQL itself, as an engine has to have one, or that it does not take."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from resprout import StartError, cluster

from ..waiting import until
from .peer import Peer, PeerError
from .postgres_server import PostgresServer, bin_folder

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


@pytest.mark.slow
def test_a_server_that_takes_no_more_connections_or_another_password_is_tried_until_it_does(
    url: str, server: PostgresServer
) -> None:
    with Peer(url, ttl=1.0) as peer:
        peer.do("throttle.new('db', 1, engine='shared') and None")
        database = url.rpartition("/")[2]
        with closing(server.connect()) as connection:
            connection.execute(f"alter database {database} allow_connections false")
            server.cut()
            until(lambda: "not currently accepting" in (peer.do("cluster.info('shared').why_not") or ""))
            number = peer.later("throttle.run('db', int)")
            with pytest.raises(PeerError, match="EngineDown"):
                peer.do("throttle.holders('db', everywhere=True)")
            connection.execute(f"alter database {database} allow_connections true")
        assert peer.result(number) == 0
