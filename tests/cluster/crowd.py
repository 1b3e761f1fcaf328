"""Several OS processes that fight for the same thing, started and killed by a test."""

from __future__ import annotations

import time
from pathlib import Path

from ..waiting import until_elsewhere
from .judging import intervals, most_at_work
from .nursery import Child

SLOTS = 3
THREADS = 8


class Crowd:
    """OS processes that fight for a lock, or for the key of a registry.

    Args:
        folder: where they write who was at work, and when.
        hold: seconds for which each works.
        program: what they run.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        ttl: float = 3.0,
        grace: float = 0.15,
        hold: float = 0.01,
        program: str = "crowd_program.py",
    ) -> None:
        self._url = url
        self._program = Path(__file__).with_name(program)
        self.folder = folder
        self._arguments = [str(THREADS), str(SLOTS), str(ttl), str(hold), str(grace)]
        self.ended: dict[str, float] = {}
        self.running: dict[str, Child] = {}
        self._count = 0

    def start(self, url: str | None = None) -> str:
        """Have one more; its name.

        Args:
            url: another way to the server.
        """
        self._count += 1
        name = f"crowd-{self._count}"
        program = self.running[name] = Child(
            self._program, url or self._url, str(self.folder / name), *self._arguments
        )
        assert program.stdout.readline() == "ready\n"
        return name

    def kill(self, name: str) -> float:
        program = self.running.pop(name)
        program.kill()
        at = self.ended[name] = time.monotonic()
        return at

    def stop(self) -> float:
        at = time.monotonic()
        for name in list(self.running):
            self.kill(name)
        return at

    def tell(self, name: str, what: str) -> None:
        """Have it do something: `kill NAME` for a process of its own."""
        self.running[name].stdin.write(f"{what}\n")
        self.running[name].stdin.flush()

    def grants_of(self, name: str) -> int:
        return (self.folder / name).read_bytes().count(b"begin")

    def grants(self) -> int:
        return sum(file.read_bytes().count(b"begin") for file in self.folder.iterdir())

    def most_at_work(self) -> int:
        return most_at_work(intervals(self.folder.iterdir(), self.ended, time.monotonic()))

    def await_more(self, number: int = 20) -> None:
        before = self.grants()
        until_elsewhere(lambda: self.grants() >= before + number)
