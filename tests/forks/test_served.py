"""A tree as the lifespan of an application that uvicorn and gunicorn serve, each a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

WATCHDOG = 30.0
SERVED = Path(__file__).with_name("served")
UVICORN = ("-m", "uvicorn", "served:app")
GUNICORN = ("-m", "gunicorn", "served:app", "--worker-class")
UVICORN_WORKER, ASGI_WORKER = "uvicorn_worker.UvicornWorker", "asgi"
IN_ORDER = ["started first", "started second", "stopped second", "stopped first"]


class Server:
    """A program that serves `served.py` from a folder of its own."""

    def __init__(self, start: Callable[..., Any], port: socket.socket, folder: Path) -> None:
        self._start = start
        self.port = port
        self.folder = folder
        self.program: Any = None

    def run(self, *arguments: str, **variables: str) -> None:
        descriptor = self.port.fileno()
        gunicorn = "gunicorn" in arguments
        self.program = self._start(
            *arguments,
            *(("--bind", f"fd://{descriptor}") if gunicorn else ("--fd", str(descriptor))),
            pass_fds=[descriptor],
            cwd=self.folder,
            env={"SERVED_FOLDER": str(self.folder), "HOME": str(self.folder), **variables},
        )

    def get(self, path: str = "/") -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*self.port.getsockname(), timeout=WATCHDOG)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def workers(self, number: int) -> dict[int, Any]:
        """Visit, several at once, until so many workers have answered: what they said."""
        answers: dict[int, Any] = {}

        def enough() -> bool:
            answers.update((body["worker"], body) for _, body in visitors.map(self.get, ["/"] * 16))
            return len(answers) >= number

        with ThreadPoolExecutor(8) as visitors:
            until(enough)
        return answers

    def log(self) -> list[tuple[int, str]]:
        """What was written down so far: the worker, and what happened."""
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(worker), what) for worker, what in (line.split(" ", 1) for line in lines)]

    def happened(self, worker: int) -> list[str]:
        return [what for who, what in self.log() if who == worker]

    def stop(self, number: int = signal.SIGTERM) -> int:
        os.kill(self.program.pid, number)
        status: int = self.program.wait()
        assert "Traceback" not in self.program.text, self.program.text
        return status


def until(condition: Callable[[], object]) -> None:
    """Wait for what other programs do, of which nobody tells: a port that answers, a line of a log."""
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def server(start: Callable[..., Any], port: socket.socket, tmp_path: Path) -> Server:
    for file in ("served.py", "tree.yaml"):
        shutil.copy(SERVED / file, tmp_path)
    os.mkfifo(tmp_path / "gate")
    return Server(start, port, tmp_path)


# One worker


@pytest.mark.parametrize(
    ("loop", "number", "status"),
    [("asyncio", signal.SIGTERM, -signal.SIGTERM), ("uvloop", signal.SIGINT, 0)],
)
def test_uvicorn_has_a_tree_on_its_own_loop_and_stops_it_in_order(
    server: Server, loop: str, number: int, status: int
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server.run(*UVICORN, "--loop", loop)
    _, answer = server.get()
    assert answer["one_loop"]
    assert answer["loop"].startswith(loop)
    # uvicorn ends as by the signal, after all is done.
    assert server.stop(number) == status
    assert server.happened(answer["worker"]) == IN_ORDER


ONE_WORKER = [
    pytest.param([*UVICORN, "--timeout-graceful-shutdown", "20"], "Shutting down", id="uvicorn"),
    pytest.param([*GUNICORN, UVICORN_WORKER], "Shutting down", id="gunicorn's uvicorn worker"),
    pytest.param([*GUNICORN, ASGI_WORKER], "Worker shutting down", id="gunicorn's own worker"),
]


@pytest.mark.parametrize(("command", "stopping"), ONE_WORKER)
def test_a_request_under_way_is_answered_before_the_tree_is_stopped(
    server: Server, command: list[str], stopping: str
) -> None:
    server.run(*command)
    with ThreadPoolExecutor(1) as visitor:
        request = visitor.submit(server.get, "/wait")
        until(lambda: any(what == "request waits" for _, what in server.log()))
        os.kill(server.program.pid, signal.SIGTERM)
        until(lambda: stopping in server.program.text)
        (server.folder / "gate").write_bytes(b"go on")
        assert request.result(WATCHDOG) == (200, "answered")
    assert server.program.wait() in (0, -signal.SIGTERM)
    (worker,) = {worker for worker, _ in server.log()}
    asked = ["request waits", "request answered"]
    assert server.happened(worker) == [*IN_ORDER[:2], *asked, *IN_ORDER[2:]]


def test_a_request_that_takes_too_long_is_cut_off_and_the_tree_stopped_in_order(server: Server) -> None:
    server.run(*UVICORN, "--timeout-graceful-shutdown", "1")
    with ThreadPoolExecutor(1) as visitor:
        request = visitor.submit(server.get, "/wait")
        until(lambda: any(what == "request waits" for _, what in server.log()))
        os.kill(server.program.pid, signal.SIGTERM)
        assert server.program.wait() == -signal.SIGTERM
        with pytest.raises((OSError, http.client.HTTPException, ValueError)):
            request.result(WATCHDOG)
    (worker,) = {worker for worker, _ in server.log()}
    assert server.happened(worker) == [*IN_ORDER[:2], "request waits", *IN_ORDER[2:]]


def test_a_second_ctrl_c_waits_for_no_request_and_stops_the_tree_in_order_all_the_same(
    server: Server,
) -> None:
    server.run(*UVICORN)
    with ThreadPoolExecutor(1) as visitor:
        request = visitor.submit(server.get, "/wait")
        until(lambda: any(what == "request waits" for _, what in server.log()))
        os.kill(server.program.pid, signal.SIGINT)
        until(lambda: "Waiting for connections to close" in server.program.text)
        os.kill(server.program.pid, signal.SIGINT)
        assert server.program.wait() == 0
        with pytest.raises((OSError, http.client.HTTPException, ValueError)):
            request.result(WATCHDOG)
    (worker,) = {worker for worker, _ in server.log()}
    assert server.happened(worker) == [*IN_ORDER[:2], "request waits", *IN_ORDER[2:]]


# Crashes


def test_a_crash_fails_the_requests_that_are_under_way_and_no_other(server: Server) -> None:
    server.run(*UVICORN)
    crashes, visitors = 5, 8
    over = threading.Event()

    def visit() -> list[int]:
        statuses = []
        while not over.is_set():
            statuses.append(server.get()[0])
        return statuses

    with ThreadPoolExecutor(visitors) as pool:
        visits = [pool.submit(visit) for _ in range(visitors)]
        try:
            for _ in range(crashes):
                assert server.get("/crash")[0] == 503
                assert server.get()[0] == 200
        finally:
            over.set()
        statuses = [status for each in visits for status in each.result(WATCHDOG)]
    assert set(statuses) <= {200, 503}
    assert statuses.count(503) <= crashes * visitors
    assert statuses.count(200) > crashes
    worker = server.get()[1]["worker"]
    server.program.stop()
    assert server.happened(worker).count("started first") == 1 + crashes


# Trees that do not start, or end by themselves

SERVERS = [
    pytest.param([*UVICORN], 3, id="uvicorn"),
    pytest.param(
        [*UVICORN, "--workers", "2", "--timeout-worker-healthcheck", "3"], 0, id="uvicorn with workers"
    ),
    pytest.param([*GUNICORN, UVICORN_WORKER], 3, id="gunicorn's uvicorn worker"),
    pytest.param([*GUNICORN, ASGI_WORKER, "--preload"], 3, id="gunicorn's own worker"),
]


@pytest.mark.parametrize(("command", "expected"), SERVERS)
def test_a_tree_that_does_not_start_ends_the_server_which_says_why(
    server: Server, command: list[str], expected: int
) -> None:
    server.run(*command, SERVED_FAILS="db.example")
    status = server.program.wait()
    assert status == expected, server.program.text
    why = "tree.yaml: the tree did not start: child 'second': ValueError: no database at db.example"
    assert f"{server.folder / why}" in server.program.text
    assert {what for _, what in server.log()} == {"started first", "stopped first"}


def test_an_address_that_is_taken_stops_the_tree_again(server: Server, start: Callable[..., Any]) -> None:
    taken = str(server.port.getsockname()[1])
    variables = {"SERVED_FOLDER": str(server.folder)}
    program = start(*UVICORN, "--port", taken, cwd=server.folder, env=variables)
    assert program.wait() > 0
    assert "address already in use" in program.text
    assert [what for _, what in server.log()] == IN_ORDER


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*UVICORN, "--workers", "2"], id="uvicorn"),
        pytest.param([*GUNICORN, UVICORN_WORKER], id="gunicorn's uvicorn worker"),
        pytest.param([*GUNICORN, ASGI_WORKER], id="gunicorn's own worker"),
    ],
)
def test_a_worker_whose_tree_ends_by_itself_ends_and_another_one_is_started(
    server: Server, command: list[str]
) -> None:
    server.run(*command)
    number = 2 if "--workers" in command else 1
    server.workers(number)
    assert server.get("/end")[0] == 200
    until(lambda: len({worker for worker, _ in server.log()}) == number + 1)
    (new,) = {worker for worker, _ in server.log()[-1:]}
    until(lambda: new in server.workers(1))
    assert server.stop() == 0
    assert server.happened(new) == IN_ORDER
    assert "application served ended by itself: 'killed'; the server that it runs in" in server.program.text


def test_where_nobody_starts_another_worker_the_program_ends(server: Server) -> None:
    server.run(*UVICORN)
    assert server.get("/end")[0] == 200
    assert server.program.wait() == -signal.SIGTERM


# Several workers


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([*UVICORN, "--workers", "2"], id="uvicorn"),
        pytest.param([*GUNICORN, UVICORN_WORKER, "--workers", "2"], id="gunicorn's uvicorn worker"),
        pytest.param([*GUNICORN, UVICORN_WORKER, "--workers", "2", "--preload"], id="the same, preloaded"),
        pytest.param([*GUNICORN, ASGI_WORKER, "--workers", "2", "--preload"], id="gunicorn's own, preloaded"),
    ],
)
def test_every_worker_has_a_tree_of_its_own_which_is_started_after_the_fork(
    server: Server, command: list[str]
) -> None:
    server.run(*command)
    answers = server.workers(2)
    assert server.stop() == 0
    assert server.program.pid not in answers
    for worker, answer in answers.items():
        assert answer["one_loop"]
        assert server.happened(worker) == IN_ORDER
    assert {worker for worker, _ in server.log()} == set(answers)


def test_reload_stops_the_old_tree_in_order_and_starts_a_new_one(server: Server) -> None:
    server.run(*UVICORN, "--reload", "--reload-delay", "0.05")
    _, before = server.get()
    file = server.folder / "served.py"
    file.write_text(file.read_text().replace("VERSION = 1", "VERSION = 2"))
    touched = file.stat().st_mtime

    def noticed() -> bool:
        # What changes before it has looked for the first time, it does not notice.
        nonlocal touched
        touched += 1
        os.utime(file, (touched, touched))
        return "detected changes" in server.program.text

    until(noticed)
    # The old one might reset a connection that comes as it ends.
    until(lambda: [what for _, what in server.log()].count("started second") == 2)
    _, after = server.get()
    assert after["version"] == 2
    assert server.stop() == 0
    assert before["worker"] != after["worker"]
    assert server.happened(before["worker"]) == IN_ORDER
    whole = [what for _, what in server.log()]
    assert whole[:4] == IN_ORDER, "the new one was started when the old one had stopped"
    assert server.happened(after["worker"]) == IN_ORDER
