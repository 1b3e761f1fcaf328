"""The rooms: keys of a registry, under which people are registered for as long as they live.

Elixir's idea: with duplicate keys a registry is a PubSub. Who dispatches under a key reaches everybody who is
registered there at that moment, and nobody has to unsubscribe, in an orderly end or any other.
"""

from __future__ import annotations

import asyncio

import attrs

from resprout import Bounded, GenServer, NoReply, Ok, Registry, Stop, Unregistered

NAMES = "names"
ROOMS = "rooms"


@attrs.frozen
class Said:
    """A line that was said in a room."""

    line: str


def say(room: str, line: str) -> None:
    """Has everybody in a room hear a line. It waits for nobody."""
    Registry.dispatch(ROOMS, room, lambda people: [person.send(Said(line)) for person, _ in people])


@attrs.frozen
class Seat:
    """Where a person sits.

    Args:
        room: In this room.
        name: Under this name.
        writer: At the other end of this connection.
    """

    room: str
    name: str
    writer: asyncio.StreamWriter


class Person(GenServer):
    """Somebody in a room: writes to their client what they hear, as fast as that reads.

    One who reads too slowly holds up nobody: their mailbox has room for so many lines, and then loses the
    oldest ones.
    """

    mailbox = Bounded(100, on_full="drop_oldest")

    async def init(self, seat: Seat) -> Ok:
        """Takes the seat."""
        Registry.register(ROOMS, seat.room, seat.name)
        here = ", ".join(name for _, name in Registry.lookup(ROOMS, seat.room))
        say(seat.room, f"* {seat.name} has come; here are {here}")
        return Ok(seat.writer)

    async def handle_info(self, message: Said, writer: asyncio.StreamWriter) -> NoReply | Stop:
        """Hears a line."""
        try:
            writer.write(f"{message.line}\r\n".encode())
            await writer.drain()
        except ConnectionError:
            return Stop("shutdown", writer)  # the client has gone
        return NoReply(writer)


class Doorkeeper(GenServer):
    """Says who has gone, as they cannot say it themselves: it hears of each name that is free again."""

    blocking = False

    def handle_info(self, message: object, state: None) -> NoReply:
        """A name was taken, or is free again."""
        if isinstance(message, Unregistered):
            room, name = message.key
            say(room, f"* {name} has gone")
        return NoReply(state)
