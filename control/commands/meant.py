"""The system that a command means."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..client import address_of, find_system
from ..tcp import TcpAddress

__all__ = ["meant"]


def meant(options: argparse.Namespace) -> Path | TcpAddress:
    """Where the system answers that is meant by `--name`, `--socket`, or `--tcp` with `--token-file`.

    Raises:
        NoSystem: There is none, or it is not clear which.
    """
    if options.tcp is not None:
        return address_of(options.tcp, options.token_file)
    return find_system(options.name, options.socket)
