"""A tree as the lifespan of Starlette and FastAPI, and its servers as dependencies."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import socket
import sys
import threading
import types
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import resprout
from resprout import (
    Application,
    GenServer,
    NoProcess,
    Pid,
    ProcessExit,
    Registry,
    StartError,
    Via,
    process,
    telemetry,
)
from resprout.supervision import InvalidTree

with warnings.catch_warnings():
    # Of the client that it prefers.
    warnings.simplefilter("ignore")
    TestClient = importlib.import_module("starlette.testclient").TestClient

WATCHDOG = 20.0
_numbers = itertools.count()

MODULE = """
import asyncio

from resprout import GenServer, Ok, Reply

class Happened(list):
    # What happened, in order; whoever waits for more is told.
    def __init__(self):
        self.more = asyncio.Event()

    def append(self, what):
        super().append(what)
        self.more.set()


async def app(scope, receive, send):
    pass


happened = Happened()
asked = asyncio.Event()
may_start = asyncio.Event()
may_start.set()


class Server(GenServer):
    trap_exit = True

    async def init(self, arg):
        happened.append(f"starts {arg['id']}")
        await may_start.wait()
        if arg.get("fails"):
            raise ValueError("no database")
        happened.append(f"started {arg['id']}")
        return Ok((arg["id"], asyncio.get_running_loop()))

    async def handle_call(self, message, from_, state):
        if message == "wait":
            asked.set()
            await asyncio.Event().wait()
        if message == "crash":
            raise ValueError("boom")
        return Reply(state[1] is asyncio.get_running_loop(), state)

    async def terminate(self, reason, state):
        await asyncio.sleep(0)
        happened.append(f"stopped {state[0]}")
"""
TWO = """
name: app
strategy: one_for_one
children:
  - {worker: one, name: one, start: "MODULE:Server", args: {id: one}}
  - {worker: two, name: two, start: "MODULE:Server", args: {id: two}}
"""
FAILING = """
name: app
children:
  - {worker: one, start: "MODULE:Server", args: {id: one}}
  - supervisor: services
    children:
      - {worker: bad, start: "MODULE:Server", args: {id: bad, fails: true}}
"""
IN_ORDER = ["starts one", "started one", "starts two", "started two", "stopped two", "stopped one"]


class Tree:
    """A tree file with a module of its own."""

    def __init__(self, folder: Path) -> None:
        self.module_name = f"tree_of_lifespan_{next(_numbers)}"
        self.path = folder / "tree.yaml"
        (folder / f"{self.module_name}.py").write_text(MODULE)
        self.write(TWO)

    def write(self, text: str) -> None:
        self.path.write_text(text.replace("MODULE", self.module_name))
        Application.load(self.path)

    @property
    def module(self) -> types.ModuleType:
        return sys.modules[self.module_name]

    @property
    def happened(self) -> list[str]:
        happened: list[str] = self.module.happened
        return happened

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait until what happened is as it should be."""
        more: asyncio.Event = self.module.happened.more
        while not condition(self.happened):
            more.clear()
            await asyncio.wait_for(more.wait(), WATCHDOG)

    @property
    def lifespan(self) -> Any:
        return resprout.lifespan(self.path)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    before = list(sys.path)
    made = Tree(tmp_path)
    yield made
    sys.path[:] = before
    sys.modules.pop(made.module_name, None)


# Under the test clients of the frameworks


@pytest.mark.parametrize("use_uvloop", [False, True], ids=["asyncio", "uvloop"])
def test_each_opening_of_a_test_client_has_a_tree_on_the_loop_of_its_requests(tree: Tree, use_uvloop: bool):
    if use_uvloop:
        pytest.importorskip("uvloop")
    app = FastAPI(lifespan=tree.lifespan)

    @app.get("/")
    async def ask(request: Request, one: Annotated[Pid, Depends(resprout.server("one"))]) -> list[Any]:
        application: Application = request.state.resprout
        return [application.name, await GenServer.acall(one, "whose loop")]

    for _ in range(2):
        tree.happened.clear()
        with TestClient(app, backend_options={"use_uvloop": use_uvloop}) as client:
            assert client.get("/").json() == ["app", True]
        assert tree.happened == IN_ORDER


