"""Web applications as supervised children: real sockets on 127.0.0.1, plain ASGI applications."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import pytest

from resprout.actors import ChildSpec, Crash, GenServer, Ok, Reply, StartError, process
from resprout.actors.reports.other_loops import ADVICE
from resprout.supervision.supervisors.supervisor import Supervisor
from resprout.supervision.trees.asgi import AsgiChild, AsgiServer
from resprout.supervision.trees.listener import Listener
from resprout.supervision.trees.mistakes import InvalidTree
from resprout.supervision.trees.tree_file import load_tree
from resprout.supervision.trees.web_serving import AsgiOptions, Loop

from ...waiting import down_of


class Site:
    """An ASGI application that tells what becomes of it and waits where the test wants it to."""

    def __init__(self) -> None:
        self.told: SimpleQueue[str] = SimpleQueue()
        self.gate = threading.Event()
        self.shared: asyncio.Queue[str] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(receive, send)
        else:
            await self.answer(scope["path"], send)

    async def live(self, receive: Any, send: Any) -> None:
        await receive()
        self.loop = asyncio.get_running_loop()
        self.told.put("lifespan started")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.told.put("lifespan ended")
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, path: str, send: Any) -> None:
        if path == "/slow":
            self.told.put("slow")
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
        if path == "/stuck":
            self.told.put("stuck")
            self.gate.wait()
        if path == "/shared":
            assert self.shared is not None
            path = await self.shared.get()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": path.encode()})


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener("127.0.0.1", 0)
    yield listener
    listener.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.gate.set()


@pytest.fixture(params=["tree", "own"])
def loop(request: pytest.FixtureRequest) -> Loop:
    """The loop that a server runs on."""
    return request.param


@pytest.fixture
def options(site: Site, listener: Listener, loop: Loop) -> AsgiOptions:
    return AsgiOptions(site, listener, loop=loop)


@pytest.fixture
def api(options: AsgiOptions) -> Iterator[str]:
    """A supervised server, by the name "api"; gives its URL."""
    start = (AsgiServer.start_link, (options,), {"name": "api"})
    supervisor = Supervisor.start_link([ChildSpec("api", start)], strategy="one_for_one", max_restarts=100)
    host, port = AsgiServer.address("api")
    yield f"http://{host}:{port}"
    Supervisor.stop(supervisor)


def die(how: str) -> None:
    """Takes the server down and waits until it is."""
    server = process.whereis("api")
    assert server is not None
    ref = process.monitor(server)
    if how == "kill":
        process.exit(server, "kill")
    else:
        process.inject(server, ValueError("boom"))
    down_of(ref)


def in_thread(url: str) -> SimpleQueue[object]:
    """Asks for a page in another thread; the answer, or the error, comes in the queue."""
    answers: SimpleQueue[object] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(httpx.get(url, timeout=10).text)
        except httpx.HTTPError as error:
            answers.put(error)

    threading.Thread(target=ask).start()
    return answers


class TestServing:
    def test_it_serves_as_soon_as_it_has_started(self, api: str, site: Site) -> None:
        assert httpx.get(f"{api}/hello").text == "/hello"
        assert site.told.get(timeout=5) == "lifespan started"

    @pytest.mark.parametrize("how", ["kill", "inject"])
    def test_a_crash_refuses_no_connection_and_keeps_the_address(
        self, api: str, site: Site, how: str
    ) -> None:
        for _ in range(3):
            die(how)
            # No wait in between: the socket listens while no server runs.
            assert httpx.get(f"{api}/again", timeout=1.0).text == "/again"
        host, port = AsgiServer.address("api")
        assert f"http://{host}:{port}" == api

    def test_what_a_killed_server_worked_on_is_dropped_and_its_lifespan_ends(
        self, api: str, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = in_thread(f"{api}/slow")
        assert [site.told.get(timeout=5) for _ in range(2)] == ["lifespan started", "slow"]
        die("kill")
        assert isinstance(answer.get(timeout=5), httpx.HTTPError)
        assert {site.told.get(timeout=5) for _ in range(2)} == {"lifespan started", "lifespan ended"}
        assert [record for record in caplog.records if record.name == "uvicorn.error"] == []

    @pytest.mark.parametrize("loop", ["own"], indirect=True)
    def test_one_that_blocks_a_loop_of_its_own_does_not_delay_its_successor(
        self, api: str, site: Site
    ) -> None:
        answer = in_thread(f"{api}/stuck")
        assert [site.told.get(timeout=5) for _ in range(2)] == ["lifespan started", "stuck"]
        die("kill")
        assert httpx.get(f"{api}/fine", timeout=1.0).text == "/fine"
        site.gate.set()
        answer.get(timeout=5)

    def test_a_stop_in_order_finishes_running_requests_and_then_the_lifespan(
        self, site: Site, options: AsgiOptions
    ) -> None:
        server = AsgiServer.start(options)
        host, port = AsgiServer.address(server)
        answer = in_thread(f"http://{host}:{port}/slow")
        assert [site.told.get(timeout=5) for _ in range(2)] == ["lifespan started", "slow"]
        stopping = threading.Thread(target=GenServer.stop, args=(server,))
        stopping.start()
        site.gate.set()
        assert answer.get(timeout=5) == "/slow"
        stopping.join()
        assert site.told.get(timeout=5) == "lifespan ended"
        assert not server.alive

    def test_a_request_that_does_not_end_is_dropped_after_the_shutdown_time(
        self, site: Site, options: AsgiOptions
    ) -> None:
        start = (AsgiServer.start_link, (options,), {"name": "api"})
        supervisor = Supervisor.start_link([ChildSpec("api", start, shutdown=0.3)], strategy="one_for_one")
        host, port = AsgiServer.address("api")
        answer = in_thread(f"http://{host}:{port}/slow")
        assert [site.told.get(timeout=5) for _ in range(2)] == ["lifespan started", "slow"]
        Supervisor.stop(supervisor)
        assert isinstance(answer.get(timeout=5), httpx.HTTPError)

    def test_a_closed_listener_refuses_and_may_be_opened_again(self, options: AsgiOptions) -> None:
        server = AsgiServer.start(options)
        address = AsgiServer.address(server)
        GenServer.stop(server)
        options.listener.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)
        again = AsgiServer.start(options)
        assert httpx.get("http://{}:{}/".format(*AsgiServer.address(again))).text == "/"
        GenServer.stop(again)

    def test_connections_do_not_wait_for_acknowledgements(self, listener: Listener) -> None:
        # asyncio sets TCP_NODELAY only where the socket says that it is TCP.
        with listener.open() as listening, socket.create_connection(listener.address) as client:
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.proto == client.proto == socket.IPPROTO_TCP

    def test_the_address_is_that_of_a_server_only(self) -> None:
        with pytest.raises(ValueError, match="expected a running AsgiServer, got: 'nobody'"):
            AsgiServer.address("nobody")


class Keeper(GenServer):
    """An async server, so it runs on the loop of the coroutines; keeps a queue that belongs to that loop."""

    async def init(self, arg: Site) -> Ok:
        arg.shared = asyncio.Queue()
        return Ok(arg.shared)

    async def handle_call(self, message: Any, from_: Any, state: asyncio.Queue[str]) -> Reply:
        if message == "take":
            return Reply(await state.get(), state)
        if message == "future":
            return Reply(asyncio.get_running_loop().create_future(), state)
        await state.put(message)
        return Reply(asyncio.get_running_loop(), state)


@pytest.fixture
def keeper(site: Site) -> Iterator[Any]:
    keeper = Keeper.start(site)
    yield keeper
    GenServer.stop(keeper)


class TestLoops:
    @pytest.mark.parametrize("loop", ["tree"], indirect=True)
    def test_what_belongs_to_the_loop_is_used_by_the_application_and_by_an_async_server(
        self, api: str, site: Site, keeper: Any
    ) -> None:
        answer = in_thread(f"{api}/shared")
        loop = keeper.call("from the server")
        assert answer.get(timeout=5) == "from the server"
        assert site.loop is loop

    @pytest.mark.parametrize("loop", ["own"], indirect=True)
    def test_an_application_may_have_a_loop_of_its_own(self, api: str, site: Site, keeper: Any) -> None:
        httpx.get(api)
        assert site.loop is not None
        assert site.loop is not keeper.call("hello")

    def test_awaiting_what_belongs_to_the_loop_of_the_tree_is_an_error_that_says_so(
        self, keeper: Any, listener: Listener, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "http"
            awaited = await GenServer.acall(keeper, "future")
            await awaited

        server = AsgiServer.start(AsgiOptions(app, listener, loop="own"))
        assert httpx.get("http://{}:{}/".format(*AsgiServer.address(server))).status_code == 500
        [told] = [record.exc_info for record in caplog.records if "Exception in ASGI" in record.getMessage()]
        assert told is not None
        text = str(told[1])
        assert "this code of <0." in text
        assert " web_server> runs on a loop in the thread 'resprout-worker" in text
        assert (
            "awaited (_asyncio.Future) belongs to the runtime's own loop in the thread 'resprout-loop'"
            in text
        )
        assert text.endswith(ADVICE)
        GenServer.stop(server)

    @pytest.mark.parametrize("how", ["kill", "inject"])
    def test_the_end_of_a_server_leaves_the_loop_to_the_others(
        self, api: str, site: Site, keeper: Any, how: str
    ) -> None:
        loop = keeper.call("before")
        assert keeper.call("take") == "before"
        taken = GenServer.send_request(keeper, "take")
        die(how)
        assert httpx.get(api, timeout=1.0).status_code == 200
        assert not taken.done()
        assert site.shared is not None
        asyncio.run_coroutine_threadsafe(site.shared.put("after"), loop)
        assert taken.result(5) == "after"

    def test_in_a_tree_that_a_coroutine_starts_it_runs_on_that_loop_after_a_restart_too(
        self, options: AsgiOptions, site: Site, loop: Loop
    ) -> None:
        def handlers() -> list[object]:
            return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

        async def look(url: str) -> None:
            async with httpx.AsyncClient() as client:
                answer = await client.get(url)
            assert answer.text == "/hello"
            assert (site.loop is asyncio.get_running_loop()) == (loop == "tree")

        async def main() -> None:
            before = handlers()
            start = (AsgiServer.start_link, (options,), {"name": "api"})
            supervisor = await Supervisor.astart_link(
                [ChildSpec("api", start)], strategy="one_for_one", max_restarts=100
            )
            url = "http://{}:{}/hello".format(*AsgiServer.address("api"))
            for how in ("kill", "inject"):
                await look(url)
                # This is the main thread, where uvicorn would install handlers of its own.
                assert handlers() == before
                await asyncio.to_thread(die, how)
            await look(url)
            await asyncio.to_thread(Supervisor.stop, supervisor)

        asyncio.run(main())

    @pytest.mark.parametrize("loop", ["tree"], indirect=True)
    def test_one_whose_loop_ends_does_so_in_silence_and_is_not_started_again(
        self, options: AsgiOptions, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def main() -> Any:
            start = (AsgiServer.start_link, (options,), {"name": "api"})
            return await Supervisor.astart_link([ChildSpec("api", start)], strategy="one_for_one")

        supervisor = asyncio.run(main())
        down_of(process.monitor(supervisor))
        assert process.whereis("api") is None
        assert [record.getMessage() for record in caplog.records if record.name == "resprout"] == []

    def test_a_lifespan_that_does_not_end_is_cancelled(self, listener: Listener, loop: Loop) -> None:
        told: SimpleQueue[str] = SimpleQueue()

        async def stays(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            told.put("asked to end")
            try:
                await asyncio.Event().wait()
            finally:
                told.put("cancelled")

        server = AsgiServer.start(AsgiOptions(stays, listener, options={"lifespan": "on"}, loop=loop))
        process.exit(server, "kill")
        assert [told.get(timeout=5) for _ in range(2)] == ["asked to end", "cancelled"]

    def test_one_that_is_killed_while_its_application_starts_ends_that(
        self, listener: Listener, loop: Loop
    ) -> None:
        told: SimpleQueue[str] = SimpleQueue()

        async def starts_for_ever(scope: Any, receive: Any, send: Any) -> None:
            told.put("starting")
            try:
                await asyncio.Event().wait()
            finally:
                told.put("cancelled")

        with pytest.raises(StartError, match="timeout"):
            AsgiServer.start(AsgiOptions(starts_for_ever, listener, loop=loop), timeout=0.1)
        assert [told.get(timeout=5) for _ in range(2)] == ["starting", "cancelled"]


class TestFailingStarts:
    def test_a_port_in_use_is_told_with_the_address(self, site: Site, loop: Loop) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(
                StartError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
            ):
                AsgiServer.start(AsgiOptions(site, Listener("127.0.0.1", port), loop=loop))

    def test_a_lifespan_that_fails_is_a_failed_start(self, listener: Listener, loop: Loop) -> None:
        async def fails(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        with pytest.raises(StartError, match="the application failed at its start"):
            AsgiServer.start(AsgiOptions(fails, listener, options={"lifespan": "on"}, loop=loop))

    def test_a_factory_is_called_at_each_start_and_may_fail(
        self, site: Site, listener: Listener, loop: Loop
    ) -> None:
        made: list[Site] = []

        def make() -> Site:
            made.append(site)
            if len(made) == 2:
                raise KeyError("not twice")
            return site

        options = AsgiOptions(make, listener, factory=True, loop=loop)
        server = AsgiServer.start(options)
        GenServer.stop(server)
        with pytest.raises(StartError) as raised:
            AsgiServer.start(options)
        assert raised.value.reason == Crash(KeyError("not twice"))


class TestInATreeFile:
    @pytest.fixture
    def load(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "asgimod.py").write_text(
            "async def app(scope, receive, send): ...\ndef make(): return app\nx = 1\n"
        )
        monkeypatch.setattr(sys, "path", list(sys.path))

        def load(child: str, **settings: str):
            (tmp_path / "tree.yaml").write_text(f"children:\n- {child}\n")
            return load_tree(tmp_path / "tree.yaml", settings, {}, {"asgi": lambda: AsgiChild})

        yield load
        sys.modules.pop("asgimod", None)

    def test_a_child(self, load) -> None:
        tree = load(
            "{asgi: api, app: 'asgimod:make', factory: true, port: '${p:-0}', options: {root_path: /x}}"
        )
        [spec] = tree.children
        function, (options,), named = spec.start
        assert (spec.id, function, named) == ("api", AsgiServer.start_link, {"name": "api"})
        assert (options.app, options.factory, options.loop) == (sys.modules["asgimod"].make, True, "tree")
        assert options.options == {"root_path": "/x"}

    def test_a_child_with_a_loop_of_its_own(self, load) -> None:
        tree = load("{asgi: api, app: 'asgimod:app', loop: own}")
        assert tree.children[0].start[1][0].loop == "own"

    def test_the_end_of_the_tree_closes_the_socket(self, load) -> None:
        tree = load("{asgi: api, app: 'asgimod:app', port: 0}")
        listener = tree.children[0].start[1][0].listener
        listener.open().close()
        address = listener.address
        socket.create_connection(address, timeout=1).close()
        tree.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)

    @pytest.mark.parametrize(
        ("child", "path", "reason"),
        [
            (
                "{asgi: a, app: 'asgimod:app', port: 70000}",
                ".port",
                "expected a port from 0 to 65535, got: 70000",
            ),
            ("{asgi: a, app: 'asgimod:app', prot: 1}", ".prot", "did you mean 'port'?"),
            ("{asgi: a}", ".app", "it is missing"),
            ("{asgi: a, app: 'asgimod:x'}", ".app", "asgimod:x is not callable"),
            ("{asgi: a, app: 'asgimod:app', options: {port: 1}}", ".options", "port stands beside options:"),
            (
                "{asgi: a, app: 'asgimod:app', options: {loop: own}}",
                ".options",
                "loop stands beside options:",
            ),
            ("{asgi: a, app: 'asgimod:app', loop: mine}", ".loop", "expected one of tree, own, got: 'mine'"),
            (
                "{asgi: a, app: 'asgimod:app', options: {acces_log: true}}",
                ".options",
                "did you mean 'access_log'?",
            ),
        ],
    )
    def test_mistakes(self, load, child: str, path: str, reason: str) -> None:
        with pytest.raises(InvalidTree) as raised:
            load(child)
        [problem] = raised.value.problems
        assert problem.path == f"children[0]{path}"
        assert reason in problem.reason

    def test_without_uvicorn_the_mistake_says_how_to_install_it(
        self, load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *more: None if name == "uvicorn" else find_spec(name, *more),
        )
        with pytest.raises(InvalidTree, match=r"pip install 'resprout\[asgi\]'"):
            load("{asgi: a, app: 'asgimod:app'}")


def test_uvicorn_installs_no_signal_handlers_and_changes_no_logging(api: str) -> None:
    assert logging.getLogger("uvicorn").handlers == []
    httpx.get(api)


BLOCKING = """
import logging, sys, threading
import httpx
from resprout.actors import GenServer
from resprout.supervision.trees.asgi import AsgiServer
from resprout.supervision.trees.listener import Listener
from resprout.supervision.trees.web_serving import AsgiOptions

told, news = [], threading.Event()

class Heard(logging.Handler):
    def emit(self, record):
        if hasattr(record, "blocked_loop"):
            told.append(record.blocked_loop)
            news.set()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    assert news.wait(20), "nobody told of it"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})

logging.getLogger("resprout").addHandler(Heard())
server = AsgiServer.start(AsgiOptions(app, Listener("127.0.0.1", 0), loop=sys.argv[1]))
assert httpx.get("http://{}:{}/".format(*AsgiServer.address(server)), timeout=20).text == "fine"
[blocked] = told
assert blocked.callback.function == "app"
assert (blocked.thread == "resprout-loop") == (sys.argv[1] == "tree"), blocked
GenServer.stop(server)
"""


def test_development_mode_names_the_application_that_blocks_its_loop(loop: Loop) -> None:
    made = subprocess.run(
        [sys.executable, "-X", "dev", "-c", BLOCKING, loop],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert made.returncode == 0, made.stderr
