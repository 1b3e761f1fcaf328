"""What goes over the pipe between a supervisor's process and a placed child: numbered frames."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import attrs

# To the child. The first four are for its server, in order; the others overtake them.
CALL: Final = 1
CAST: Final = 2
SEND: Final = 3
SYSTEM: Final = 4
EXIT: Final = 5
STOP: Final = 6
# From the child.
STARTED: Final = 20
IGNORED: Final = 21
FAILED: Final = 22
READY: Final = 23
REPLY: Final = 24
ERROR: Final = 25
ENDED: Final = 26
LOG: Final = 27
PAUSE: Final = 28
RESUME: Final = 29

HEADER: Final = struct.Struct(">QBQ")
"""The length of the body, the kind, the number of the call or 0."""


@attrs.frozen
class Frame:
    """One frame.

    Attributes:
        kind: One of the above.
        number: Of the call that it belongs to.
        body: A pickle, mostly.
    """

    kind: int
    number: int
    body: bytes


def packed(kind: int, number: int, body: bytes) -> bytes:
    """A frame as it is sent."""
    return HEADER.pack(len(body), kind, number) + body


class FrameReader:
    """Puts frames together from what comes in, in pieces of any size."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._wanted = HEADER.size

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Takes a piece; yields the frames that are complete with it."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size < self._wanted:
            return
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        at = 0
        while True:
            if len(data) - at < HEADER.size:
                self._wanted = HEADER.size
                break
            length, kind, number = HEADER.unpack_from(data, at)
            end = at + HEADER.size + length
            if end > len(data):
                self._wanted = end - at
                break
            yield Frame(kind, number, data[at + HEADER.size : end])
            at = end
        rest = data[at:] if at else data
        self._pieces = [rest] if rest else []
        self._size = len(rest)
