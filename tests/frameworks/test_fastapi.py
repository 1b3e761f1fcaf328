"""FastAPI: dependencies that hold a slot, on the threads of its pool and in its coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI

from resprout import throttle
from resprout.actors import CallTimeout

MakeRoom = Callable[[int], Any]
MakeVisitor = Callable[..., Any]
CROWD = 36
"""Requests at once; fewer than anyio's pool has threads, since who waits in a dependency needs one."""
SHORT = 0.05


def client_of(app: FastAPI, raises: bool = True) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=raises), base_url="http://testserver"
    )


async def statuses(client: httpx.AsyncClient, *paths: str) -> list[int]:
    return [answer.status_code for answer in await asyncio.gather(*[client.get(path) for path in paths])]


# -- synchronous dependencies ------------------------------------------------------


def test_a_sync_dependency_admits_as_many_requests_as_there_are_slots(room: MakeRoom) -> None:
    """Entered on one thread of the pool, the handler on another, left on a third."""
    db = room(2)
    app = FastAPI()
    threads: list[set[int]] = []

    def connection() -> Iterator[set[int]]:
        with throttle.slot(db.name):
            mine = {threading.get_ident()}
            yield mine
            mine.add(threading.get_ident())
            threads.append(mine)

    @app.get("/")
    def handler(mine=Depends(connection)):
        mine.add(threading.get_ident())
        return db.work()

    async def main() -> None:
        async with client_of(app) as client:
            answers = await db.crowd(CROWD, lambda: client.get("/"))
        assert [answer.json() for answer in answers] == ["done"] * CROWD
        assert db.empty

    asyncio.run(main())
    assert db.most == 2
    assert db.visits == CROWD
    assert max(map(len, threads)) > 1, "each request had one thread, so this has tried nothing"


def test_a_handler_that_fails_gives_the_slot_of_its_dependency_back(room: MakeRoom) -> None:
    db = room(2)
    db.open.set()
    app = FastAPI()
    left: list[str] = []

    def connection() -> Iterator[throttle.Grant]:
        try:
            with throttle.slot(db.name) as grant:
                yield grant
        except ValueError as error:
            left.append(str(error))
            raise

    @app.get("/{number}")
    def handler(number: int, grant=Depends(connection)):
        db.work()
        if number % 3 == 0:
            raise ValueError(number)
        return number

    async def main() -> None:
        async with client_of(app, raises=False) as client:
            got = await statuses(client, *[f"/{number}" for number in range(30)])
        assert got == [500 if number % 3 == 0 else 200 for number in range(30)]
        assert db.empty

    asyncio.run(main())
    assert db.most <= 2
    assert sorted(map(int, left)) == list(range(0, 30, 3))


def test_a_dependency_that_gets_no_slot_in_time_fails_its_own_request_only(room: MakeRoom) -> None:
    db = room(1)
    app = FastAPI()

    def connection() -> Iterator[None]:
        with throttle.slot(db.name, timeout=SHORT):
            yield

    @app.get("/", dependencies=[Depends(connection)])
    def handler():
        return db.work()

    async def main() -> None:
        async with client_of(app, raises=False) as client:
            first = asyncio.create_task(client.get("/"))
            await db.until(lambda: db.inside)
            assert await statuses(client, "/", "/", "/") == [500, 500, 500]
            db.open.set()
            assert (await first).status_code == 200
            assert await statuses(client, "/") == [200]
        assert db.empty

    asyncio.run(main())


def by_task(task: asyncio.Task[Any], scope: anyio.CancelScope) -> None:
    task.cancel()


def by_scope(task: asyncio.Task[Any], scope: anyio.CancelScope) -> None:
    scope.cancel()


