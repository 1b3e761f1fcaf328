"""The commands of docs/fastapi.md, with which the shop is served: each takes orders, and ends in order."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WATCHDOG = 30.0
PAGE = (ROOT / "docs/fastapi.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    ((?:uvicorn|gunicorn) shop\.web:app.*)$", PAGE, re.MULTILINE)


def ask(port: socket.socket, method: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*port.getsockname(), timeout=WATCHDOG)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_the_page_has_every_way_of_serving() -> None:
    words = " ".join(COMMANDS).split()
    assert {"--workers", "--reload", "uvicorn_worker.UvicornWorker", "asgi", "--preload"} < set(words)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_shop_is_served(
    start: Callable[..., Any], port: socket.socket, tmp_path: Path, command: str
) -> None:
    program, *arguments = command.split()
    where = ["--bind", f"fd://{port.fileno()}"] if program == "gunicorn" else ["--fd", str(port.fileno())]
    served = start(
        *("-m", program, *arguments, *where),
        pass_fds=[port.fileno()],
        cwd=ROOT / "examples/fastapi_shop",
        env={"SHOP_DATABASE": str(tmp_path / "shop.db"), "SHOP_RESTOCK": "0.1", "HOME": str(tmp_path)},
    )
    status, placed = ask(port, "POST", "/orders?customer=ann&item=pears&number=3")
    assert status == 201, served.text
    # Whichever worker answers: the database is one.
    found = ask(port, "GET", f"/orders/{placed['id']}")
    assert found == (200, {"customer": "ann", "item": "pears", "number": 3})
    assert ask(port, "GET", "/quotes/pears") == (200, {"cents": 50})
    if "--workers" in arguments:
        seen = set()
        deadline = time.monotonic() + WATCHDOG
        while len(seen) < 2:
            assert time.monotonic() < deadline, seen
            seen.add(ask(port, "GET", "/health")[1]["worker"])
    assert served.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in served.text, served.text
