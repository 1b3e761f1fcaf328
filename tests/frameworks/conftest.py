"""A lock, the room that it guards, and visitors of ASGI and WSGI applications."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from resprout import throttle
from resprout.actors import LockNotFound

SOON = 20.0
_numbers = itertools.count(1)


class Room:
    """What a lock guards. It notices how many are inside at once; whoever comes stays until it is open.

    Attributes:
        name: of its lock.
        open: set, nobody stays longer than needed.
        most: how many have been inside at once.
        visits: how many have been inside at all.
    """

    def __init__(self, num_slots: int) -> None:
        self.name = f"room {next(_numbers)}"
        self.num_slots = num_slots
        self.open = threading.Event()
        self.inside = self.most = self.visits = 0
        self._guard = threading.Lock()
        throttle.new(self.name, num_slots)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside, with whatever else the caller does."""
        with self._guard:
            self.inside += 1
            self.visits += 1
            self.most = max(self.most, self.inside)
        try:
            yield
        finally:
            with self._guard:
                self.inside -= 1

    def work(self) -> str:
        """Be inside on a thread."""
        with self.entered():
            assert self.open.wait(SOON)
        return "done"

    async def awork(self) -> str:
        """Be inside in a coroutine."""
        with self.entered():
            await self.until(self.open.is_set)
        return "done"

    @property
    def state(self) -> throttle.LockState:
        return throttle.lock_state(self.name)

    @property
    def empty(self) -> bool:
        """Whether nobody has the lock, nor wants it."""
        return self.state == throttle.LockState(0, 0, 0)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop go on until something is so."""
        deadline = time.monotonic() + SOON
        while not condition():
            assert time.monotonic() < deadline, f"{self.inside} inside, {self.state}"
            await asyncio.sleep(0.001)

    async def crowd(self, number: int, visit: Callable[[], Awaitable[Any]]) -> list[Any]:
        """Have so many visitors at once, and open the room when it is full and the others wait in line."""
        visitors = [asyncio.ensure_future(visit()) for _ in range(number)]
        await self.until(lambda: self.state.waiting == number - self.num_slots)
        await self.until(lambda: self.inside == self.num_slots)
        self.open.set()
        return await asyncio.gather(*visitors)

    def crowd_of_threads(self, number: int, visit: Callable[[], Any]) -> list[Any]:
        """The same where each visitor has a thread."""
        with ThreadPoolExecutor(number) as pool:
            visitors = [pool.submit(visit) for _ in range(number)]
            asyncio.run(self.until(lambda: self.state.waiting == number - self.num_slots))
            asyncio.run(self.until(lambda: self.inside == self.num_slots))
            self.open.set()
            return [visitor.result(SOON) for visitor in visitors]


@pytest.fixture
def room() -> Iterator[Callable[[int], Room]]:
    """Make a room for so many at once."""
    made: list[Room] = []

    def make(num_slots: int) -> Room:
        made.append(Room(num_slots))
        return made[-1]

    yield make
    for each in made:
        each.open.set()
        try:
            throttle.stop_lock(each.name)
        except LockNotFound:
            continue


@attrs.frozen
class Answer:
    """What a visitor of a web application got."""

    status: int
    body: bytes


class GoneError(OSError):
    """The client has gone away, says the server to the application that sends."""


@attrs.define(eq=False)
class Visitor:
    """A client of an ASGI application.

    Args:
        leaves_after: goes away when so many parts of a body have come; None: gets all.
        version: of the ASGI specification. From 2.4 on a server tells by an error that the client has gone;
            before, an application has to ask.
        reads: while it is not set, the client takes nothing more.
    """

    app: Any
    leaves_after: int | None = None
    version: str = "2.3"
    status: int = 0
    parts: list[bytes] = attrs.Factory(list)
    part_came: asyncio.Event = attrs.Factory(asyncio.Event)
    done: asyncio.Event = attrs.Factory(asyncio.Event)
    reads: asyncio.Event = attrs.Factory(asyncio.Event)
    _asked: bool = False

    async def get(self, path: str = "/", slowly: bool = False) -> Answer:
        if not slowly:
            self.reads.set()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.version},
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"testserver")],
            "scheme": "http",
            "root_path": "",
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 1),
        }
        await self.app(scope, self._receive, self._send)
        return Answer(self.status, b"".join(self.parts))

    def leave(self) -> None:
        """Go away."""
        self.done.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.done.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self.done.is_set():
            if self.version >= "2.4":
                raise GoneError
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        if message.get("body"):
            self.parts.append(message["body"])
            self.part_came.set()
        if len(self.parts) == self.leaves_after or not message.get("more_body"):
            self.done.set()
        # As a socket is full for a moment, or for longer.
        await asyncio.sleep(0)
        await self.reads.wait()


@pytest.fixture
def visitor() -> Callable[..., Visitor]:
    """Make a client of an ASGI application."""
    return Visitor


class QuietHandler(WSGIRequestHandler):
    """Serves without a line in the log for each request."""

    def log(self, type: str, message: str, *args: Any) -> None:
        logging.getLogger(__name__).debug(message, *args)


@pytest.fixture
def serve() -> Iterator[Callable[[Any], Callable[[str], Answer]]]:
    """Serve a WSGI application, each request on a thread of its own; returns what gets a page from it."""
    running: list[tuple[Any, threading.Thread]] = []

    def start(app: Any) -> Callable[..., Answer]:
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="server")
        thread.start()
        running.append((server, thread))

        def get(path: str = "/", leaves_after: int | None = None) -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SOON)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return Answer(answer.status, answer.read(leaves_after))
            finally:
                connection.close()

        return get

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join(SOON)
        server.server_close()
