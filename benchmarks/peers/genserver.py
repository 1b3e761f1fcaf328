"""The package genserver: a thread each, and messages that are dicts."""

from __future__ import annotations

from typing import Any

from genserver import GenServer

from ..timing import timed

MESSAGE = {"number": 1}


class Echo(GenServer[None]):
    """Answers what it is sent."""

    def init(self, *args: Any, **kwargs: Any) -> None:
        return None

    def handle_call(self, message: Any, state: None) -> tuple[Any, None]:
        return message, state

    def handle_cast(self, message: Any, state: None) -> None:
        return state

    def terminate(self, state: None) -> None:
        """Nothing to do."""


def started() -> Echo:
    """A server that runs."""
    server = Echo()
    server.start()
    return server


def call(times: int) -> float:
    """Call, and get the answer."""
    server = started()
    took = timed(lambda: server.call(MESSAGE), times)
    server.stop()
    return took


def cast(times: int) -> float:
    """Cast, until all of it is handled."""
    server = started()

    def flood() -> None:
        for _ in range(times):
            server.cast(MESSAGE)
        server.call(MESSAGE)

    took = timed(flood) / times
    server.stop()
    return took


def start_stop(times: int) -> float:
    """A server's whole life."""
    return timed(lambda: started().stop(), times)
