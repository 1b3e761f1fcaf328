"""What listeners of a registry get: `Registered` and `Unregistered`."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeAlias

import attrs

from ..actors import Pid


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


RegistryEvent: TypeAlias = Registered | Unregistered
