"""Servers, and a resource of theirs, that do what the tests of several rooms tell them."""

from __future__ import annotations

import queue
from typing import Any

from resprout.actors import GenServer, NoReply, Ok, Pid, Reply, Stop

WATCHDOG = 30.0


class Runs(GenServer):
    """Runs the functions that it is called with, in its own process."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message(), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        message()
        return NoReply(state)


class Obeys(GenServer):
    """Does what it is told: a message is a function of the server, or comes back from a call.

    What the function of a cast returns is what the callback returns, unless it is None.
    """

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message(self) if callable(message) else message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        result = message(self)
        return NoReply(state) if result is None else result


class Keeps(GenServer):
    """Keeps what it gets in a list, which a call answers with; a function of the server is called instead."""

    def init(self, arg: Any) -> Any:
        return Ok([])

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message(self) if callable(message) else list(state), state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        state.append(message)
        return NoReply(state)

    handle_info = handle_cast


class Silent(GenServer):
    """Answers no call."""

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return NoReply(state)


class Quiet(GenServer):
    """Does nothing, on the sender's thread, until a cast tells it why to stop, or what to raise."""

    blocking = False

    def handle_cast(self, message: Any, state: Any) -> Any:
        if isinstance(message, Exception):
            raise message
        return Stop(message, state)


class Slot:
    """A resource of a process, as the slot of a lock is, that notes what it is told of its owner."""

    def __init__(self) -> None:
        self.told: queue.Queue[tuple[str, object]] = queue.Queue()

    def owner_died(self, pid: Pid, reason: object) -> None:
        self.told.put(("died", reason))

    def owner_left(self, pid: Pid) -> None:
        self.told.put(("left", None))

    def next(self) -> tuple[str, object]:
        """What it is told next."""
        return self.told.get(timeout=WATCHDOG)

    def until_left(self) -> list[tuple[str, object]]:
        """All that it is told up to the leaving of its owner; an interrupt may have it told a thing twice."""
        told = [self.next()]
        while told[-1] != ("left", None):
            told.append(self.next())
        return told

    def ended(self, reason: object = "normal") -> bool:
        """Whether it is told of the death and then of the leaving, and of nothing else."""
        return self.until_left() == [("died", reason), ("left", None)] and self.told.empty()

    @property
    def so_far(self) -> list[tuple[str, object]]:
        """What it has been told and nobody has taken."""
        return list(self.told.queue)
