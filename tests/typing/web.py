"""A tree as the lifespan of web applications, and its servers in their endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.applications import Starlette
from typing_extensions import assert_type

import resprout
from resprout import Application, GenServer, Pid

TREE = Path("tree.yaml")

app = FastAPI(lifespan=resprout.lifespan(TREE))
router = APIRouter(lifespan=resprout.lifespan("tree.yaml", {"port": "1"}))
starlette = Starlette(lifespan=resprout.lifespan(TREE))


@asynccontextmanager
async def mine(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    async with resprout.lifespan(TREE)(app) as state:
        assert_type(state["resprout"], Application)
        yield {**state, "more": 1}


around = FastAPI(lifespan=mine)


@app.get("/")
async def ask(request: Request, orders: Annotated[Pid, Depends(resprout.server("orders"))]) -> str:
    application: Application = request.state.resprout
    answer: str = await GenServer.acall(orders, "question")
    return application.name + answer


async def by_hand() -> None:
    assert_type(await resprout.server("orders", timeout=None)(), Pid)


resprout.lifespan(3)  # mistake: arg-type, reportArgumentType
resprout.server("orders", timeout="5s")  # mistake: arg-type, reportArgumentType
