"""`/metrics`, `/health` and `/ready`: mounted in applications, and served beside a tree."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.routing import Mount

from resprout import Application, lifespan, monitoring, process, telemetry
from resprout.actors import ChildSpec, StartError
from resprout.monitoring.kind import MetricsChild
from resprout.monitoring.web import Endpoints
from resprout.supervision import InvalidTree, Supervisor
from resprout.supervision.trees.asgi import AsgiServer
from resprout.supervision.trees.kinds import Common

from ..scripted import Runs
from ..waiting import WATCHDOG, await_end
from .conftest import samples_of


@pytest.fixture
def endpoints() -> Iterator[Endpoints]:
    made = monitoring.endpoints()
    yield made
    made.close()


def get(app: Any, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """The answer to one request."""

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(ask())


def test_metrics_are_in_the_format_that_whoever_asks_accepts(endpoints: Endpoints) -> None:
    plain = get(endpoints, "/metrics")
    assert plain.status_code == 200
    assert plain.headers["content-type"].startswith("text/plain")
    assert ("resprout_process_messages", ()) in samples_of(plain.text)
    opened = get(endpoints, "/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


def test_they_can_be_mounted_anywhere(endpoints: Endpoints) -> None:
    app = Starlette(routes=[Mount("/internal", app=endpoints)])
    assert get(app, "/internal/metrics").status_code == 200
    assert get(app, "/internal/health/").json() == {"status": "ok", "reasons": []}


def test_another_path_and_another_method_are_told_what_there_is(endpoints: Endpoints) -> None:
    assert get(endpoints, "/").status_code == 404
    assert get(endpoints, "/metric").text == "expected /metrics, /health or /ready\n"
    assert get(endpoints, "/metrics", "POST").status_code == 405
    head = get(endpoints, "/metrics", "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 1000


def test_a_web_socket_is_refused(endpoints: Endpoints) -> None:
    with pytest.raises(RuntimeError, match="expected an HTTP request, got: websocket"):
        asyncio.run(endpoints({"type": "websocket"}, None, None))  # type: ignore[arg-type]


def test_without_prometheus_client_the_rest_works(
    endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resprout.monitoring.prometheus_metrics", None)
    answer = get(endpoints, "/metrics")
    assert (answer.status_code, "resprout[prometheus]" in answer.text) == (501, True)
    assert get(endpoints, "/health").status_code == 200


def test_a_tree_of_lifespan_is_the_one_that_is_spoken_of(tmp_path: Path) -> None:
    (tmp_path / "tree.yaml").write_text("name: shop\nchildren:\n  - {registry: guests}\n", encoding="utf-8")
    endpoints = monitoring.endpoints()
    app = Starlette(lifespan=lifespan(tmp_path / "tree.yaml"), routes=[Mount("/internal", app=endpoints)])

    async def ask() -> tuple[httpx.Response, httpx.Response]:
        async with app.router.lifespan_context(app) as state:
            assert state is not None

            async def served(scope: Any, receive: Any, send: Any) -> None:
                await app({**scope, "state": dict(state)}, receive, send)

            transport = httpx.ASGITransport(served)
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                up = await client.get("/internal/ready")
                application: Application = state["resprout"]  # type: ignore[assignment]
                assert application.root is not None
                await Supervisor.aterminate_child(application.root, "guests")
                return up, await client.get("/internal/ready")

    up, down = asyncio.run(ask())
    endpoints.close()
    assert (up.status_code, up.json()) == (200, {"status": "ready", "not_ready": []})
    told = {"status": "not ready", "not_ready": [{"child": "guests", "state": "down"}]}
    assert (down.status_code, down.json()) == (503, told)


# Served beside a tree


def tree(folder: Path, children: str) -> Application:
    path = folder / "tree.yaml"
    path.write_text(f"name: shop\nchildren:\n{textwrap.indent(textwrap.dedent(children), '  ')}", "utf-8")
    return Application.load(path)


def url(path: str) -> str:
    host, port = AsgiServer.address("monitoring")
    return f"http://{host}:{port}{path}"


def test_a_tree_serves_them_on_this_machine_only(tmp_path: Path) -> None:
    application = tree(
        tmp_path,
        """
        - {metrics: monitoring, port: 0}
        - {throttle: till, num_slots: 3}
        """,
    )
    assert not telemetry.enabled(("resprout", "throttle", "wait"))
    application.start()
    try:
        assert telemetry.enabled(("resprout", "throttle", "wait"))
        assert AsgiServer.address("monitoring")[0] == "127.0.0.1"
        metrics = url("/metrics")
        found = samples_of(httpx.get(metrics, timeout=WATCHDOG).text)
        assert found["resprout_throttle_num_slots", (("lock", "till"),)] == 3
        assert found["resprout_child_running", (("child", "till"),)] == 1
        assert httpx.get(url("/ready"), timeout=WATCHDOG).status_code == 200
        # A crash of the server loses nothing that was counted.
        server = process.whereis("monitoring")
        assert server is not None
        await_end(server)
        found = samples_of(httpx.get(metrics, timeout=WATCHDOG).text)
        assert found["resprout_child_crashes_total", (("child", "monitoring"),)] == 1
    finally:
        application.stop()
    assert not telemetry.enabled(("resprout", "throttle", "wait"))


gate = threading.Event()
begun = threading.Event()


def wait_for_the_gate(name: object = None) -> object:
    begun.set()
    gate.wait(WATCHDOG)
    return Runs.start_link()


def test_who_the_others_wait_for_at_the_start_is_told() -> None:
    gate.clear()
    begun.clear()
    served = MetricsChild("monitoring", port=0)
    children = [
        *served.child_specs(Common()),
        ChildSpec("slow", (wait_for_the_gate, (), {})),
        ChildSpec("last", (Runs.start_link, (), {})),
    ]
    started: list[Any] = []

    def start() -> None:
        started.append(Supervisor.start_link(children, strategy="one_for_one", name="shop"))
        stop.wait(WATCHDOG)
        Supervisor.stop(started[0])

    stop = threading.Event()
    thread = threading.Thread(target=start)
    thread.start()
    try:
        assert begun.wait(WATCHDOG)
        answer = httpx.get(url("/ready"), timeout=WATCHDOG)
        assert answer.status_code == 503
        assert answer.json()["not_ready"] == [
            {"child": "shop", "state": "starting"},
            {"child": "shop/slow", "state": "starting"},
            {"child": "shop/last", "state": "waiting"},
        ]
        assert httpx.get(url("/health"), timeout=WATCHDOG).status_code == 200
    finally:
        gate.set()
        stop.set()
        thread.join(WATCHDOG)
        served.close()


def test_a_mistake_in_the_tree_file_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidTree, match=r"tree\.yaml:3:\d+: .*expected a port from 0 to 65535, got: 70000"):
        tree(tmp_path, "- {metrics: monitoring, port: 70000}\n")
    with pytest.raises(InvalidTree, match="did you mean 'host'"):
        tree(tmp_path, "- {metrics: monitoring, hosts: here}\n")


def test_a_port_that_is_taken_is_told_before_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        application = tree(tmp_path, f"- {{metrics: monitoring, port: {port}}}\n")
        (obstacle,) = application.tree.obstacles()
        assert obstacle.startswith(f"cannot listen on 127.0.0.1:{port}")
        with pytest.raises(StartError):
            application.start()


def test_a_program_without_a_tree_may_have_a_port_served() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    registry = CollectorRegistry()
    end = monitoring.prometheus(registry, port=port)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=WATCHDOG).text
    assert ("resprout_process_messages", ()) in samples_of(text)
    with pytest.raises(OSError, match="in use"):
        monitoring.prometheus(CollectorRegistry(), port=port)
    end()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=WATCHDOG)


def test_what_is_told_is_json(endpoints: Endpoints) -> None:
    answer = get(endpoints, "/ready")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.content) == answer.json()
