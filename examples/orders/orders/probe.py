"""Asks the API all the time, as customers would, and measures how long it takes to answer."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

import attrs

from resprout import GenServer, NoReply, Ok
from resprout.supervision.trees.asgi import AsgiServer

from . import measure
from .events import Malformed, parse
from .topic import read_topic

PAUSE = 0.01
"""Seconds between an answer and the next request."""

PATIENCE = 5.0
"""Seconds after which a request without an answer has failed."""


class Client:
    """One connection that is kept alive, and opened again when it was dropped."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = HTTPConnection(host, port, timeout=PATIENCE)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of the answer; a request whose connection was dropped is sent once more.

        That is what becomes of the requests that a killed API was at; those that wait for the next
        incarnation notice nothing, since the listening socket stays.

        Raises:
            OSError: The second try failed, too, or there was no answer in time.
            http.client.HTTPException: What came was not HTTP.
            ValueError: What came was not JSON.
        """
        try:
            return self._get(path)
        except (ConnectionError, HTTPException):
            self.close()
            return self._get(path)

    def _get(self, path: str) -> tuple[int, Any]:
        self._connection.request("GET", path)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        self._connection.close()


@attrs.frozen
class Probing:
    """What a probe needs from one request to the next."""

    client: Client
    ids: Sequence[str]
    rng: random.Random


class Probe(GenServer):
    """Sends request after request for as long as the tree runs. `args` is `api`, the name of the API."""

    trap_exit = True  # so that `terminate` closes the connection

    def init(self, arg: dict[str, object]) -> Ok:
        # Asked once: the listening socket, and so the address, outlives every crash of the API.
        client = Client(*AsgiServer.address(arg["api"]))
        return Ok(Probing(client, order_ids(), random.Random(1)), timeout=PAUSE)

    def handle_info(self, message: object, state: Probing) -> NoReply:
        """The pause is over: TIMEOUT is the only message that a probe gets."""
        started = time.perf_counter()
        if _answers(state):
            measure.api.answered(time.perf_counter() - started)
        else:
            measure.api.failed()
        return NoReply(state, timeout=PAUSE)

    def terminate(self, reason: object, state: Probing) -> None:
        state.client.close()


def order_ids() -> list[str]:
    """The ids of all orders of the topic."""
    ids: set[str] = set()
    for partition in read_topic():
        for raw in partition.lines:
            try:
                ids.add(parse(raw).order)
            except Malformed:
                continue
    return sorted(ids)


def _answers(state: Probing) -> bool:
    id = None if state.rng.random() < 0.1 else state.rng.choice(state.ids)
    try:
        status, answer = state.client.get("/health" if id is None else f"/orders/{quote(id)}")
    except (OSError, HTTPException, ValueError):
        state.client.close()
        return False
    if id is None:
        return status == 200
    return status == 404 or (status == 200 and answer["id"] == id)  # 404: its first event was not handled yet
