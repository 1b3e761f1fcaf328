"""Starting one child, whatever its start function does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from ...actors import ChildSpec, Crash, Killed, Pid, SpecError, StartError, process
from ...actors.engine import stand_in

logger = logging.getLogger("resprout.supervision")


@attrs.frozen
class Started:
    """There is a process, and it is linked to the supervisor."""

    pid: Pid


@attrs.frozen
class Ignored:
    """There is no process, and that is fine."""


@attrs.frozen
class Failed:
    """There is no process, and that is an error."""

    reason: object

    def error(self) -> StartError:
        """What the caller of `start_child` is told."""
        match self.reason:
            case StartError() as already:
                return already
            case _:
                return StartError(self.reason)


Outcome: TypeAlias = "Started | Ignored | Failed"

_IGNORED = Ignored()


def start_child(spec: ChildSpec, extra: tuple[Any, ...] = ()) -> Outcome:
    """Calls the start function of a spec, in the current process, and links what it started.

    Args:
        spec: The child's spec.
        extra: Arguments that come before those of the spec.

    Returns:
        What came of it. An exception is a failure, and so is a result that is no process.
    """
    start, args, kwargs = spec.start
    try:
        made = start(*extra, *args, **kwargs) if spec.placement == "local" else _place(spec, extra)
    except StartError as error:
        # A taken name is told as it is, so that callers get the Pid that has it.
        return Failed(error.reason if type(error) is StartError else error)
    except Exception as error:
        return Failed(Crash(error))
    except (Killed, KeyboardInterrupt):
        raise
    except BaseException as error:
        # `process.exit(reason)` unwinds with something that carries the reason; `sys.exit` does not.
        return Failed(getattr(error, "reason", Crash(error)))
    if made is None:
        return _IGNORED
    pid = _process_of(made)
    if pid is None or pid is process.current():
        return odd_result(spec, made)
    process.link(pid)
    return Started(pid)


def _place(spec: ChildSpec, extra: tuple[Any, ...]) -> Pid | None:
    from ..placement.proxy import place

    return place(spec, extra)


lost_listeners: list[Callable[[Pid], object]] = []
"""Told of every child that has ended and is not started again (see supervision.restarts)."""


def give_up_child(spec: ChildSpec, extra: tuple[Any, ...] = (), pid: Pid | None = None) -> None:
    """Tells who wants to know that the child, which has ended, is not started again.

    That is an attribute `given_up` of its start function, called with the same arguments; and whoever wants
    to know of all. For children that others wait for while they are being restarted; it must be quick.

    Args:
        spec: The child's spec.
        extra: Arguments that come before those of the spec.
        pid: Its last process, if it ever had one.
    """
    start, args, kwargs = spec.start
    given_up = getattr(start, "given_up", None)
    try:
        if given_up is not None:
            given_up(*extra, *args, **kwargs)
        if pid is not None:
            for tell in lost_listeners:
                tell(pid)
    except Exception:
        logger.exception("child %r: who was told that it is given up raised", spec.id)


def drain_child(spec: ChildSpec, pid: Pid, seconds: float | None) -> None:
    """Lets what the child does for others come to an end, before it is stopped for good.

    That is an attribute `drain` of its start function, called as `drain(pid, seconds)`; it may take so many
    seconds, None for any number, and comes back at once if there is nothing to wait for.
    """
    drain = getattr(spec.start[0], "drain", None)
    if drain is None:
        return
    try:
        drain(pid, seconds)
    except Exception:
        logger.exception("child %r: drain of its start function raised", spec.id)


def _process_of(made: object) -> Pid | None:
    if isinstance(made, Pid):
        return made
    if isinstance(made, str):
        return None
    try:
        # An actor of Pykka's that has ended already was a process; the link tells that it is none any more.
        return process.whereis(made) or stand_in(made)
    except TypeError:
        return None


def odd_result(spec: ChildSpec, made: object) -> Failed:
    """The failure of a start that returned something which can't be its child."""
    problem = f"expected it to return the Pid of a new process or None, got: {made!r}"
    return Failed(Crash(SpecError(spec.id, "start", problem)))
