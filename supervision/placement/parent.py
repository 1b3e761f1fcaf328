"""What a placed child has of its parent: the pipe, where this process is such a child. It loads nothing, as
everybody loads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from ...actors import Pid

LOCKS: Final = 3
REGISTRIES: Final = 4
"""The kinds of frames of the services."""


class Link(Protocol):
    """The pipe, as a service sees it."""

    owner: Pid | None
    """In the parent: the process that stands for the child."""
    on_told: dict[int, Callable[[bytes], object]]
    """Who takes what is told, by the kind of frames. On the thread of the hub, which must not wait."""
    on_end: list[Callable[[], object]]
    """Told, there too, when the other end is gone."""

    @property
    def open(self) -> bool:
        """Whether there is somebody at the other end."""

    def tell(self, kind: int, body: bytes) -> None:
        """Sends something. Never waits; safe anywhere."""

    def ask(self, kind: int, body: bytes) -> bytes | None:
        """Asks and waits for the answer; None when the other end is gone. Not on the thread of the hub."""


parents: list[Link] = []
"""Of a placed child: its end of the pipe."""


def ask_parent(kind: int, body: bytes) -> bytes | None:
    """Asks the parent; None when it is gone, or has no answer."""
    return (parents[0].ask(kind, body) or None) if parents else None