def test_starlette_has_the_application_in_the_state_and_servers_are_awaited_by_hand(tree: Tree):
    one = resprout.server("one")

    async def ask(request: Any) -> PlainTextResponse:
        answer = await GenServer.acall(await one(), "whose loop")
        return PlainTextResponse(f"{request.state.resprout.name} {answer}")

    with TestClient(Starlette(routes=[Route("/", ask)], lifespan=tree.lifespan)) as client:
        assert client.get("/").text == "app True"
    assert tree.happened == IN_ORDER


def test_a_web_socket_has_servers_as_well(tree: Tree):
    app = FastAPI(lifespan=tree.lifespan)

    @app.websocket("/")
    async def ask(socket: WebSocket, one: Annotated[Pid, Depends(resprout.server("one"))]) -> None:
        await socket.accept()
        await socket.send_json(await GenServer.acall(one, await socket.receive_text()))
        await socket.close()

    with TestClient(app) as client, client.websocket_connect("/") as socket:
        socket.send_text("whose loop")
        assert socket.receive_json() is True


def test_an_endpoint_on_a_thread_may_block_for_an_answer(tree: Tree):
    app = FastAPI(lifespan=tree.lifespan)

    @app.get("/")
    def ask(one: Annotated[Pid, Depends(resprout.server("one"))]) -> bool:
        answer: bool = GenServer.call(one, "whose loop")
        return answer

    with TestClient(app) as client:
        assert client.get("/").json() is True


def test_applications_inside_have_the_tree_of_the_one_outside_and_their_own_is_never_started(tree: Tree):
    inner = FastAPI(lifespan=resprout.lifespan("there is no such file"))

    @inner.get("/")
    async def ask(request: Request, one: Annotated[Pid, Depends(resprout.server("one"))]) -> list[Any]:
        return [request.state.resprout.name, await GenServer.acall(one, "whose loop")]

    app = Starlette(routes=[Mount("/inner", inner)], lifespan=tree.lifespan)
    with TestClient(app) as client:
        assert client.get("/inner/").json() == ["app", True]
    assert tree.happened == IN_ORDER


def test_a_lifespan_of_ones_own_has_the_tree_inside(tree: Tree):
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with tree.lifespan(app) as state:
            assert await GenServer.acall("one", "whose loop")
            yield {**state, "mine": "too"}
            assert await GenServer.acall("one", "whose loop")

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def ask(request: Request) -> list[str]:
        return [request.state.resprout.name, request.state.mine]

    with TestClient(app) as client:
        assert client.get("/").json() == ["app", "too"]
    assert tree.happened == IN_ORDER


def test_a_router_may_bring_a_tree(tree: Tree):
    router = APIRouter(lifespan=tree.lifespan)

    @router.get("/")
    async def ask(one: Annotated[Pid, Depends(resprout.server("one"))]) -> bool:
        answer: bool = await GenServer.acall(one, "whose loop")
        return answer

    app = FastAPI()
    app.include_router(router)
    with TestClient(app) as client:
        assert client.get("/").json() is True
    assert tree.happened == IN_ORDER


# While a server is down


def answering_503(app: FastAPI) -> FastAPI:
    @app.exception_handler(ProcessExit)
    async def unavailable(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=503)

    @app.get("/{message}")
    async def ask(message: str, one: Annotated[Pid, Depends(resprout.server("one", WATCHDOG))]) -> bool:
        answer: bool = await GenServer.acall(one, message)
        return answer

    return app


def test_a_crash_fails_what_was_under_way_and_what_comes_waits_for_the_next_server(tree: Tree):
    app = answering_503(FastAPI(lifespan=tree.lifespan))

    async def main() -> None:
        async with app.router.lifespan_context(app), client_of(app) as client:
            under_way = asyncio.create_task(client.get("/wait"))
            await asyncio.wait_for(tree.module.asked.wait(), WATCHDOG)
            tree.module.may_start.clear()
            one = process.whereis("one")
            assert one is not None
            process.exit(one, "kill")
            failed = await under_way
            assert failed.status_code == 503
            assert "exited" in failed.json()["detail"]
            later = [asyncio.create_task(client.get("/more")) for _ in range(20)]
            await tree.until(lambda happened: happened.count("starts one") == 2)
            assert not any(each.done() for each in later)
            tree.module.may_start.set()
            assert {(await each).status_code for each in later} == {200}

    asyncio.run(main())


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


def test_a_server_that_does_not_come_is_an_answer_of_503(tree: Tree):
    app = answering_503(FastAPI(lifespan=tree.lifespan))

    @app.get("/ask/nobody", dependencies=[Depends(resprout.server("nobody", timeout=0))])
    async def never() -> None:
        raise AssertionError("never here")

    with TestClient(app) as client:
        answer = client.get("/ask/nobody")
    assert (answer.status_code, answer.json()["detail"].split(" (")[0]) == (503, "no process: nobody")


