"""Forks the OS processes of tests from one that has loaded what they need, which takes most of their start.

    nursery_program.py SOCKET

Each message on the socket is a program's path and arguments in JSON, and comes with its standard input and
output; a descriptor of the process comes back.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from contextlib import suppress

import resprout.cluster
import resprout.throttle

with suppress(ImportError):
    import resprout.cluster.postgres
with suppress(ImportError):
    import resprout.cluster.redis  # noqa: F401  # loaded for those who come


def live(program: str, arguments: list[str], streams: list[int]) -> None:
    """The life of a process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv = [program, *arguments]
    sys.path[0] = os.path.dirname(program)
    try:
        runpy.run_path(program, run_name="__main__")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    # What is at work in threads ends with it.
    os._exit(0)


def main(number: str) -> None:
    # Who has ended leaves nothing to be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.freeze()
    with socket.socket(fileno=int(number)) as orders:
        while True:
            message, streams, _, _ = socket.recv_fds(orders, 65536, 2)
            if not message:
                break
            pid = os.fork()
            if pid == 0:
                orders.close()
                live(*json.loads(message), streams)
            handle = os.pidfd_open(pid)
            socket.send_fds(orders, [str(pid).encode()], [handle])
            for each in (handle, *streams):
                os.close(each)


main(sys.argv[1])
