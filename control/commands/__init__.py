"""The commands of `resprout` that look at a running system, act in it, or help to begin with one."""

from __future__ import annotations

from .parsers import COMMANDS, add_commands, add_socket
from .running import run_command

__all__ = ["COMMANDS", "add_commands", "add_socket", "run_command"]
