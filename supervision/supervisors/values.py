"""The values that supervisors hand out: answers, exit reasons, and the requests that they answer."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from ...actors import ChildSpec, ChildType, Crash, Pid, Running, Shutdown, StartError
from ...actors.engine import in_words, is_loop_closed


@attrs.frozen
class ChildInfo:
    """One child, as `which_children` lists it.

    Attributes:
        id: The id of its spec; None under a dynamic supervisor, whose children are known by their Pids.
        pid: Its process; `"restarting"` or `"backing_off"` while it is going to be started again; None if it
            does not run.
        type: `"worker"` or `"supervisor"`.
    """

    id: Any
    pid: Pid | Literal["restarting", "backing_off"] | None
    type: ChildType


@attrs.frozen
class Counts:
    """How many children a supervisor has.

    Attributes:
        specs: All of them, whether they run or not.
        active: Those that run.
        supervisors: Those that are supervisors, whether they run or not.
        workers: Those that are workers, whether they run or not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int


@attrs.frozen
class FailedToStartChild:
    """Why a supervisor did not start: it exits with `Shutdown(FailedToStartChild(id, reason))`.

    As text it names the children down to the one on which it depends, and that one's reason:
    `child 'services': child 'database': OperationalError: unable to open database file`.

    Semantics: OTP's `{shutdown, {failed_to_start_child, Id, Reason}}`.
    """

    id: Any
    reason: object

    def __str__(self) -> str:
        return f"child {self.id!r}: {in_words(self.reason)}"


def failed_start(reason: object) -> tuple[tuple[Any, ...], object]:
    """The ids down to the child on which a failed start depends, and why that one did not start."""
    path: tuple[Any, ...] = ()
    while isinstance(reason, Shutdown) and isinstance(reason.detail, FailedToStartChild):
        path, reason = (*path, reason.detail.id), reason.detail.reason
    return path, reason


def loop_is_gone(reason: object) -> bool:
    """Whether a start failed as an event loop is closed: that on which the child, something below it, or what
    its init starts, was to live.
    """
    while True:
        _, reason = failed_start(reason)
        if not (isinstance(reason, Crash) and isinstance(reason.exception, StartError)):
            break
        reason = reason.exception.reason
    return is_loop_closed(reason)


class Restarting(Running):
    """The child does not run at this moment, but is about to be started again; terminate it first."""


# Requests -----------------------------------------------------------------------------------------


@attrs.frozen
class StartChild:
    """Start a new child and list it."""

    spec: ChildSpec


@attrs.frozen
class TerminateChild:
    """Stop a child: by its id, or under a dynamic supervisor by its Pid."""

    target: Any


@attrs.frozen
class RestartChild:
    """Start a listed child that is down."""

    id: Any


@attrs.frozen
class DeleteChild:
    """Take a child that is down off the list."""

    id: Any


@attrs.frozen
class GetChildSpec:
    """Tell the spec of a child: by its id, or under a dynamic supervisor by its Pid."""

    target: Any


@attrs.frozen
class WhichChildren:
    """List the children."""


@attrs.frozen
class CountChildren:
    """Count the children."""


@attrs.frozen
class Resize:
    """Change the number of partitions."""

    partitions: int


Request: TypeAlias = (
    StartChild | TerminateChild | RestartChild | DeleteChild | GetChildSpec | WhichChildren | CountChildren
)

REQUESTS: Final = get_args(Request)


@attrs.frozen
class Refused:
    """The answer to a request that can't be met: what the caller is to be told."""

    error: Exception


# What a supervisor tells itself -------------------------------------------------------------------


@attrs.frozen
class RetryRestart:
    """Try the failed restart of a child again."""

    key: Any


@attrs.frozen
class EndWait:
    """The wait of a child before its restart is over."""

    key: Any
    token: int


Note: TypeAlias = "RetryRestart | EndWait"
