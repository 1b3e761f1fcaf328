"""Programs that fork, with the real servers and pools: each a process of its own that is gone at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "forking"
WATCHDOG = 30.0
WARNINGS = ("-W", "error:::resprout", "-W", "ignore:This process:DeprecationWarning")
"""Python 3.12 and later warn of every fork of a process with threads, and the runtime has some."""

if not hasattr(os, "fork"):
    collect_ignore_glob = ["test_*.py"]


class Program:
    """A running program, what it has printed, and all that it has forked: a session of its own."""

    def __init__(self, arguments: list[str], **options: Any) -> None:
        self._process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **{"cwd": EXAMPLES, **options},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def stop(self) -> int:
        """Ask it to end in order; its exit status."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended by itself; its exit status."""
        status = self._process.wait(WATCHDOG)
        # What it forked has the same pipe: this ends when the last one has.
        self._reader.join(WATCHDOG)
        assert not self._reader.is_alive(), "something that it forked goes on"
        return status

    def kill(self) -> None:
        """End whatever is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(WATCHDOG)
        self._reader.join(WATCHDOG)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """A listening socket, which the server gets: so it can be connected to from the beginning."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    """Start `python ARGUMENTS`, in the folder of the examples unless told otherwise."""
    programs: list[Program] = []

    def run(*arguments: str, **options: Any) -> Program:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **options.pop("env", {})}
        programs.append(Program([sys.executable, *WARNINGS, *arguments], env=environment, **options))
        return programs[-1]

    yield run
    for each in programs:
        each.kill()
