"""The TCP server: a task for each client, linked to the person in the room whom it speaks for.

Elixir's idea: what cannot go on without each other is linked, and ends together, whichever of the two is hit.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from resprout import AlreadyStarted, TaskSupervisor, Via, process
from resprout.supervision import ready

from .rooms import NAMES, Person, Seat, say

CONNECTIONS = "connections"
GRACE = 1.0
"""Seconds that a client has to read what was said before it goes."""

logger = logging.getLogger(__name__)


async def listen(port: int) -> None:
    """Accepts clients for as long as the tree runs."""
    server = process.own(await asyncio.start_server(welcome, "127.0.0.1", port))
    logger.info("listening on 127.0.0.1:%d", server.sockets[0].getsockname()[1])
    ready()
    await asyncio.Event().wait()


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hands a client over to a task of the tree."""
    await TaskSupervisor.astart_child(CONNECTIONS, serve, reader, writer)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says in the room what a client sends, until it hangs up.

    This and the person are linked: when one of the two crashes, it takes the other along, and what they have
    (the socket, the name, the place in the room) goes with them.
    """
    process.own(writer, hang_up)  # when this process ends, however it ends
    try:
        room, name = (await reader.readline()).decode().split()
    except ConnectionError:
        return  # it has gone already
    except ValueError:
        writer.write(b"* say a room and a name first, a word each: garden ann\r\n")
        return
    try:
        await Person.astart_link(Seat(room, name, writer), name=Via(NAMES, (room, name)))
    except AlreadyStarted:
        writer.write(f"* somebody in {room} is {name} already\r\n".encode())
        return
    with suppress(ConnectionError):  # that is hanging up, too
        async for line in reader:
            say(room, f"<{name}> {line.decode().strip()}")
    process.exit("shutdown")  # an end that takes the person along, too, and is no crash


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Closes the connection, and waits only so long for the client to read what was said before."""
    writer.close()
    with suppress(OSError, asyncio.TimeoutError):
        await asyncio.wait_for(writer.wait_closed(), GRACE)
    writer.transport.abort()
