"""A small shop whose workers log, and runs of it with pipes or on a pseudo terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from pathlib import Path

import attrs
import pytest

from ..programs import resprout

WATCHDOG = 60.0

SHOP = '''
"""Workers of a small shop, which log."""

import logging
import os
import sys
from pathlib import Path

import setup  # what a module of users does to logging when it is imported
from resprout.actors import GenServer, NoReply, Ok, Stop

log = logging.getLogger("shop.till")
HERE = Path(__file__).parent


class Till(GenServer):
    """Logs, crashes if it is told to, and ends."""

    def init(self, arg):
        log.debug("a debug")
        log.info("an info", extra={"till": 7})
        log.warning("a warning")
        GenServer.cast(self.pid, arg["crash"])
        return Ok(None)

    def handle_cast(self, crash, state):
        marker = HERE / "crashed"
        if crash == "always" or (crash == "once" and not marker.exists()):
            marker.write_text("")
            raise ValueError("the till is on fire, " + "and the fire brigade is late " * 4 + "\\nagain")
        return Stop("normal", state)


class Steady(GenServer):
    """Serves, and says so on its first message."""

    trap_exit = True

    def init(self, arg):
        GenServer.cast(self.pid, "say")
        return Ok(arg)

    def handle_cast(self, message, arg):
        sys.stdout.write("ready\\n")  # in one piece, whoever else writes
        sys.stdout.flush()
        return NoReply(arg)


class Stuck(Steady):
    """Takes to stop until somebody writes into the pipe `go on`."""

    def terminate(self, reason, arg):
        (HERE / "go on").read_text()
'''

TILL = """
name: shop
auto_shutdown: any_significant
children:
  - worker: till
    start: "shop:Till"
    args: {crash: "${crash:-never}"}
    restart: transient
    significant: true
"""
"""A tree that ends when the till has closed; with crash=once or always it crashes before."""


@attrs.define
class OnTerminal:
    """A program on a terminal of its own; `seen` is all that it has written so far."""

    program: subprocess.Popen[bytes]
    ours: int
    seen: bytes = b""

    def until(self, piece: str) -> None:
        """Reads until it has written something."""
        while piece.encode() not in self.seen:
            if not self._read():
                pytest.fail(f"it did not write {piece!r}: {self.seen.decode()}")

    def finish(self) -> tuple[int, str]:
        """Reads to its end; its exit status, and all that it wrote."""
        while self._read():
            pass
        return self.program.wait(WATCHDOG), self.seen.decode()

    def _read(self) -> bool:
        readable, _, _ = select.select([self.ours], [], [], WATCHDOG)
        if not readable:
            pytest.fail(f"it writes nothing any more: {self.seen.decode()}")
        try:
            piece = os.read(self.ours, 65536)
        except OSError:  # Linux says EIO when the other end of a terminal is closed
            return False
        self.seen += piece
        return bool(piece)


@attrs.define
class Shop:
    """A folder with workers that log, and what is run in it."""

    folder: Path
    begun: list[OnTerminal] = attrs.field(factory=list)
    piped: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def write(self, tree: str, setup: str = "") -> None:
        """Puts the tree there, and what the module of its workers does to logging at its import."""
        (self.folder / "tree.yaml").write_text(tree)
        (self.folder / "setup.py").write_text(setup)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the tree with pipes."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=WATCHDOG,
            check=False,
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Begins to run the tree with pipes."""
        program = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.piped.append(program)
        return program

    def on_terminal(
        self, *arguments: str, size: tuple[int, int] = (80, 24), errors: Path | None = None, **environ: str
    ) -> OnTerminal:
        """Begins to run the tree on a terminal; standard error may go into a file."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        others = theirs if errors is None else os.open(errors, os.O_WRONLY | os.O_CREAT)
        program = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=others,
            env={**clean, "TERM": "xterm-256color", **environ},
        )
        for number in {theirs, others}:
            os.close(number)
        found = OnTerminal(program, ours)
        self.begun.append(found)
        return found

    def command(self, *arguments: str) -> list[str]:
        """What runs the tree."""
        return resprout("run", "tree.yaml", *arguments)
