"""A web application that writes down what becomes of its tree, and may be told to crash."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

import resprout
from resprout import GenServer, Ok, Pid, ProcessExit, Reply, process

VERSION = 1
GATE = Path(os.environ["SERVED_FOLDER"], "gate")
"""A named pipe, into which the test writes."""
LOG = Path(os.environ["SERVED_FOLDER"], "log")
homes: dict[str, asyncio.AbstractEventLoop] = {}


def note(what: str) -> None:
    """Write a line, which is one step, whoever else does so."""
    with LOG.open("a") as log:
        log.write(f"{os.getpid()} {what}\n")


class Traced(GenServer):
    """Answers with the loop on which it lives."""

    trap_exit = True

    async def init(self, arg: dict[str, str]) -> Ok:
        if arg.get("fails"):
            raise ValueError(f"no database at {arg['fails']}")
        note(f"started {arg['id']}")
        return Ok((arg["id"], asyncio.get_running_loop()))

    async def handle_call(self, message: str, from_: object, state: Any) -> Reply:
        if message == "crash":
            await asyncio.sleep(0)
            raise ValueError("boom")
        return Reply(state[1], state)

    async def terminate(self, reason: object, state: Any) -> None:
        await asyncio.sleep(0)
        note(f"stopped {state[0]}")


async def work() -> None:
    """Work for ever."""
    homes["work"] = asyncio.get_running_loop()
    await asyncio.Event().wait()


app = FastAPI(lifespan=resprout.lifespan(Path(__file__).with_name("tree.yaml")))
First = Annotated[Pid, Depends(resprout.server("first"))]


@app.exception_handler(ProcessExit)
async def unavailable(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, status_code=503)


@app.get("/")
async def where(first: First) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    mine = await GenServer.acall(first, "loop") is loop and homes["work"] is loop
    return {"worker": os.getpid(), "one_loop": mine, "loop": type(loop).__module__, "version": VERSION}


@app.get("/wait")
async def wait(first: First) -> str:
    note("request waits")
    opened = asyncio.Event()
    # For writing as well, so that it is not at its end while nobody else has it open.
    gate = os.open(GATE, os.O_RDWR | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    loop.add_reader(gate, opened.set)
    try:
        await opened.wait()
    finally:
        loop.remove_reader(gate)
        os.close(gate)
    await GenServer.acall(first, "loop")
    note("request answered")
    return "answered"


@app.get("/crash")
async def crash(first: First) -> None:
    await GenServer.acall(first, "crash")


@app.get("/end")
async def end(request: Request) -> None:
    process.exit(request.state.resprout.root, "kill")
