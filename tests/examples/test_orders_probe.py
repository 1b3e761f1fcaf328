from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.client import HTTPException

import pytest

from orders.probe import Client, order_ids


class Scripted:
    """An HTTP server whose connections answer as the script says: an answer, or None to drop the request."""

    def __init__(self, *connections: list[bytes | None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self._serve, args=(connections,))
        self._thread.start()

    def _serve(self, connections: tuple[list[bytes | None], ...]) -> None:
        for answers in connections:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                for answer in answers:
                    self.requests.append(lines.readline().decode().split()[1])
                    while lines.readline().strip():
                        pass
                    if answer is not None:
                        connection.sendall(answer)

    def close(self) -> None:
        self._thread.join(timeout=30)
        self._listener.close()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.fixture
def closing() -> Iterator[list[Scripted | Client]]:
    """What is closed at the end, the last first."""
    things: list[Scripted | Client] = []
    yield things
    for thing in reversed(things):
        thing.close()


def served(closing: list[Scripted | Client], *connections: list[bytes | None]) -> tuple[Scripted, Client]:
    server = Scripted(*connections)
    client = Client(*server.address)
    closing += [server, client]
    return server, client


def test_requests_share_a_connection(closing: list[Scripted | Client]) -> None:
    server, client = served(closing, [answer(b'{"n": 1}'), answer(b'{"n": 2}', "404 Not Found")])

    assert client.get("/a") == (200, {"n": 1})
    assert client.get("/b") == (404, {"n": 2})
    assert server.requests == ["/a", "/b"]


def test_a_dropped_request_is_sent_once_more(closing: list[Scripted | Client]) -> None:
    server, client = served(closing, [answer(b"1"), None], [answer(b"2")])

    assert [client.get("/a"), client.get("/b")] == [(200, 1), (200, 2)]
    assert server.requests == ["/a", "/b", "/b"]


def test_a_request_that_is_dropped_twice_is_an_error(closing: list[Scripted | Client]) -> None:
    server, client = served(closing, [None], [None], [answer(b"3")])

    with pytest.raises((ConnectionError, HTTPException)):
        client.get("/a")
    client.close()
    assert client.get("/b") == (200, 3)
    assert server.requests == ["/a", "/a", "/b"]


def test_the_probe_knows_all_orders_of_the_topic() -> None:
    ids = order_ids()

    assert len(ids) == len(set(ids)) > 500
    assert "ord-00028" in ids
