"""What is wrong with an engine or a process elsewhere, beyond the errors that every room shares."""

from __future__ import annotations

from typing import Any

from ..actors import ResproutError


class EngineRefused(ResproutError):
    """A server can't be used as an engine, as it is or as it was asked for.

    Attributes:
        name: the engine.
    """

    def __init__(self, name: object, why: str) -> None:
        self.name = name
        self.why = why
        super().__init__(f"engine {name!r}: {why}")


class NotHere(ResproutError):
    """A process of another OS process was sent something: no messages go there.

    Attributes:
        pid: that process.
    """

    def __init__(self, pid: Any) -> None:
        self.pid = pid
        super().__init__(
            f"{pid} runs in another OS process, which resprout sends no messages to; use what both of "
            f"you have (a database, a queue, HTTP)"
        )


class NotSeenHere(NotHere, AttributeError):
    """What a process of another OS process is like is not known here: it does not have that attribute."""
