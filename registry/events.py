"""What listeners of a registry get: `Registered`, `Unregistered` and `EventsLost`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

import attrs

from ..actors import Pid
from ..actors.engine import Notice


@attrs.frozen
class Registered:
    """A process has registered itself under a key."""

    registry: str
    key: Hashable
    pid: Pid
    value: Any


@attrs.frozen
class Unregistered:
    """A key is free again: its owner gave it up or ended."""

    registry: str
    key: Hashable
    pid: Pid


@attrs.frozen
class EventsLost(Notice):
    """A listener's mailbox had no room for this many events of a registry, just before this message.

    Comes once, when there is room again, before the next event; whoever needs to know what holds now looks it
    up (``Registry.select``). Only a bounded mailbox can lose anything, and one that drops its oldest messages
    is not told.

    Attributes:
        registry: the registry's name.
        count: how many events were lost since the last one that came.
    """

    registry: str
    count: int


Change: TypeAlias = Registered | Unregistered
RegistryEvent: TypeAlias = Registered | Unregistered | EventsLost
