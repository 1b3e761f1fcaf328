"""Carries what is sent to a port of its own, which it prints, to another one: `proxy_program.py PORT`."""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress


def carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    # Whichever side ends ends both, and the other thread with it.
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def main(port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sys.stdout.write(f"{server.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            inside, _ = server.accept()
            try:
                outside = socket.create_connection(("127.0.0.1", int(port)))
            except OSError:
                # It is not there just now.
                inside.close()
                continue
            for ends in ((inside, outside), (outside, inside)):
                threading.Thread(target=carry, args=ends, daemon=True).start()


main(*sys.argv[1:])