def test_a_name_in_a_registry_that_is_not_there_yet_is_waited_for(tree: Tree):
    tree.write(
        TWO.replace('name: one, start: "', 'via: [rooms, 1], start: "').replace(
            "children:", "children:\n  - {registry: rooms, keys: unique}"
        )
    )
    via = Via("rooms", 1)

    async def main() -> None:
        with pytest.raises(NoProcess, match="rooms"):
            await resprout.server(via, timeout=0.001)()
        finding = asyncio.create_task(resprout.server(via, None)())
        await asyncio.sleep(0)
        async with tree.lifespan(object()):
            assert await finding is Registry.whereis("rooms", 1)

    asyncio.run(main())


def test_a_long_wait_looks_ever_more_seldom(monkeypatch):
    looks = 0

    def whereis(name: object) -> None:
        nonlocal looks
        looks += 1

    async def main() -> None:
        monkeypatch.setattr(process, "whereis", whereis)
        with pytest.raises(NoProcess):
            await resprout.server("nobody", timeout=0.5)()

    asyncio.run(main())
    assert 2 <= looks <= 20


@pytest.mark.parametrize(("timeout", "error"), [("soon", TypeError), (-1, ValueError), (True, TypeError)])
def test_what_is_no_time_is_refused_when_the_dependency_is_made(timeout, error):
    with pytest.raises(error, match="expected timeout"):
        resprout.server("one", timeout)


def test_what_is_no_name_is_refused_when_the_dependency_is_made():
    with pytest.raises(TypeError, match="expected name to be a str or a Via, got: 3"):
        resprout.server(3)


# What is wrong


def entered(lifespan: Any) -> None:
    async def main() -> None:
        async with lifespan(object()):
            raise AssertionError("never here")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (None, TypeError, "expected path to be the path of a tree file, got: None"),
        ("-", ValueError, "which each worker reads, got: '-'"),
    ],
)
def test_what_is_no_file_is_refused_when_the_application_is_made(path, error, message):
    with pytest.raises(error, match=message):
        resprout.lifespan(path)


def test_a_relative_path_is_of_the_folder_in_which_the_application_was_made(tree: Tree, monkeypatch):
    monkeypatch.chdir(tree.path.parent)
    lifespan = resprout.lifespan(tree.path.name)
    monkeypatch.chdir("/")

    async def main() -> None:
        async with lifespan(object()) as state:
            assert state["resprout"].name == "app"

    asyncio.run(main())
    assert tree.happened == IN_ORDER


def test_mistakes_of_the_file_have_their_whole_path(tree: Tree, monkeypatch):
    tree.path.write_text("name: app\nchildre: []\n")
    monkeypatch.chdir(tree.path.parent)
    with pytest.raises(InvalidTree) as caught:
        entered(resprout.lifespan("tree.yaml"))
    assert f"{tree.path}:2:1: childre: unknown key 'childre'" in str(caught.value)


def test_a_tree_that_does_not_start_says_which_child_and_why_without_our_own_frames(tree: Tree):
    tree.write(FAILING)
    with pytest.raises(StartError) as caught:
        entered(tree.lifespan)
    assert str(caught.value) == (
        f"{tree.path}: the tree did not start: child 'services': child 'bad': ValueError: no database"
    )
    frames = caught.traceback
    # Of uvloop's frames, which have no source, the path is a text.
    names = [Path(frame.path).name for frame in frames]
    assert names[-1] == "lifespan.py"
    assert "application.py" not in names
    assert tree.happened[-1] == "stopped one"


def test_a_second_lifespan_of_a_tree_that_runs_says_so_and_leaves_the_first_alone(tree: Tree):
    async def main() -> None:
        async with tree.lifespan(object()):
            with pytest.raises(StartError, match=r"child 'one': .*this process runs the same tree"):
                async with tree.lifespan(object()):
                    raise AssertionError("never here")
            assert await GenServer.acall("one", "whose loop")
        async with tree.lifespan(object()):
            assert await GenServer.acall("one", "whose loop")

    asyncio.run(main())


