"""A way to a server that can swallow all that is sent, both ways."""

from __future__ import annotations

import signal
from pathlib import Path

from .nursery import Child


class Proxy:
    """An OS process that carries what is sent to a port, and what comes from there.

    Attributes:
        port: its own.
    """

    def __init__(self, port: int) -> None:
        self._program = Child(Path(__file__).with_name("proxy_program.py"), str(port))
        self._to = port
        self.port = int(self._program.stdout.readline())

    def way(self, url: str) -> str:
        """The same server, by this way."""
        return url.replace(f":{self._to}", f":{self.port}")

    def swallow(self) -> None:
        self._program.signal(signal.SIGSTOP)

    def carry(self) -> None:
        self._program.signal(signal.SIGCONT)

    def end(self) -> None:
        self._program.kill()
