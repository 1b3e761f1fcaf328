"""Keys that live as long as their owners.

`Registry` has all functions, `Via` makes a key the name of a process, `Registered`, `Unregistered`
and `EventsLost` are what listeners get. See docs/registry.md.
"""

from __future__ import annotations

from .errors import KeyLost, UnknownRegistry
from .events import EventsLost, Registered, RegistryEvent, Unregistered
from .patterns import ANY, Equal
from .registry import Registry
from .snapshot import RegistryStatistics, Row, Snapshot
from .via import Via

__all__ = [
    "ANY",
    "Equal",
    "EventsLost",
    "KeyLost",
    "Registered",
    "Registry",
    "RegistryEvent",
    "RegistryStatistics",
    "Row",
    "Snapshot",
    "UnknownRegistry",
    "Unregistered",
    "Via",
]
