"""The shop, without a web server: its requests on the loop of its tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest

from resprout import GenServer, Pid, Registry, process, telemetry, throttle
from shop.orders import STOCK, FetchPool, Orders, find
from shop.pool import Pool
from shop.web import app

WATCHDOG = 20.0
Visit: TypeAlias = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Visit], None]:
    """Run the shop with a database of its own, for a visit."""
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.db"))
    monkeypatch.setenv("SHOP_RESTOCK", "3600")

    def run(visit: Visit) -> None:
        async def main() -> None:
            async with opened() as client:
                await asyncio.wait_for(visit(client), WATCHDOG)

        asyncio.run(main())

    return run


@asynccontextmanager
async def opened() -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(with_state(state), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            yield client


def with_state(state: Any) -> Any:
    """As servers do: each request gets what the lifespan has yielded."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return application


def order(customer: str, item: str = "apples", number: int = 1) -> dict[str, Any]:
    return {
        "method": "POST",
        "url": "/orders",
        "params": {"customer": customer, "item": item, "number": number},
    }


def the_server() -> Pid:
    found = process.whereis("orders")
    assert found is not None
    return found


def test_what_was_ordered_is_found_and_what_was_not_is_not(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        placed = await client.request(**order("ann", "pears", 3))
        assert placed.status_code == 201
        found = await client.get(f"/orders/{placed.json()['id']}")
        assert found.json() == {"customer": "ann", "item": "pears", "number": 3}
        assert (await client.get("/orders/99")).status_code == 404

    shop(visit)


def test_never_more_is_sold_than_there_is_however_many_order_at_once(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        tries = [client.request(**order(f"customer {number}", number=3)) for number in range(50)]
        statuses = sorted([answer.status_code for answer in await asyncio.gather(*tries)])
        sold = STOCK["apples"] // 3
        assert statuses == [201] * sold + [409] * (50 - sold)

    shop(visit)


def test_a_customer_has_one_order_under_way_and_their_key_is_free_afterwards(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        tries = [asyncio.create_task(client.request(**order("ann"))) for _ in range(5)]
        statuses = sorted([answer.status_code for answer in await asyncio.gather(*tries)])
        assert statuses == [201] + [409] * 4
        assert Registry.whereis("checkouts", "ann") is None
        for _ in range(2):
            assert (await client.request(**order("ann"))).status_code == 201
        assert (await client.request(**order("ann", "melons"))).status_code == 409
        assert Registry.whereis("checkouts", "ann") is None

    shop(visit)


def test_two_at_once_ask_the_supplier_and_the_others_wait_in_line(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        asked = [asyncio.create_task(client.get("/quotes/apples")) for _ in range(10)]
        assert [(await each).json() for each in asked] == [{"cents": 60}] * 10

    running: list[int] = []
    acquired = ("resprout", "throttle", "lock_acquired")
    telemetry.attach("most", acquired, lambda event, numbers, lock: running.append(numbers["running"]))
    try:
        shop(visit)
    finally:
        telemetry.detach("most")
    assert (len(running), max(running)) == (10, 2)


def test_a_line_that_is_too_long_is_refused_with_a_503_and_a_time_to_come_back(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        answers = await asyncio.gather(*[client.get("/quotes/apples") for _ in range(2 + 50 + 5)])
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(refused) == 5
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert {answer.status_code for answer in answers} == {200, 503}

    shop(visit)


def test_who_has_waited_too_long_in_line_is_refused_in_the_same_way(shop, monkeypatch):
    monkeypatch.setattr("shop.web.PATIENCE", 0.01)

    async def visit(client: httpx.AsyncClient) -> None:
        throttle.pause("supplier")
        refused = await client.get("/quotes/apples")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        throttle.resume("supplier")
        assert (await client.get("/quotes/apples")).status_code == 200

    shop(visit)


def test_a_request_reads_from_the_pool_of_its_loop_which_refuses_every_other(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        pool: Pool = await GenServer.acall("orders", FetchPool())
        assert await pool.run(find, 1) is None
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            await asyncio.to_thread(asyncio.run, pool.run(find, 1))

    shop(visit)


def test_a_server_that_ends_has_its_pool_closed_and_the_next_one_has_another(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        pool: Pool = await GenServer.acall("orders", FetchPool())
        assert (await client.request(**order("ann"))).status_code == 201
        process.exit(the_server(), "kill")
        # Waited for: the answer of the next one.
        assert (await client.get("/orders/1")).json()["customer"] == "ann"
        with pytest.raises(RuntimeError, match="after shutdown"):
            await pool.run(find, 1)

    shop(visit)


def test_a_server_that_goes_down_while_it_is_asked_is_a_503(shop, monkeypatch):
    async def visit(client: httpx.AsyncClient) -> None:
        asked, hold = asyncio.Event(), asyncio.Event()

        async def held(self: Orders, message: Any, from_: object, state: Pool) -> Any:
            asked.set()
            await hold.wait()

        monkeypatch.setattr(Orders, "handle_call", held)
        answer = asyncio.create_task(client.request(**order("ann")))
        await asked.wait()
        process.exit(the_server(), "kill")
        assert (await answer).status_code == 503
        monkeypatch.undo()

    shop(visit)


def test_what_is_low_is_filled_up_in_the_background(shop, monkeypatch):
    monkeypatch.setenv("SHOP_RESTOCK", "0.01")

    async def visit(client: httpx.AsyncClient) -> None:
        for _ in range(3):
            while (await client.request(**order("ann", number=STOCK["apples"]))).status_code == 409:
                await asyncio.sleep(0)

    shop(visit)


def test_who_answers_is_told_from_the_state_of_the_request(shop):
    async def visit(client: httpx.AsyncClient) -> None:
        said = (await client.get("/health")).json()
        assert said["application"] == "shop"

    shop(visit)
