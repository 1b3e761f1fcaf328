"""Django: sync and async views and middleware, each under WSGI and under ASGI."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import django
import pytest
from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path
from django.utils.decorators import sync_and_async_middleware

from resprout import throttle
from resprout.actors import CallTimeout

from .streams import ROWS, arows_in_a_block, rows_in_a_block

MakeRoom = Callable[[int], Any]
MakeVisitor = Callable[..., Any]
Serve = Callable[[Any], Callable[..., Any]]
CROWD = 30
SHORT = 0.05

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"], SECRET_KEY="for tests", ROOT_URLCONF=__name__, LOGGING_CONFIG=None
    )
    django.setup()


@pytest.fixture
def site() -> Iterator[Callable[..., None]]:
    """Make a site with one view, and the middleware named."""
    changed: list[override_settings] = []

    def make(view: Callable[..., Any], *middleware: Callable[..., Any]) -> None:
        urls = type("Urls", (), {"urlpatterns": [path("", view)]})
        names = [f"{__name__}.{each.__name__}" for each in middleware]
        changed.append(override_settings(ROOT_URLCONF=urls, MIDDLEWARE=names))
        changed[-1].enable()

    yield make
    for each in changed:
        each.disable()
    # Of an async view under WSGI asgiref leaves a pool of one thread, to be found by this.
    gc.collect()


def sync_view(room: Any, request: HttpRequest) -> HttpResponse:
    with throttle.slot(room.name):
        return HttpResponse(room.work())


async def async_view(room: Any, request: HttpRequest) -> HttpResponse:
    async with throttle.slot(room.name):
        return HttpResponse(await room.awork())


def limited_view(room: Any, request: HttpRequest) -> HttpResponse:
    return throttle.limited(room.name)(lambda: HttpResponse(room.work()))()


def view_of(room: Any, view: Callable[..., Any]) -> Callable[..., Any]:
    """Bind a view to its room; Django asks a view whether it is a coroutine function."""
    if iscoroutinefunction(view):

        async def bound(request: HttpRequest) -> HttpResponse:
            return await view(room, request)

        return bound
    return partial(view, room)


VIEWS = [sync_view, async_view, limited_view]


# -- views ---------------------------------------------------------------------------


def crowd_under_wsgi(db: Any, serve: Serve) -> None:
    """Have a crowd visit the site, which has a room for two inside: all are answered, two at once."""
    get = serve(WSGIHandler())
    assert {answer.status for answer in db.crowd_of_threads(CROWD, get)} == {200}
    assert db.most == 2
    assert db.visits == CROWD
    assert db.empty


def crowd_under_asgi(db: Any, visitor: MakeVisitor) -> None:
    """The same of a loop."""
    app = get_asgi_application()

    async def main() -> None:
        answers = await db.crowd(CROWD, lambda: visitor(app).get())
        assert {answer.status for answer in answers} == {200}
        assert db.empty

    asyncio.run(main())
    assert db.most == 2
    assert db.visits == CROWD


@pytest.mark.parametrize("view", VIEWS)
def test_views_under_wsgi_hold_a_slot_each(
    room: MakeRoom, serve: Serve, site: Callable[..., None], view: Callable[..., Any]
) -> None:
    db = room(2)
    site(view_of(db, view))
    crowd_under_wsgi(db, serve)


@pytest.mark.parametrize("view", VIEWS)
def test_views_under_asgi_hold_a_slot_each(
    room: MakeRoom, visitor: MakeVisitor, site: Callable[..., None], view: Callable[..., Any]
) -> None:
    """A sync view runs on a thread of its request's own."""
    db = room(2)
    site(view_of(db, view))
    crowd_under_asgi(db, visitor)


@pytest.mark.parametrize("view", VIEWS)
def test_views_hold_a_slot_under_both_test_clients(
    room: MakeRoom, site: Callable[..., None], view: Callable[..., Any]
) -> None:
    db = room(1)
    db.open.set()
    site(view_of(db, view))

    async def main() -> None:
        # As the handler of a server does; without it asgiref keeps one thread for ever.
        async with ThreadSensitiveContext():
            for _ in range(5):
                assert (await AsyncClient().get("/")).content == b"done"

    for _ in range(5):
        assert Client().get("/").content == b"done"
    asyncio.run(main())
    assert db.visits == 10
    assert db.empty


# -- middleware ----------------------------------------------------------------------

site_room: list[Any] = []
"""The room that middleware, which Django makes by name, has to do with."""


def sync_middleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    def middleware(request: Any) -> Any:
        with throttle.slot(site_room[-1].name) as request.grant:
            return get_response(request)

    return middleware


@sync_and_async_middleware
def both_middleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    if not iscoroutinefunction(get_response):
        return sync_middleware(get_response)

    async def middleware(request: Any) -> Any:
        async with throttle.slot(site_room[-1].name) as request.grant:
            return await get_response(request)

    return middleware


def plain_view(room: Any, request: HttpRequest) -> HttpResponse:
    return HttpResponse(room.work())


async def aplain_view(room: Any, request: HttpRequest) -> HttpResponse:
    return HttpResponse(await room.awork())


