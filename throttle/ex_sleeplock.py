"""ExSleeplock with its own names and return shapes, for designs that are ported from Elixir line by line.

::

    from resprout.throttle import ex_sleeplock as ExSleeplock

    ("ok", pid) == ExSleeplock.new("process_foo", 2)
    result = ExSleeplock.execute("process_foo", lambda: some_work())

Atoms are str, tuples are tuples, maps are dicts. New code is better off with ``resprout.throttle``, whose
errors are exceptions.

Differs from ExSleeplock 0.10.2, where that fails its own purpose: nesting is counted (there, a nested
``execute`` frees the outer slot); a crash of the lock process loses no holder and no waiter (there, waiters
get ``lock_not_found`` and a second holder is let in).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from ..actors import AlreadyStarted, LockNotFound, NotHeld, Pid
from ..actors.engine import check_alive
from . import acquire as lock
from . import admin
from .slot import slot
from .unfinished import check_callable

T = TypeVar("T")
HELP = "Locks must have a unique name indicated by a non-empty str and slots must be a positive integer"
NotFound: TypeAlias = tuple[Literal["error"], Literal["lock_not_found"]]
Unavailable: TypeAlias = tuple[Literal["error"], Literal["unavailable"]]
New: TypeAlias = (
    tuple[Literal["ok"], Pid]
    | tuple[Literal["error"], Literal["invalid"], str]
    | tuple[Literal["error"], tuple[Literal["already_started"], Pid]]
)
_NOT_FOUND: NotFound = ("error", "lock_not_found")

__all__ = [
    "acquire",
    "attempt",
    "execute",
    "help",
    "lock_state",
    "new",
    "release",
    "start_locks",
    "stop_lock",
]


def new(name: Any, num_slots: Any) -> New:
    """Create a lock: ``("ok", pid)``, ``("error", "invalid", text)`` or
    ``("error", ("already_started", pid))``.
    """
    try:
        return ("ok", admin.new(name, num_slots))
    except ValueError:
        return ("error", "invalid", HELP)
    except AlreadyStarted as error:
        return ("error", ("already_started", error.pid))


def start_locks(locks: Iterable[Mapping[str, Any]]) -> list[New]:
    """Create locks from a configuration, as ``config :ex_sleeplock, locks: [...]`` does."""
    check_alive()
    return [new(each.get("name"), each.get("num_slots")) for each in locks]


def acquire(name: str) -> Literal["ok"] | NotFound:
    """Take a slot, waiting for as long as it takes; ``release`` gives it back."""
    try:
        lock.acquire(name)
    except LockNotFound:
        return _NOT_FOUND
    return "ok"


def attempt(name: str) -> Literal["ok"] | Unavailable | NotFound:
    """Take a slot if one is free."""
    try:
        grant = lock.attempt(name)
    except LockNotFound:
        return _NOT_FOUND
    return "ok" if grant is not None else ("error", "unavailable")


def release(name: str) -> Literal["ok"] | NotFound:
    """Give a slot back; ``"ok"`` also when none is held."""
    try:
        lock.release(name)
    except LockNotFound:
        return _NOT_FOUND
    except NotHeld:
        pass
    return "ok"


def execute(name: str, fun: Callable[[], T]) -> T | NotFound:
    """Call a function with a slot, here: its value, or the error of a lock that is not there."""
    check_alive()
    check_callable(fun, "run")
    block = slot(name)
    try:
        block.__enter__()
    except LockNotFound:
        return _NOT_FOUND
    try:
        return fun()
    finally:
        block.__exit__(None, None, None)


def lock_state(name: str) -> dict[str, int] | NotFound:
    """Count: ``{"running": ..., "waiting": ...}``."""
    try:
        state = admin.lock_state(name)
    except LockNotFound:
        return _NOT_FOUND
    return {"running": state.running, "waiting": state.waiting}


def stop_lock(name: str) -> Literal["ok"] | NotFound:
    """End a lock: ``ExSleeplock.LockSupervisor.stop_lock/1``."""
    try:
        admin.stop_lock(name)
    except LockNotFound:
        return _NOT_FOUND
    return "ok"


def help() -> str:
    """Say what ``new`` expects."""
    check_alive()
    return HELP
