"""gunicorn, whose workers are forked: with --preload after the import of the application, else before."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

WORKERS = 3
WATCHDOG = 30.0


def get(port: socket.socket) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*port.getsockname(), timeout=WATCHDOG)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def visit(port: socket.socket) -> list[dict[str, Any]]:
    """Visit, several at once, until every worker has answered."""
    answers: list[dict[str, Any]] = []
    deadline = time.monotonic() + WATCHDOG
    with ThreadPoolExecutor(8) as visitors:
        while len({each["worker"] for each in answers}) < WORKERS or len(answers) < 100:
            assert time.monotonic() < deadline, answers
            for status, body in visitors.map(get, [port] * 16):
                assert status == 200, (status, body)
                answers.append(json.loads(body))
    return answers


@pytest.mark.parametrize(
    "options",
    [
        ["--preload"],
        ["--preload", "--threads", "4"],
        ["--config", "gunicorn.conf.py"],
        ["--config", "gunicorn.conf.py", "--preload"],
        ["--config", "gunicorn.conf.py", "--threads", "4"],
    ],
    ids=" ".join,
)
def test_every_worker_has_locks_and_a_tree_of_its_own(
    start: Callable[..., Any], port: socket.socket, tmp_path: Path, options: list[str]
) -> None:
    server = start(
        "-m",
        "gunicorn",
        *options,
        *("--workers", str(WORKERS), "--bind", f"fd://{port.fileno()}"),
        *("--worker-tmp-dir", str(tmp_path), "web:app"),
        pass_fds=[port.fileno()],
        # Newer ones make a socket there.
        env={"HOME": str(tmp_path)},
    )
    answers = visit(port)
    assert server.stop() == 0, server.text
    assert "Traceback" not in server.text
    for worker in {each["worker"] for each in answers}:
        own = [each for each in answers if each["worker"] == worker]
        # Nobody else has counted, or been granted, in between.
        assert sorted(each["visits"] for each in own) == list(range(1, len(own) + 1))
        assert sorted(each["token"] for each in own) == list(range(1, len(own) + 1))