MIDDLEWARE = [sync_middleware, both_middleware]


@pytest.mark.parametrize("middleware", MIDDLEWARE)
@pytest.mark.parametrize("view", [plain_view, aplain_view])
def test_middleware_holds_a_slot_around_the_view_under_wsgi(
    room: MakeRoom,
    serve: Serve,
    site: Callable[..., None],
    view: Callable[..., Any],
    middleware: Any,
) -> None:
    db = room(2)
    site_room.append(db)
    site(view_of(db, view), middleware)
    crowd_under_wsgi(db, serve)


@pytest.mark.parametrize("middleware", MIDDLEWARE)
@pytest.mark.parametrize("view", [plain_view, aplain_view])
def test_middleware_holds_a_slot_around_the_view_under_asgi(
    room: MakeRoom,
    visitor: MakeVisitor,
    site: Callable[..., None],
    view: Callable[..., Any],
    middleware: Any,
) -> None:
    db = room(2)
    site_room.append(db)
    site(view_of(db, view), middleware)
    crowd_under_asgi(db, visitor)


def test_a_view_is_nested_in_the_slot_of_middleware_of_its_own_kind(
    room: MakeRoom, visitor: MakeVisitor, serve: Serve, site: Callable[..., None]
) -> None:
    db = room(1)
    db.open.set()
    site_room.append(db)

    async def main() -> None:
        app = get_asgi_application()
        for answer in await asyncio.gather(*[visitor(app).get() for _ in range(10)]):
            assert answer.body == b"done"

    # Under WSGI all of it on one thread.
    site(view_of(db, sync_view), sync_middleware)
    get = serve(WSGIHandler())
    assert [get().body for _ in range(10)] == [b"done"] * 10
    # Under ASGI a sync view runs on another thread, for the task that waits for it.
    for view in [sync_view, async_view]:
        site(view_of(db, view), both_middleware)
        asyncio.run(main())
    assert db.most == 1
    assert db.visits == 30
    assert db.empty


def test_an_async_view_behind_sync_middleware_works_within_its_grant(
    room: MakeRoom, visitor: MakeVisitor, serve: Serve, site: Callable[..., None]
) -> None:
    """It runs in a task of its own, of which nothing says that the middleware's thread waits for it."""
    db = room(1)
    db.open.set()
    site_room.append(db)

    async def view(request: Any) -> HttpResponse:
        with pytest.raises(CallTimeout):
            async with throttle.slot(db.name, timeout=SHORT):
                pass
        async with throttle.slot(db.name, within=request.grant):
            return HttpResponse(await db.awork())

    site(view, sync_middleware)
    assert serve(WSGIHandler())().body == b"done"

    async def main() -> None:
        assert (await visitor(get_asgi_application()).get()).body == b"done"

    asyncio.run(main())
    assert db.most == 1
    assert db.empty


# -- streams -------------------------------------------------------------------------


def waiting_rows(room: Any) -> Iterator[bytes]:
    with throttle.slot(room.name):
        room.work()
        yield from ROWS


def test_a_stream_under_wsgi_holds_its_slot_to_the_last_row(
    room: MakeRoom, serve: Serve, site: Callable[..., None]
) -> None:
    exports = room(2)
    site(lambda request: StreamingHttpResponse(waiting_rows(exports)))
    get = serve(WSGIHandler())
    answers = exports.crowd_of_threads(CROWD, get)
    assert [answer.body for answer in answers] == [b"".join(ROWS)] * CROWD
    assert get(leaves_after=1).body == ROWS[0][:1]
    asyncio.run(exports.until(lambda: exports.empty))
    assert exports.visits == CROWD + 1
    assert exports.most == 2


async def all_get_every_row(exports: Any, visits: Iterator[Any]) -> None:
    answers = await asyncio.gather(*[visit.get() for visit in visits])
    assert [answer.body for answer in answers] == [b"".join(ROWS)] * CROWD
    assert exports.empty


def test_a_stream_under_asgi_holds_its_slot_to_the_last_row(
    room: MakeRoom, visitor: MakeVisitor, site: Callable[..., None]
) -> None:
    exports = room(2)
    site(lambda request: StreamingHttpResponse(arows_in_a_block(exports)))
    app = get_asgi_application()

    async def main() -> None:
        await all_get_every_row(exports, (visitor(app) for _ in range(CROWD)))
        await visitor(app, leaves_after=2).get()
        await exports.until(lambda: exports.empty)
        gc.collect()
        await exports.until(lambda: exports.inside == 0)

    asyncio.run(main())
    assert exports.most == 2


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators:Warning")
def test_a_sync_generator_under_asgi_is_read_to_its_end_at_once_with_its_slot(
    room: MakeRoom, visitor: MakeVisitor, site: Callable[..., None]
) -> None:
    exports = room(2)
    site(lambda request: StreamingHttpResponse(rows_in_a_block(exports)))
    app = get_asgi_application()

    asyncio.run(all_get_every_row(exports, (visitor(app) for _ in range(CROWD))))
    assert exports.most <= 2
