"""The window into a running system: its data, the actions on it, the control socket, and the commands."""

from __future__ import annotations

from .client import Client, NoSystem, find_system
from .errors import Refusal
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
