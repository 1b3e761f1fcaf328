"""The TCP server: one process accepts, and each connection is a task of its own, which owns its socket.

Elixir's idea: the code for a client is written as if there were no other, and blocks where it has to wait. A
client who makes it crash loses their connection, and nobody else notices.
"""

from __future__ import annotations

import errno
import logging
import socket

from resprout import MaxChildren, TaskSupervisor, process
from resprout.supervision import ready

from .commands import answer

CONNECTIONS = "connections"
PAUSE = 0.5
"""Seconds until it looks again whether a client can be let in."""

logger = logging.getLogger(__name__)


def listen(port: int) -> None:
    """Accepts clients for as long as the tree runs."""
    listener = process.own(socket.create_server(("127.0.0.1", port)))
    logger.info("listening on 127.0.0.1:%d", listener.getsockname()[1])
    ready()
    while True:
        client = accept(listener)
        try:
            TaskSupervisor.start_child(CONNECTIONS, serve, client)
        except MaxChildren:
            client.close()


def accept(listener: socket.socket) -> socket.socket:
    """The next client. When as many files are open as this program may have, it has to wait."""
    while True:
        try:
            return listener.accept()[0]
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            logger.warning("a client has to wait: %s", error.strerror)
            process.sleep(PAUSE)


def serve(client: socket.socket) -> None:
    """Answers one client, line by line. What it does not expect crashes this connection, and no other."""
    process.own(client)  # closed when this process ends, however it ends
    try:
        for line in client.makefile("rb"):
            client.sendall(f"{answer(line.decode())}\r\n".encode())
    except ConnectionError:
        return  # it has hung up
