"""Flask on a threaded server: views, what runs around requests, and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask, Response, g, request, stream_with_context

from resprout import throttle

from .streams import ROWS

MakeRoom = Callable[[int], Any]
Serve = Callable[[Any], Callable[..., Any]]
CROWD = 30


def test_views_hold_a_slot_each(room: MakeRoom, serve: Serve) -> None:
    db = room(2)
    app = Flask(__name__)

    @app.get("/block")
    def block() -> str:
        with throttle.slot(db.name):
            return db.work()

    @app.get("/limited")
    @throttle.limited(db.name)
    def limited() -> str:
        return db.work()

    get = serve(app)
    for page in ["/block", "/limited"]:
        db.open.clear()
        answers = db.crowd_of_threads(CROWD, lambda page=page: get(page))
        assert [answer.body for answer in answers] == [b"done"] * CROWD
        assert db.empty
    assert db.most == 2
    assert db.visits == 2 * CROWD


def test_a_view_is_nested_in_the_slot_that_its_request_has_from_beginning_to_teardown(
    room: MakeRoom, serve: Serve
) -> None:
    db = room(1)
    db.open.set()
    app = Flask(__name__)

    @app.before_request
    def take() -> None:
        g.slot = throttle.slot(db.name)
        g.slot.__enter__()

    @app.teardown_request
    def give_back(error: BaseException | None) -> None:
        g.slot.__exit__(None, None, None)

    @app.get("/<int:number>")
    def view(number: int) -> str:
        with throttle.slot(db.name):
            assert db.state.used == 1
            db.work()
        if number % 3 == 0:
            raise ValueError(number)
        return str(number)

    app.logger.disabled = True
    get = serve(app)
    for number in range(CROWD):
        assert get(f"/{number}").status == (500 if number % 3 == 0 else 200)
        assert db.empty
    assert app.test_client().get("/1").data == b"1"
    assert db.empty
    assert db.visits == CROWD + 1


def test_a_stream_holds_its_slot_to_the_last_row(room: MakeRoom, serve: Serve) -> None:
    exports = room(2)
    app = Flask(__name__)

    def rows() -> Iterator[bytes]:
        with throttle.slot(exports.name):
            yield request.path.encode()
            exports.work()
            yield from ROWS

    @app.get("/block")
    def block() -> Response:
        return Response(stream_with_context(rows()))

    @app.get("/limited")
    def limited() -> Response:
        return Response(stream_with_context(throttle.limited(exports.name)(rows)()))

    get = serve(app)
    for page in ["/block", "/limited"]:
        exports.open.clear()
        answers = exports.crowd_of_threads(CROWD, lambda page=page: get(page))
        assert [answer.body for answer in answers] == [page.encode() + b"".join(ROWS)] * CROWD
        assert exports.empty
    assert exports.most == 2
    assert exports.visits == 2 * CROWD


def test_a_client_that_leaves_in_the_middle_of_a_stream_leaves_no_slot_behind(
    room: MakeRoom, serve: Serve
) -> None:
    """The server learns of it when it writes."""
    exports = room(1)
    app = Flask(__name__)
    ended: list[int] = []

    @app.get("/")
    @throttle.limited(exports.name)
    def plain() -> str:
        return "after"

    @app.get("/stream")
    def stream() -> Response:
        def rows() -> Iterator[bytes]:
            number = 0
            with throttle.slot(exports.name):
                try:
                    while True:
                        number += 1
                        yield b"x" * 100_000
                finally:
                    ended.append(number)

        return Response(stream_with_context(rows()))

    get = serve(app)
    for _ in range(3):
        assert get("/stream", leaves_after=10).body == b"x" * 10
    assert get().body == b"after"
    asyncio.run(exports.until(lambda: exports.empty))
    assert len(ended) == 3