@pytest.mark.parametrize("cancel", [by_task, by_scope])
@pytest.mark.parametrize("when", ["in the handler", "in the line"])
def test_a_cancelled_request_gives_its_slot_to_the_next(
    room: MakeRoom, when: str, cancel: Callable[..., None]
) -> None:
    db = room(1)
    app = FastAPI()

    def connection() -> Iterator[Any]:
        with throttle.slot(db.name) as grant:
            yield grant

    @app.get("/")
    def handler(grant: Any = Depends(connection)):  # as FastAPI has it
        # A task that is cancelled past anyio leaves this thread behind, and FastAPI closes the dependency
        # meanwhile: then the slot is in use as long as this call only if the call is in it, too.
        with throttle.slot(db.name, within=grant) if cancel is by_task else contextlib.nullcontext():
            return db.work()

    async def main() -> None:
        scopes: list[anyio.CancelScope] = []

        async def request() -> int:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                return (await client.get("/")).status_code
            return 0

        async with client_of(app) as client:
            requests = [asyncio.create_task(request())]
            await db.until(lambda: db.inside)
            requests.append(asyncio.create_task(request()))
            await db.until(lambda: db.state.waiting == 1)
            number = 0 if when == "in the handler" else 1
            cancel(requests[number], scopes[number])
            await asyncio.sleep(0)
            # What runs on a thread goes on, and its slot is in use as long.
            assert db.state.used == 1
            db.open.set()
            # The traceback of an error that is kept keeps the generator of the dependency.
            got = await asyncio.gather(*requests, return_exceptions=True)
            assert got[1 - number] == 200
            # A scope may be noticed too late to cancel anything.
            assert got[number] in (0, 200) or isinstance(got[number], asyncio.CancelledError)
            assert (await client.get("/")).status_code == 200
        await db.until(lambda: db.empty)

    asyncio.run(main())
    assert db.most == 1


def test_a_client_that_goes_away_costs_no_slot(room: MakeRoom, visitor: MakeVisitor) -> None:
    db = room(2)
    app = FastAPI()

    def connection() -> Iterator[None]:
        with throttle.slot(db.name):
            yield

    @app.get("/", dependencies=[Depends(connection)])
    def handler():
        return db.work()

    async def main() -> None:
        visitors = [visitor(app, version=version) for version in ["2.3", "2.4"] * 8]
        requests = [asyncio.create_task(each.get()) for each in visitors]
        await db.until(lambda: db.state.waiting == 14 and db.inside == 2)
        for each in visitors:
            each.leave()
        db.open.set()
        await asyncio.gather(*requests, return_exceptions=True)
        assert db.visits == 16
        assert db.empty
        assert (await visitor(app).get()).status == 200

    asyncio.run(main())
    assert db.most == 2


def test_within_its_dependencys_grant_a_handler_needs_no_second_slot(room: MakeRoom) -> None:
    """What a dependency sets in its call's copy of the context does not reach the handler."""
    db = room(1)
    app = FastAPI()

    def connection() -> Iterator[throttle.Grant]:
        with throttle.slot(db.name) as grant:
            yield grant

    @app.get("/within")
    def within(grant=Depends(connection)):
        with throttle.slot(db.name, within=grant) as mine:
            return mine.token == grant.token, db.state.used

    @app.get("/awithin")
    async def awithin(grant=Depends(connection)):
        async with throttle.slot(db.name, within=grant) as mine:
            return mine.token == grant.token, db.state.used

    @app.get("/unseen")
    def unseen(grant=Depends(connection)):
        with throttle.slot(db.name, timeout=SHORT) as mine:
            return mine.token == grant.token, db.state.used

    async def main() -> None:
        async with client_of(app) as client:
            for path in ["/within", "/awithin"] * 15:
                assert (await client.get(path)).json() == [True, 1]
            with pytest.raises(CallTimeout):
                await client.get("/unseen")
            throttle.resize(db.name, 2)
            assert (await client.get("/unseen")).json() == [False, 2]
        assert db.empty

    asyncio.run(main())


# -- asynchronous dependencies -----------------------------------------------------


def test_an_async_dependency_serves_more_requests_than_the_pool_has_threads(room: MakeRoom) -> None:
    db = room(2)
    app = FastAPI()

    async def connection() -> AsyncIterator[None]:
        async with throttle.slot(db.name):
            yield

    @app.get("/", dependencies=[Depends(connection)])
    def handler():
        return db.work()

    @app.get("/async", dependencies=[Depends(connection)])
    async def ahandler():
        return await db.awork()

    async def main() -> None:
        for path in ["/", "/async"]:
            db.open.clear()
            async with client_of(app) as client:
                answers = await db.crowd(60, lambda path=path, client=client: client.get(path))
            assert [answer.json() for answer in answers] == ["done"] * 60
            assert db.empty

    asyncio.run(main())
    assert db.most == 2
    assert db.visits == 120


