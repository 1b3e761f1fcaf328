"""What happens in a supervisor, as values: the metadata `event` of its telemetry.

Telemetry events are `("resprout", "supervisor", NAME)` with the name of the class in `NAMES`; the metadata
holds the value as `event` and the Pid as `supervisor`. They are emitted in the supervisor's process, in
order.
"""

from __future__ import annotations

import time
from typing import Any, Final, TypeAlias

import attrs

from ...actors import Pid, telemetry


@attrs.frozen
class ChildStarted:
    """A child has been started, for the first time or again."""

    supervisor: Pid
    id: Any
    pid: Pid
    restarts: int


@attrs.frozen
class ChildExited:
    """A child has ended; `stopped` tells whether its supervisor made it."""

    supervisor: Pid
    id: Any
    pid: Pid
    reason: object
    stopped: bool


@attrs.frozen
class ChildRestarting:
    """A child is going to be started again, after `delay` seconds, and `stopping` are stopped for it."""

    supervisor: Pid
    id: Any
    restarts: int
    delay: float
    stopping: tuple[Any, ...]


@attrs.frozen
class GaveUp:
    """There were more than `max_restarts` in `max_seconds`, or none can succeed.

    Attributes:
        id: The child that was to be started again.
        scope: `"supervisor"`: the supervisor stops everything and exits; `"child"`: that child stays down.
        in_vain: Whether none can succeed, since the event loop on which the child lived is closed.
    """

    supervisor: Pid
    id: Any
    reason: object
    max_restarts: int
    max_seconds: float
    scope: str
    in_vain: bool = False

    @property
    def cause(self) -> str:
        """What made it give up, in words."""
        if self.in_vain:
            return "a start on an event loop that is closed"
        return f"more than {self.max_restarts} restarts in {self.max_seconds} s"


@attrs.frozen
class ShuttingDown:
    """The supervisor is stopping its children, in this order, because of `reason`."""

    supervisor: Pid
    reason: object
    order: tuple[Any, ...]


@attrs.frozen
class WouldNotStop:
    """A child did not end within its shutdown time and was killed.

    Attributes:
        seconds: How long it was given.
        stack: Where its thread was, one line a frame; empty if nothing of it was running.
    """

    supervisor: Pid
    id: Any
    pid: Pid
    seconds: float
    stack: tuple[str, ...]


SupervisorEvent: TypeAlias = (
    "ChildStarted | ChildExited | ChildRestarting | GaveUp | ShuttingDown | WouldNotStop"
)

_PREFIX: Final = ("resprout", "supervisor")
NAMES: Final[dict[type, tuple[str, ...]]] = {
    ChildStarted: (*_PREFIX, "child_started"),
    ChildExited: (*_PREFIX, "child_exited"),
    ChildRestarting: (*_PREFIX, "restarting"),
    GaveUp: (*_PREFIX, "gave_up"),
    ShuttingDown: (*_PREFIX, "shutdown"),
    WouldNotStop: (*_PREFIX, "would_not_stop"),
}


def wanted(kind: type) -> bool:
    """Whether anybody listens to events of that class, so that they need not be made for nobody."""
    return telemetry.heard(NAMES[kind])


def emit(event: SupervisorEvent) -> None:
    """Tells whoever listens."""
    name = NAMES[type(event)]
    if telemetry.heard(name):
        telemetry.tell(
            name, {"monotonic_time": time.monotonic()}, {"event": event, "supervisor": event.supervisor}
        )
