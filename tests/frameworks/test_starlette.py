"""Starlette: streams that hold a slot, and the pool of 40 threads that all requests share."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from resprout import throttle
from resprout.actors import CallTimeout

from .streams import ROWS, arows_in_a_block, limited_arows, limited_rows, rows_in_a_block

MakeRoom = Callable[[int], Any]
MakeVisitor = Callable[..., Any]
STREAMS = [rows_in_a_block, arows_in_a_block, limited_rows, limited_arows]


def streaming(body: Callable[[], Any]) -> Starlette:
    async def export(request: Request) -> Response:
        return StreamingResponse(body(), media_type="text/csv")

    return Starlette(routes=[Route("/", export)])


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_holds_its_slot_from_the_first_row_to_the_last(
    room: MakeRoom, visitor: MakeVisitor, stream: Callable[[Any], Any]
) -> None:
    exports = room(2)
    app = streaming(lambda: stream(exports))

    async def main() -> None:
        answers = await asyncio.gather(*[visitor(app).get() for _ in range(30)])
        assert [answer.body for answer in answers] == [b"".join(ROWS)] * 30
        assert exports.empty

    asyncio.run(main())
    assert exports.most == 2
    assert exports.visits == 30


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("stream", STREAMS)
def test_a_client_that_leaves_in_the_middle_of_a_stream_leaves_no_slot_behind(
    room: MakeRoom, visitor: MakeVisitor, stream: Callable[[Any], Any], version: str
) -> None:
    """Nobody closes the generator of such a response but the garbage collector, for which no slot waits."""
    exports = room(1)
    app = streaming(lambda: stream(exports))

    async def leave() -> None:
        reader = visitor(app, leaves_after=2, version=version)
        with suppress(ClientDisconnect):
            await reader.get()
        assert reader.parts == ROWS[:2]

    async def main() -> None:
        await asyncio.gather(*[leave() for _ in range(4)])
        assert (await visitor(app).get()).body == b"".join(ROWS)
        await exports.until(lambda: exports.empty)
        gc.collect()
        await exports.until(lambda: exports.inside == 0)
        assert exports.empty

    asyncio.run(main())
    assert exports.visits == 5


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_that_is_cancelled_ends_its_slot_with_its_task(
    room: MakeRoom, visitor: MakeVisitor, stream: Callable[[Any], Any]
) -> None:
    exports = room(1)
    kept: list[Any] = []

    def body() -> Any:
        # Whoever still refers to the generator keeps the garbage collector from closing it.
        kept.append(stream(exports))
        return kept[-1]

    app = streaming(body)

    async def main() -> None:
        reader = visitor(app)
        request = asyncio.create_task(reader.get(slowly=True))
        await reader.part_came.wait()
        assert exports.state.used == 1
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await exports.until(lambda: exports.empty)
        assert (await visitor(app).get()).body == b"".join(ROWS)

    asyncio.run(main())


def test_threads_that_wait_for_a_slot_are_missing_to_those_who_have_one(
    room: MakeRoom, visitor: MakeVisitor
) -> None:
    """The hazard. A timeout is one way out: who waits in vain gives the thread back."""
    exports = room(2)
    threads = 6
    refused: list[CallTimeout] = []

    def rows() -> Iterator[bytes]:
        try:
            with throttle.slot(exports.name, timeout=0.2):
                yield from ROWS
        except CallTimeout as error:
            refused.append(error)

    app = streaming(rows)

    async def main() -> None:
        limiter = current_default_thread_limiter()
        assert limiter.total_tokens == 40
        limiter.total_tokens = threads
        first = [visitor(app) for _ in range(2)]
        requests = [asyncio.create_task(each.get(slowly=True)) for each in first]
        await exports.until(lambda: all(each.parts for each in first))
        others = [asyncio.create_task(visitor(app).get()) for _ in range(threads)]
        await exports.until(lambda: exports.state.waiting == threads)
        for each in first:
            each.reads.set()
        await exports.until(lambda: limiter.statistics().tasks_waiting == 2 or refused)
        assert [answer.body for answer in await asyncio.gather(*requests)] == [b"".join(ROWS)] * 2
        assert refused, "they had threads all the time"
        answers = await asyncio.gather(*others)
        assert [answer.body for answer in answers].count(b"") == len(refused)
        assert exports.empty

    asyncio.run(main())


@pytest.mark.parametrize("version", ["2.3", "2.4"])
@pytest.mark.parametrize("within", [False, True])
def test_a_slot_that_is_taken_in_a_coroutine_keeps_no_thread_waiting(
    room: MakeRoom, visitor: MakeVisitor, within: bool, version: str
) -> None:
    """The other way out: the response is sent inside the block.

    Starlette may stream it in a task of its own (it does so before ASGI 2.4), so a block in the generator
    needs the grant.
    """
    exports = room(2)

    def rows(grant: throttle.Grant) -> Iterator[bytes]:
        if within:
            with throttle.slot(exports.name, within=grant), exports.entered():
                yield from ROWS
        else:
            with exports.entered():
                yield from ROWS

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with throttle.slot(exports.name) as grant:
            await StreamingResponse(rows(grant))(scope, receive, send)

    async def main() -> None:
        # A thread for each who has a slot is enough.
        current_default_thread_limiter().total_tokens = 2
        answers = await asyncio.gather(*[visitor(app, version=version).get() for _ in range(50)])
        assert [answer.body for answer in answers] == [b"".join(ROWS)] * 50
        assert exports.empty

    asyncio.run(main())
    assert exports.most == 2
    assert exports.visits == 50


def test_a_sync_stream_in_a_crowd_waits_in_the_loop(room: MakeRoom, visitor: MakeVisitor) -> None:
    """What the documentation advises: an async generator holds the slot around the steps on threads."""
    exports = room(2)

    async def rows() -> AsyncIterator[bytes]:
        async with throttle.slot(exports.name):
            async for row in iterate_in_threadpool(limited_rows(exports)):
                yield row

    app = streaming(rows)

    async def main() -> None:
        # A thread for each who has a slot is enough.
        current_default_thread_limiter().total_tokens = 2
        answers = await asyncio.gather(*[visitor(app).get() for _ in range(50)])
        assert [answer.body for answer in answers] == [b"".join(ROWS)] * 50
        assert exports.empty

    asyncio.run(main())
    assert exports.most == 2
    assert exports.visits == 50


def test_sync_and_async_endpoints_and_background_tasks_hold_slots(
    room: MakeRoom, visitor: MakeVisitor
) -> None:
    db = room(2)

    @throttle.limited(db.name)
    def sync(request: Request) -> Response:
        return PlainTextResponse(db.work())

    @throttle.limited(db.name)
    async def coroutine(request: Request) -> Response:
        return PlainTextResponse(await db.awork())

    def background(request: Request) -> Response:
        return PlainTextResponse("later", background=BackgroundTask(throttle.run, db.name, db.work))

    app = Starlette(
        routes=[Route("/sync", sync), Route("/async", coroutine), Route("/background", background)]
    )

    async def main() -> None:
        for path in ["/sync", "/async", "/background"]:
            db.open.clear()
            answers = await db.crowd(30, lambda path=path: visitor(app).get(path))
            assert {answer.status for answer in answers} == {200}
            assert db.empty

    asyncio.run(main())
    assert db.most == 2
    assert db.visits == 90


def test_requests_of_a_task_group_that_is_cancelled_leave_the_line(
    room: MakeRoom, visitor: MakeVisitor
) -> None:
    db = room(1)

    async def coroutine(request: Request) -> Response:
        async with throttle.slot(db.name):
            return PlainTextResponse(await db.awork())

    app = Starlette(routes=[Route("/", coroutine)])

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(visitor(app).get)
            await db.until(lambda: db.state.waiting == 9)
            group.cancel_scope.cancel()
        assert db.empty

    asyncio.run(main())
    assert db.visits == 1