def test_what_runs_inside_an_async_dependency_is_nested_in_its_slot(room: MakeRoom) -> None:
    db = room(1)
    db.open.set()
    app = FastAPI()

    async def connection() -> AsyncIterator[throttle.Grant]:
        async with throttle.slot(db.name) as grant:
            yield grant

    @app.get("/sync")
    def handler(grant=Depends(connection)):
        with throttle.slot(db.name) as mine:
            db.work()
            return mine.token == grant.token, db.state.used

    @app.get("/async")
    async def ahandler(grant=Depends(connection)):
        async with throttle.slot(db.name) as mine:
            await db.awork()
            return mine.token == grant.token, db.state.used

    async def main() -> None:
        async with client_of(app) as client:
            for path in ["/sync", "/async"]:
                answers = await asyncio.gather(*[client.get(path) for _ in range(30)])
                assert [answer.json() for answer in answers] == [[True, 1]] * 30
        assert db.empty

    asyncio.run(main())
    assert db.most == 1


# -- background tasks, decorators --------------------------------------------------


def test_background_tasks_wait_for_slots_of_their_own(room: MakeRoom) -> None:
    db = room(2)
    app = FastAPI()

    def mail() -> None:
        throttle.run(db.name, db.work)

    async def amail() -> None:
        await throttle.arun(db.name, db.awork)

    @app.get("/{kind}")
    def handler(kind: str, background: BackgroundTasks):
        background.add_task(mail if kind == "sync" else amail)
        return kind

    async def main() -> None:
        kinds = iter(["sync", "async"] * 16)
        async with client_of(app) as client:
            answers = await db.crowd(32, lambda: client.get(f"/{next(kinds)}"))
        assert {answer.status_code for answer in answers} == {200}
        assert db.empty

    asyncio.run(main())
    assert db.most == 2
    assert db.visits == 32


def test_a_background_task_works_within_the_grant_of_the_request_that_made_it(room: MakeRoom) -> None:
    """A dependency with `yield` ends after the background tasks."""
    db = room(1)
    app = FastAPI()
    seen: list[tuple[bool, int]] = []

    def connection() -> Iterator[throttle.Grant]:
        with throttle.slot(db.name) as grant:
            yield grant

    def mail(grant: throttle.Grant) -> None:
        with throttle.slot(db.name, within=grant) as mine:
            seen.append((mine.token == grant.token, db.state.used))

    @app.get("/")
    def handler(background: BackgroundTasks, grant=Depends(connection)):
        background.add_task(mail, grant)

    async def main() -> None:
        async with client_of(app) as client:
            assert await statuses(client, *["/"] * 10) == [200] * 10
        assert db.empty

    asyncio.run(main())
    assert seen == [(True, 1)] * 10


def test_limited_endpoints_and_dependencies_keep_their_signatures(room: MakeRoom) -> None:
    db = room(2)
    app = FastAPI()

    @throttle.limited(db.name)
    def connection(weight: int = 1) -> Iterator[int]:
        yield weight

    @throttle.limited(db.name)
    async def aconnection(weight: int = 1) -> AsyncIterator[int]:
        yield weight

    @app.get("/sync/{number}")
    @throttle.limited(db.name)
    def handler(number: int, times: int = 2):
        db.work()
        return number * times

    @app.get("/async/{number}")
    @throttle.limited(db.name)
    async def ahandler(number: int, times: int = 2):
        await db.awork()
        return number * times

    @app.get("/dependency/{number}")
    def depends(number: int, weight=Depends(connection)):
        db.work()
        return number * weight

    @app.get("/adependency/{number}")
    def adepends(number: int, weight=Depends(aconnection)):
        db.work()
        return number * weight

    async def main() -> None:
        async with client_of(app) as client:
            for kind in ["sync", "async", "dependency", "adependency"]:
                db.open.clear()
                path = f"/{kind}/21?times=2&weight=2"
                answers = await db.crowd(30, lambda path=path: client.get(path))
                assert [answer.json() for answer in answers] == [42] * 30
                assert (await client.get(f"/{kind}/many")).status_code == 422
        assert db.empty

    asyncio.run(main())
    assert db.most == 2
    assert db.visits == 120
