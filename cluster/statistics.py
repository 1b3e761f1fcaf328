"""The side door for what watches engines: how each of them is doing, without a round trip to its server."""

from __future__ import annotations

import attrs

from .events import TICK, VOID
from .handle import handles

__all__ = ["TICK", "VOID", "EngineStatistics", "engines"]


@attrs.frozen
class EngineStatistics:
    """One engine of this process.

    Attributes:
        name: As its locks know it.
        connected: It has a session now.
        reconnects: How often it had to connect anew.
        locks: How many locks use it.
    """

    name: str
    connected: bool
    reconnects: int
    locks: int


def engines() -> list[EngineStatistics]:
    """Every engine of this process, by name."""
    return [
        EngineStatistics(name, handle.connected, handle.reconnects, len(handle.gates))
        for name, handle in sorted(handles.items())
    ]
