"""The web application. Each worker that serves it runs a tree of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

import resprout
from resprout import (
    AlreadyRegistered,
    CallTimeout,
    GenServer,
    Pid,
    ProcessExit,
    QueueFull,
    Registry,
    throttle,
)

from .orders import NAME, FetchPool, Place, find
from .pool import Pool

PATIENCE = 2.0  # seconds in line for the supplier

app = FastAPI(lifespan=resprout.lifespan(Path(__file__).parents[1] / "tree.yaml"))

Orders = Annotated[Pid, Depends(resprout.server(NAME))]


@app.exception_handler(ProcessExit)  # a server is down, or went down while it was asked
@app.exception_handler(CallTimeout)
@app.exception_handler(QueueFull)
async def unavailable(request: Request, error: Exception) -> JSONResponse:
    """Answer while a part of the tree is started again, or has too much to do."""
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": "1"})


async def one_checkout(customer: str) -> AsyncIterator[None]:
    """Hold the customer's key during a request; it would go with the request's task in any case."""
    try:
        Registry.register("checkouts", customer)
    except AlreadyRegistered:
        raise HTTPException(409, "another order of this customer is under way")
    try:
        yield
    finally:
        Registry.unregister("checkouts", customer)


async def pool_of(orders: Orders) -> Pool:
    """The server's pool: it is of this very loop, so a request may use it."""
    pool: Pool = await GenServer.acall(orders, FetchPool())
    return pool


@app.post("/orders", status_code=201, dependencies=[Depends(one_checkout)])
async def order(orders: Orders, customer: str, item: str, number: int = 1) -> dict[str, int]:
    """Order something."""
    id = await GenServer.acall(orders, Place(customer, item, number))
    if id is None:
        raise HTTPException(409, f"there are not {number} {item}")
    return {"id": id}


@app.get("/orders/{id}")
async def look_up(id: int, pool: Annotated[Pool, Depends(pool_of)]) -> dict[str, str | int]:
    """Read from the pool, beside the server and whatever it does."""
    found = await pool.run(find, id)
    if found is None:
        raise HTTPException(404, f"there is no order {id}")
    return {"customer": found.customer, "item": found.item, "number": found.number}


@app.get("/quotes/{item}")
async def quote(item: str) -> dict[str, int]:
    """Ask the supplier, who takes his time and wants two questions at once at most."""
    async with throttle.slot("supplier", timeout=PATIENCE):
        await asyncio.sleep(0.05)
        return {"cents": 10 * len(item)}


@app.get("/health")
async def health(request: Request) -> dict[str, str | int]:
    """Tell who answers."""
    application: resprout.Application = request.state.resprout
    return {"application": application.name, "root": str(application.root), "worker": os.getpid()}