def test_a_name_that_somebody_else_has_is_no_second_lifespan(tree: Tree):
    async def once() -> None:
        async with tree.lifespan(object()):
            assert await GenServer.acall("two", "whose loop")

    asyncio.run(once())
    agent = resprout.Agent.start(lambda: 0, name="two")
    try:
        with pytest.raises(StartError, match="child 'two': AlreadyStarted") as caught:
            entered(tree.lifespan)
    finally:
        resprout.Agent.stop(agent)
    assert "same tree" not in str(caught.value)


def test_without_an_event_loop_of_asyncio_it_says_what_is_needed(tree: Tree):
    """As in trio, whose loop asyncio knows nothing of."""
    entering = tree.lifespan(object()).__aenter__()
    with pytest.raises(RuntimeError, match=r"in an asyncio event loop .* trio"):
        entering.send(None)
    assert tree.happened == []


def test_a_start_that_is_cancelled_stops_what_has_started_and_the_next_one_works(tree: Tree):
    """As a server does that gives its applications a time to start in."""

    async def main() -> None:
        tree.module.may_start.clear()
        starting = asyncio.ensure_future(tree.lifespan(object()).__aenter__())
        await tree.until(bool)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        tree.module.may_start.set()
        await tree.until(lambda happened: happened.count("stopped one") == happened.count("starts one"))
        one = process.whereis("one")
        if one is not None:
            await process.amonitor(one)
        tree.happened.clear()
        async with tree.lifespan(object()):
            assert await GenServer.acall("two", "whose loop")
        assert tree.happened == IN_ORDER

    asyncio.run(main())


def test_an_error_while_it_serves_stops_the_tree_in_order_and_goes_on(tree: Tree):
    async def main() -> None:
        with pytest.raises(KeyError, match="mine"):
            async with tree.lifespan(object()):
                raise KeyError("mine")

    asyncio.run(main())
    assert tree.happened == IN_ORDER


def test_a_server_that_will_not_stop_is_left_behind_after_its_time_and_the_others_are_stopped(tree: Tree):
    tree.write(TWO.replace("{id: two}", "{id: two}, shutdown: 50ms"))

    async def main() -> None:
        async with tree.lifespan(object()):
            waiting = asyncio.ensure_future(GenServer.acall("two", "wait"))
            await tree.module.asked.wait()
        with pytest.raises(ProcessExit):
            await waiting

    asyncio.run(main())
    assert tree.happened[-1] == "stopped one"


def test_a_tree_that_is_not_stopped_in_time_is_killed(tree: Tree, caplog: pytest.LogCaptureFixture):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    web = f"  - {{asgi: web, app: 'MODULE:app', port: {address[1]}}}\n"
    tree.write(TWO.replace("{id: two}", "{id: two}, shutdown: infinity") + web)
    assert not telemetry.enabled(("resprout", "supervisor"))

    async def main() -> Pid:
        async with resprout.lifespan(tree.path, shutdown_timeout=0.05)(object()):
            socket.create_connection(address, WATCHDOG).close()
            waiting = asyncio.ensure_future(GenServer.acall("two", "wait", None))
            await tree.module.asked.wait()
            one = process.whereis("one")
        with pytest.raises(ProcessExit):
            await waiting
        assert one is not None
        return one

    assert asyncio.run(main()).exit_reason == "killed"
    assert tree.happened == IN_ORDER[:4]
    assert "did not stop within 0.05 s: what is left of it is killed" in caplog.text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, WATCHDOG)
    assert not telemetry.enabled(("resprout", "supervisor"))


def test_a_time_to_stop_that_is_none_is_refused_when_the_application_is_made(tree: Tree):
    with pytest.raises(TypeError, match="expected timeout to be a number"):
        resprout.lifespan(tree.path, shutdown_timeout="30s")


def test_two_threads_serve_two_trees(tmp_path: Path):
    before = list(sys.path)
    both = threading.Barrier(2, timeout=WATCHDOG)
    trees = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        trees.append(Tree(tmp_path / name))
        trees[-1].write(TWO.replace("one,", f"{name} one,").replace("two,", f"{name} two,"))
    answers: dict[str, Any] = {}

    def serve(tree: Tree, name: str) -> None:
        async def main() -> None:
            async with tree.lifespan(object()):
                await asyncio.to_thread(both.wait)
                answers[name] = await GenServer.acall(f"{name} one", "whose loop")
                await asyncio.to_thread(both.wait)

        asyncio.run(main())

    threads = [
        threading.Thread(target=serve, args=pair) for pair in zip(trees, ("first", "second"), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WATCHDOG)
    sys.path[:] = before
    assert answers == {"first": True, "second": True}
