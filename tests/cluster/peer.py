"""Has another OS process do things (see peer_program)."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from types import TracebackType
from typing import Any

from .nursery import Child

PROGRAM = Path(__file__).with_name("peer_program.py")


class PeerError(Exception):
    """What was done over there has raised.

    Attributes:
        kind: the name of the exception's class.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Peer:
    """See the module. Ended with the block."""

    def __init__(
        self,
        url: str,
        *,
        ttl: float = 3.0,
        grace: float = 0.15,
        name: str = "shared",
        node: str | None = None,
    ) -> None:
        self._process = Child(PROGRAM)
        self._numbers = itertools.count()
        if url:
            options = f"name={name!r}, ttl={ttl}, grace={grace}, node={node!r}"
            self.do(f"cluster.Engine.start_link({url!r}, {options}) and None")

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def do(self, code: str) -> Any:
        return self._ask("do", code)

    def later(self, code: str) -> int:
        number = next(self._numbers)
        self._ask("later", number, code)
        return number

    def result(self, number: int, timeout: float = 20.0) -> Any:
        return self._ask("result", number, timeout)

    def _ask(self, *message: object) -> Any:
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerError("EOFError", "the peer is dead")
        kind, *values = json.loads(line)
        if kind == "error":
            raise PeerError(*values)
        return values[0]

    def signal(self, number: int) -> None:
        self._process.signal(number)

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)
