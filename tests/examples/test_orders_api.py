from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orders import store
from orders.api import app
from orders.consumer import THROTTLE
from orders.database import NAME, Pool, engine
from orders.topic import Message
from resprout import ChildSpec, GenServer, Pid, Supervisor, throttle


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Pid]:
    options = {"url": f"sqlite:///{tmp_path}/orders.db", "size": 10}
    pool = ChildSpec("database", start=(Pool.start_link, (options,), {"name": NAME}))
    tree = Supervisor.start_link([throttle.child_spec(THROTTLE, 2), pool], strategy="one_for_one")
    yield tree
    Supervisor.stop(tree)


def get(path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            return await client.get(path)

    return asyncio.run(ask())


@pytest.mark.usefixtures("services")
def test_an_order_is_served_as_it_is_now() -> None:
    store.position(engine(), 0)
    store.handle(engine(), Message(0, 0, b'{"event": "created", "order": "o 1", "customer": "c"}'))

    answer = get("/orders/o 1")

    assert answer.status_code == 200
    assert answer.json() == {"id": "o 1", "state": "created", "items": 0, "total_cents": 0, "version": 1}


@pytest.mark.usefixtures("services")
def test_an_unknown_order_is_not_found() -> None:
    answer = get("/orders/nobody")

    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no order 'nobody' (yet)"}


@pytest.mark.usefixtures("services")
def test_health_tells_of_the_database_and_of_the_lock() -> None:
    store.position(engine(), 0)
    store.handle(engine(), Message(0, 0, b"bad"))

    answer = get("/health")

    assert answer.json() == {"status": "ok", "handled": 1, "running": 0, "waiting": 0}


def test_without_a_database_the_api_says_that_it_is_unavailable() -> None:
    answer = get("/health")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


def test_the_tree_is_shown_with_all_that_is_in_it(services: Pid) -> None:
    answer = get("/tree")

    assert answer.status_code == 200
    assert answer.json()["process"] == str(services)
    children = {child["id"]: child for child in answer.json()["children"]}
    assert list(children) == [THROTTLE, NAME]
    assert (
        children[NAME].items()
        >= {"type": "worker", "state": "running", "restarts": 0, "children": []}.items()
    )


def test_a_restarted_pool_has_another_engine(services: Pid) -> None:
    first = engine()

    GenServer.stop(NAME, "crash")
    Supervisor.which_children(services)  # answered when the restart is done

    assert store.handled(engine()) == 0
    assert engine() is not first
