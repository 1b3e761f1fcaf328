"""A process of another OS process: somebody to be shown, and no one to send anything to."""

from __future__ import annotations

from typing import Any, NoReturn

import attrs

from ..actors.engine import check_alive
from .errors import NotHere


@attrs.frozen(order=True)
class FarPid:
    """A process somewhere else, as ``throttle.holders(name, everywhere=True)`` lists it.

    It prints, compares and hashes. Whatever sends, calls, links or monitors raises NotHere: resprout carries
    no messages between machines.

    Attributes:
        node: of the engine over there: the host and the OS process, unless it was given another name.
        text: what its Pid looks like there.
    """

    node: str
    text: str

    def __str__(self) -> str:
        return f"{self.text}@{self.node}"

    def _not_here(self, *args: Any, **kwargs: Any) -> NoReturn:
        check_alive()
        raise NotHere(self)

    call = cast = send = tell = ask = stop = proxy = _not_here
    # Asked wherever a server is wanted, such as by ``GenServer.call`` and ``process.monitor``.
    whereis_name = register_name = unregister_name = _not_here
