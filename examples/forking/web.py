"""A web application whose workers are forked after its import: `gunicorn --preload --workers 3 web:app`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from resprout import Application, GenServer, Ok, Reply, after_fork, throttle


class Visits(GenServer):
    """Counts."""

    def init(self, arg: object) -> Ok:
        """Begin with none."""
        return Ok(0)

    def handle_call(self, message: object, from_: object, state: int) -> Reply:
        """Count one more."""
        return Reply(state + 1, state + 1)


throttle.new("reports", 2)  # a declaration: each worker makes a lock of its own from it
application = Application.load(Path(__file__).with_name("tree.yaml"))


@after_fork
def start() -> None:
    """Start the tree; a worker does so with its first request."""
    application.start()


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer with what this worker, and no other, has counted."""
    with throttle.slot("reports") as grant:
        visits = GenServer.call("visits", "one more")
        answer = {"worker": os.getpid(), "visits": visits, "token": grant.token}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
