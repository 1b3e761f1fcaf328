"""A process of another OS process: somebody to be shown, and no one to send anything to."""

from __future__ import annotations

from functools import total_ordering
from typing import Any, NoReturn

import attrs

from ..actors import Pid
from ..actors.engine import check_alive
from .errors import NotHere, NotSeenHere


@total_ordering
@attrs.frozen
class FarPid:
    """A process somewhere else, as ``throttle.holders(name, everywhere=True)`` lists it.

    It prints, compares (processes of this OS process come first) and hashes. Whatever sends, calls, links,
    monitors or looks at it raises NotHere: resprout carries no messages between machines. What it would be
    like here (`alive`) is an attribute that it does not have, for `hasattr` and `inspect` as well.

    Attributes:
        node: of the engine over there: the host and the OS process, unless it was given another name.
        text: what its Pid looks like there.
    """

    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.text}@{self.node}"

    def __lt__(self, other: object) -> bool:
        if isinstance(other, FarPid):
            return (self.node, self.text) < (other.node, other.text)
        return False if isinstance(other, Pid) else NotImplemented

    def not_here(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Say so.

        Raises:
            NotHere: always.
        """
        check_alive()
        raise NotHere(self)

    def _not_seen(self) -> NoReturn:
        check_alive()
        raise NotSeenHere(self)

    call = cast = send = request = tell = ask = stop = proxy = is_alive = mailbox_length = not_here
    alive = dead = exit_reason = left = property(_not_seen)
    # Asked wherever a server is wanted, such as by ``GenServer.call`` and ``process.monitor``.
    whereis_name = register_name = unregister_name = not_here
