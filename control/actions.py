"""What can be done to a running system: each waits until it is done, and says as JSON what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .. import throttle
from ..actors import ConfigError, GenServer, Killed, Pid, process, sys
from ..actors.engine import kernel
from ..supervision import Application, DynamicSupervisor, Supervisor
from ..supervision.engine import siblings_of
from .errors import Refusal
from .locks import lock_named
from .places import Place, find
from .processes import place_named, row_of
from .words import as_json, label, shown

__all__ = [
    "call",
    "pause",
    "reload",
    "resize",
    "restart",
    "resume",
    "send",
    "start",
    "stop",
    "suspend",
    "terminate",
]

T = TypeVar("T")
_ANSWER = 5.0
"""Seconds that a process has to suspend itself or to go on."""


def _tried(what: str, fn: Callable[..., T], *args: Any) -> T:
    """Does something, and refuses in the words of the error that it raises.

    Raises:
        Refusal: It failed.
    """
    try:
        return fn(*args)
    except (Refusal, Killed):
        raise
    except Exception as error:
        raise Refusal("failed", f"{what} failed: {type(error).__name__}: {label(error)}") from error


def _child(root: Pid | None, word: str) -> tuple[Place, Pid, Any, bool]:
    """A child with its supervisor, the id that this knows it by, and whether that keeps a child that is down.

    Raises:
        Refusal: There is no such place, or nobody supervises it.
    """
    place = find(root, word)
    supervisor = place.supervisor
    siblings = None if supervisor is None else siblings_of(supervisor)
    if place.row is None or supervisor is None or siblings is None:
        what = "the root of the tree" if place.path == () else "no child of a supervisor"
        raise Refusal("no_child", f"{place.label} is {what}; `stop` ends the whole system")
    return place, supervisor, place.row.spec.id, siblings.keeps


def _row(place: Place, pid: Pid | None) -> dict[str, Any]:
    """The row of a child after something was done to it."""
    if place.row is None:
        return row_of(place, kernel.clock.now())
    return row_of(Place(place.path, pid, place.row, place.supervisor), kernel.clock.now())


def restart(root: Pid | None, word: str) -> dict[str, Any]:
    """Stops a child in order, within its shutdown time, and starts it again by the same spec.

    A dynamic child gets a new number. If the start fails, the child stays down; a dynamic one is gone then.

    Raises:
        Refusal: There is no such child, it is one that nobody could start again, which then goes on, or its
            start failed.
    """
    place, supervisor, id, keeps = _child(root, word)
    assert place.row is not None
    if not keeps:
        return _restart_dynamic(place, supervisor)
    if place.row.state != "down":
        _check_kept(place)
        _tried(f"terminating {place.label}", Supervisor.terminate_child, supervisor, id)
    pid = _tried(f"starting {place.label}", Supervisor.restart_child, supervisor, id)
    return _row(find(root, place.label), pid)


def _check_kept(place: Place) -> None:
    """Looks whether a child could be started again when it has been stopped.

    Raises:
        Refusal: It is temporary: its arguments are not even kept while it runs, whoever supervises it.
    """
    if place.row is not None and place.row.spec.restart == "temporary":
        raise Refusal(
            "temporary",
            f"{place.label} is temporary: its supervisor forgets it when it stops, and could not start "
            "it again; `terminate` ends it, and `restart: transient` in its spec lets it be restarted",
        )


def _restart_dynamic(place: Place, supervisor: Pid) -> dict[str, Any]:
    assert place.row is not None
    pid = _running(place)
    spec = place.row.spec
    _check_kept(place)
    _tried(f"terminating {place.label}", DynamicSupervisor.terminate_child, supervisor, pid)
    try:
        started = _tried(f"starting {place.label}", DynamicSupervisor.start_child, supervisor, spec)
    except Refusal as refused:
        gone = "it was stopped, and its supervisor, which is dynamic, has forgotten it"
        raise Refusal(refused.kind, f"{refused.message}; {gone}") from refused
    siblings = siblings_of(supervisor)
    row = None if siblings is None or started is None else siblings.table.by_pid(started)
    path = (*(place.path or ())[:-1], f"{label(spec.id)} #{row.key}") if row is not None else place.path
    return _row(Place(path, started, row, supervisor), started)


def _running(place: Place) -> Pid:
    if place.pid is None:
        assert place.row is not None
        raise Refusal("not_running", f"{place.label} does not run: it is {place.row.state}")
    return place.pid


def terminate(root: Pid | None, word: str) -> dict[str, Any]:
    """Stops a child in order, within its shutdown time. It stays down until `start`; a dynamic or temporary
    one is forgotten.

    Raises:
        Refusal: There is no such child.
    """
    place, supervisor, id, keeps = _child(root, word)
    assert place.row is not None
    if not keeps:
        _tried(f"terminating {place.label}", DynamicSupervisor.terminate_child, supervisor, _running(place))
    elif place.row.state == "down":
        raise Refusal("not_running", f"{place.label} is down already")
    else:
        _tried(f"terminating {place.label}", Supervisor.terminate_child, supervisor, id)
    return {"path": place.label, "state": "down"}


def start(root: Pid | None, word: str) -> dict[str, Any]:
    """Starts a child that is down.

    Raises:
        Refusal: There is no such child, it runs, or its start failed.
    """
    place, supervisor, id, keeps = _child(root, word)
    assert place.row is not None
    if not keeps or place.row.state == "running":
        raise Refusal("running", f"{place.label} runs already; `restart` stops it first")
    pid = _tried(f"starting {place.label}", Supervisor.restart_child, supervisor, id)
    return _row(place, pid)


def suspend(root: Pid | None, word: str) -> dict[str, Any]:
    """Has a process leave its messages alone until `resume`.

    Raises:
        Refusal: There is no such process, it is no server, or it does not answer.
    """
    place, pid = place_named(root, word)
    _tried(f"suspending {place.label}", sys.suspend, pid, _ANSWER)
    return {"path": place.label, "pid": str(pid), "status": "suspended"}


def resume(root: Pid | None, word: str) -> dict[str, Any]:
    """Has a suspended process go on.

    Raises:
        Refusal: There is no such process, it is no server, or it does not answer.
    """
    place, pid = place_named(root, word)
    _tried(f"resuming {place.label}", sys.resume, pid, _ANSWER)
    return {"path": place.label, "pid": str(pid), "status": "running"}


def call(root: Pid | None, word: str, message: Any, timeout: float, tuples: bool) -> dict[str, Any]:
    """Calls a server with a message and waits for its reply.

    Args:
        root: The root of the tree.
        word: The process.
        message: Of what JSON knows.
        timeout: Seconds.
        tuples: Whether arrays come as tuples.

    Returns:
        `value`, the reply as JSON where it is made of what JSON knows (`json` tells), and its `text`.

    Raises:
        Refusal: There is no such process, it is no server, or the call failed.
    """
    place, pid = place_named(root, word)
    reply = _tried(f"the call of {place.label}", GenServer.call, pid, _given(message, tuples), timeout)
    whole, value = as_json(reply)
    return {"pid": str(pid), "json": whole, "value": value, "text": shown(reply)}


def send(root: Pid | None, word: str, message: Any, cast: bool, tuples: bool) -> dict[str, Any]:
    """Sends a process a message, which `handle_info` gets, or with `cast` `handle_cast`.

    Raises:
        Refusal: There is no such process.
    """
    place, pid = place_named(root, word)
    fn: Callable[..., object] = GenServer.cast if cast else process.send
    _tried(f"sending to {place.label}", fn, pid, _given(message, tuples))
    return {"pid": str(pid), "sent": True}


def _given(message: Any, tuples: bool) -> Any:
    if not tuples:
        return message
    if isinstance(message, list):
        return tuple(_given(each, tuples) for each in message)
    if isinstance(message, dict):
        return {key: _given(each, tuples) for key, each in message.items()}
    return message


def resize(lock: str, num_slots: int) -> dict[str, Any]:
    """Changes how many slots a lock has.

    Raises:
        Refusal: There is no such lock, or no such number of slots.
    """
    _tried(f"resizing {lock}", throttle.resize, lock_named(lock), num_slots)
    return {"name": lock, "num_slots": throttle.lock_info(lock).num_slots}


def pause(lock: str, off: bool) -> dict[str, Any]:
    """Lets nobody into a lock until it is told to go on; or tells it to.

    Raises:
        Refusal: There is no such lock.
    """
    fn = throttle.resume if off else throttle.pause
    _tried(f"pausing {lock}", fn, lock_named(lock))
    return {"name": lock, "paused": throttle.lock_info(lock).paused}


def stop(application: Application) -> dict[str, Any]:
    """Begins to stop the whole tree, in the reverse order of its start."""
    process.spawn(application.stop)
    return {"name": application.name, "stopping": True}


def reload(application: Application, dry_run: bool) -> dict[str, Any]:
    """Reads the tree file again and applies the difference, or only tells it.

    Raises:
        Refusal: The file has mistakes, or its root has changed; nothing was done.
    """
    try:
        done = application.reload(dry_run=dry_run)
    except ConfigError as error:
        raise Refusal("invalid_tree", str(error)) from error
    except (ValueError, RuntimeError) as error:
        raise Refusal("cannot_reload", str(error)) from error
    failed = [{"path": path, "reason": reason} for path, reason in done.failed]
    return {
        "dry_run": dry_run,
        "stopped": list(done.stopped),
        "restarted": list(done.restarted),
        "started": list(done.started),
        "failed": failed,
    }
