"""A client of servers that speak in lines, the servers as programs, and a port for them."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WATCHDOG = 20.0


class LineClient:
    """What telnet does: lines that end in CR and LF, both ways."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WATCHDOG)
        self.lines = self.socket.makefile("r", encoding="utf-8", newline="\r\n")

    def ask(self, command: str) -> str:
        """The first line of the answer."""
        self.socket.sendall(f"{command}\r\n".encode())
        return self.hear()

    def hear(self) -> str:
        """One more line, with its end; nothing when the server has hung up."""
        return self.lines.readline()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(tree: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A tree as a program of its own, which has logged at which port it listens."""
    command = [sys.executable, "-m", "resprout", "run", str(tree), "--plain", "--set", "port=0"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stderr is not None
            told = re.search(r"listening on 127\.0\.0\.1:(\d+)", program.stderr.readline())
            assert told is not None
            yield program, int(told[1])
        finally:
            program.kill()
