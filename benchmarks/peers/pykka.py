"""Pykka's own actor: a thread each."""

from __future__ import annotations

from typing import Any

import pykka

from ..timing import timed


class Echo(pykka.ThreadingActor):
    """Answers what it is sent."""

    def on_receive(self, message: Any) -> Any:
        return message


class Lock(pykka.ThreadingActor):
    """A lock of two slots as one would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.free = 2

    def on_receive(self, message: Any) -> Any:
        self.free += -1 if message == "acquire" else 1
        return True


def call(times: int) -> float:
    """Ask, and get the answer."""
    actor = Echo.start()
    took = timed(lambda: actor.ask(1), times)
    actor.stop()
    return took


def cast(times: int) -> float:
    """Tell, until all of it is handled."""
    actor = Echo.start()

    def flood() -> None:
        for _ in range(times):
            actor.tell(1)
        actor.ask(1)

    took = timed(flood) / times
    actor.stop()
    return took


def start_stop(times: int) -> float:
    """An actor's whole life."""
    return timed(lambda: Echo.start().stop(), times)


def lock(times: int) -> float:
    """Acquire and release."""
    actor = Lock.start()

    def both() -> None:
        actor.ask("acquire")
        actor.ask("release")

    took = timed(both, times)
    actor.stop()
    return took
