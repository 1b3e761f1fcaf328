"""OS processes of tests, and the one from which all of them are forked (see nursery_program)."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import IO


class Child:
    """A program that runs in an OS process of its own.

    Args:
        program: its path; it may use resprout, and need not load it.
    """

    stdin: IO[str]
    stdout: IO[str]

    def __init__(self, program: Path, *arguments: str) -> None:
        ours = [os.pipe(), os.pipe()]
        (read, self_in), (self_out, write) = ours
        self.stdin = os.fdopen(self_in, "w")
        self.stdout = os.fdopen(self_out, "r")
        orders = _nursery()
        socket.send_fds(orders, [json.dumps([str(program), arguments]).encode()], [read, write])
        answer, (self._handle,), _, _ = socket.recv_fds(orders, 64, 1)
        self.pid = int(answer)
        for each in (read, write):
            os.close(each)

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it, and wait for that. May be done again."""
        if self._handle < 0:
            return
        try:
            self.signal(signal.SIGKILL)
        except ProcessLookupError:
            # It has ended by itself.
            pass
        select.select([self._handle], [], [])
        os.close(self._handle)
        self._handle = -1
        for stream in (self.stdin, self.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                pass


@cache
def _nursery() -> socket.socket:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = str(Path(__file__).with_name("nursery_program.py"))
    with there:
        command = [sys.executable, "-W", "ignore", program, str(there.fileno())]
        process = subprocess.Popen(command, pass_fds=[there.fileno()])

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here
