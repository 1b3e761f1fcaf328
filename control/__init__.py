"""The window into a running system: its data, the actions on it, the control socket, and the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Refusal

if TYPE_CHECKING:
    from .client import Client, NoSystem, find_system
    from .requests import REQUESTS, carry_out
    from .system import RunningSystem

__all__ = [
    "REQUESTS",
    "Client",
    "NoSystem",
    "Refusal",
    "RunningSystem",
    "carry_out",
    "find_system",
]

# Every application loads this room when it starts, and these only if somebody asks.
_LATER = {
    "REQUESTS": "requests",
    "Client": "client",
    "NoSystem": "client",
    "RunningSystem": "system",
    "carry_out": "requests",
    "find_system": "client",
}

if not TYPE_CHECKING:  # a type checker would take any name at all for one of ours

    def __getattr__(name: str) -> object:
        """Load the module that a name comes from; the next use of the name finds it here."""
        home = _LATER.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
