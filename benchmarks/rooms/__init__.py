"""What is measured, a file a room."""

from __future__ import annotations

import importlib

from ..rows import Room

NAMES = (
    "actors",
    "registry",
    "supervision",
    "throttle",
    "stages",
    "kafka",
    "cluster",
    "control",
    "observer",
    "trees",
    "imports",
)


def room(name: str) -> Room:
    """One of them, loaded when it is asked for."""
    found: Room = importlib.import_module(f"{__name__}.{name}").ROOM
    return found
