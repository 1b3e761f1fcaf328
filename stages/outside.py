"""What the core of a stage asks of the world around it: which callbacks to call, whom to send to."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs

from ..actors import Pid, Ref, Stop

StageKind: TypeAlias = Literal["producer", "producer_consumer", "consumer"]
ALREADY_SUBSCRIBED: Final = "already_subscribed"
UNKNOWN: Final = "unknown_subscription"
NOPROC: Final = "noproc"


# Made once a callback: a frozen one costs more than twice as much.
@attrs.define
class Invoke:
    """Call this callback with these arguments, and send what it returns."""

    name: str
    args: tuple[Any, ...]


Steps: TypeAlias = "Generator[Invoke, Any, Stop[Any] | None]"


class Outside(Protocol):
    """What a core does beyond itself."""

    @property
    def me(self) -> Pid:
        """The stage."""

    def send(self, pid: Pid, message: object) -> None:
        """Send a message."""

    def find(self, server: Any) -> Pid | None:
        """The living process behind a server argument.

        Raises:
            ValueError: It is a stage that cannot be subscribed to from here.
        """

    def monitor(self, pid: Pid) -> Ref:
        """Be told of its death."""

    def demonitor(self, ref: Ref) -> None:
        """Be told no more."""

    def subscribed_to(self, pids: Sequence[Pid]) -> None:
        """These are the producers now."""

    def warn(self, text: str, *args: object) -> None:
        """Write a line to the log."""

    def warn_of_demand(self, text: str) -> None:
        """Write what a dispatcher says of its consumers to the log; it may say it all the time."""

    def discarded(self, count: int) -> None:
        """So many events found no room and were dropped."""
