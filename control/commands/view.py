"""What `resprout top` looks at, and how keys change that. Pure."""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["HELP", "View", "keys_in"]

_ORDERS: Final = {"t": None, "m": "mailbox", "r": "restarts", "u": "uptime"}
_ESCAPES: Final = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
}
HELP: Final = "t tree  m mailbox  r restarts  u uptime  arrows scroll  q quit"


@attrs.define
class View:
    """Which processes are shown, from which row on.

    Args:
        sort: As of the request `ps`; None for the order of the tree.
        offset: The first row.
        wants_on: Whether to go on.
    """

    sort: str | None = None
    offset: int = 0
    wants_on: bool = True

    def press(self, key: str, height: int) -> None:
        """Takes a key; what means nothing changes nothing.

        Args:
            key: One of `keys_in`.
            height: Rows of a page.
        """
        moves = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -height, "page down": height}
        if key in ("q", "\x03", "\x04"):
            self.wants_on = False
        elif key in _ORDERS:
            self.sort = _ORDERS[key]
            self.offset = 0
        elif key in moves:
            self.offset = max(0, self.offset + moves[key])


def keys_in(data: bytes) -> list[str]:
    """The keys in what a terminal has sent; what is no key of `View` may come as anything."""
    keys = []
    while data:
        for sequence, key in _ESCAPES.items():
            if data.startswith(sequence):
                keys.append(key)
                data = data[len(sequence) :]
                break
        else:
            keys.append(chr(data[0]))
            data = data[1:]
    return keys
