"""The processes of a running tree as plain data: rows by page, and all that is known of one."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

from .. import registry, supervision, throttle
from ..actors import CallTimeout, Killed, Pid, process, sys
from ..actors.engine import kernel, stack_of
from ..supervision.engine import children_of, siblings_of
from .errors import Refusal
from .places import Place, find, top_of, walk
from .words import label, shown

__all__ = ["SORTS", "STATES", "counted", "info", "place_named", "row_of", "rows"]

_STATE = 0.5
"""Seconds that a process has to tell its state; one that is busy is shown without it."""
_KINDS = {
    throttle.__name__: "lock",
    registry.__name__: "registry",
    f"{supervision.__name__}.trees.asgi": "api",
}
STATES = ("running", "restarting", "backing_off", "down")
"""What a child can be."""
SORTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "mailbox": lambda row: -(row["mailbox"] or 0),
    "restarts": lambda row: -row["restarts"],
    "uptime": lambda row: float("inf") if row["uptime"] is None else row["uptime"],
}
"""What rows can be sorted by: the longest mailbox, the most restarts, the shortest uptime first."""


def row_of(place: Place, now: float) -> dict[str, Any]:
    """What a list of processes shows of one; it asks nobody."""
    row, pid = place.row, place.pid
    state = "running" if row is None else row.state
    if state == "running" and pid is None:
        state = "restarting"  # It is dead, and its supervisor has not heard of it yet.
    siblings = None if pid is None else siblings_of(pid)
    return {
        "path": place.label,
        "depth": 0 if place.path is None else len(place.path),
        "kind": _kind(place, supervisor=siblings is not None),
        "state": state,
        "pid": None if pid is None else str(pid),
        "name": None if pid is None or pid.name is None else label(pid.name),
        "module": None if pid is None or pid.actor is None else type(pid.actor).__name__,
        "restart": None if row is None else row.spec.restart,
        "restarts": 0 if row is None else row.restarts,
        "uptime": None if row is None or pid is None else round(max(0.0, now - row.started_at), 3),
        "mailbox": None if pid is None else pid.mailbox_length(),
        "strategy": None if siblings is None else siblings.strategy,
        "children": None if siblings is None else len(siblings.table),
    }


def _kind(place: Place, *, supervisor: bool) -> str:
    """`supervisor`, `lock`, `registry`, `api`, or `worker` for what the library does not supply."""
    if supervisor or (place.row is not None and place.row.spec.type == "supervisor"):
        return "supervisor"
    module = type(getattr(place.pid, "actor", None)).__module__
    for package, kind in _KINDS.items():
        if module == package or module.startswith(f"{package}."):
            return kind
    return "worker"


def rows(
    root: Pid | None,
    under: str = "/",
    offset: int = 0,
    limit: int = 100,
    sort: str | None = None,
    match: str | None = None,
    state: str | None = None,
) -> dict[str, Any]:
    """A page of the processes of a tree.

    Args:
        root: The root of the tree, None while there is none.
        under: The place at whose subtree to look.
        offset: How many rows come before the page.
        limit: How many rows it has at the most.
        sort: One of SORTS; by default parents first, in start order.
        match: Only those whose path, name or module has this text in it.
        state: Only those in this state.

    Returns:
        `rows`, and `next`, the offset of the next page, None if there is none.

    Raises:
        Refusal: There is no process `under`.
    """
    if root is None:
        return {"rows": [], "next": None}
    now = kernel.clock.now()
    top = top_of(root) if under in ("/", "") else find(root, under)
    if sort is None and match is None and state is None:
        page = list(islice(walk(top, offset), limit + 1))
        found = [row_of(place, now) for place in page[:limit]]
        return {"rows": found, "next": offset + limit if len(page) > limit else None}
    every = [row for place in walk(top) if _wanted(row := row_of(place, now), match, state)]
    if sort is not None:
        every.sort(key=SORTS[sort])
    page_of = every[offset : offset + limit]
    return {"rows": page_of, "next": offset + limit if len(every) > offset + limit else None}


def _wanted(row: dict[str, Any], match: str | None, state: str | None) -> bool:
    if state is not None and row["state"] != state:
        return False
    return match is None or any(match in (row[key] or "") for key in ("path", "name", "module"))


def counted(root: Pid | None) -> dict[str, int]:
    """How many children there are in each state, and how often they were restarted, all together."""
    states: Counter[str] = Counter()
    restarts = 0
    waiting = [] if root is None else [root]
    while waiting:
        rows = children_of(waiting.pop())
        states.update([row.state for row in rows])
        restarts += sum([row.restarts for row in rows])
        waiting += [row.pid for row in rows if row.spec.type == "supervisor" and row.pid is not None]
    return {
        "children": states.total(),
        **{state: states[state] for state in STATES},
        "restarts": restarts,
    }


def info(root: Pid | None, word: str) -> dict[str, Any]:
    """All that is known of a process; its state is asked for, the rest is looked at.

    Args:
        root: The root of the tree.
        word: A path, a Pid or a name, as of `find`.

    Raises:
        Refusal: There is no such process.
    """
    place = find(root, word)
    told = row_of(place, kernel.clock.now())
    told["spec"] = _spec(place)
    pid = place.pid
    seen = None if pid is None else process.info(pid)
    if pid is None or seen is None:
        return told
    told |= {
        "process": seen.kind,
        "status": seen.status,
        "busy": seen.busy,
        "trap_exit": seen.trap_exit,
        "parent": None if seen.parent is None else str(seen.parent),
        "links": [str(each) for each in seen.links],
        "monitors": [str(each) for each in seen.monitors],
        "monitored_by": [str(each) for each in seen.monitored_by],
        "owned": [shown(each, 200) for each in seen.owned],
    }
    told |= _where(pid)
    told |= _state(pid)
    return told


def _spec(place: Place) -> dict[str, Any] | None:
    if place.row is None:
        return None
    spec = place.row.spec
    start = spec.start[0]
    return {
        "restart": spec.restart,
        "shutdown": spec.shutdown if isinstance(spec.shutdown, float) else label(spec.shutdown),
        "significant": spec.significant,
        "max_restarts": spec.max_restarts,
        "placement": spec.placement,
        "start": f"{getattr(start, '__module__', '')}:{getattr(start, '__qualname__', shown(start, 200))}",
    }


def _where(pid: Pid) -> dict[str, Any]:
    """The function that its code is in, and the stack down to that."""
    frames = stack_of(pid)
    lines = [line for entry in traceback.format_list(frames[-50:]) for line in entry.splitlines()]
    function = f"{frames[-1].name} at {frames[-1].filename}:{frames[-1].lineno}" if frames else None
    return {"function": function, "stack": lines}


def _state(pid: Pid) -> dict[str, Any]:
    """Its state as `format_status` shows it; or why it is not known."""
    try:
        return {"server_state": shown(sys.get_status(pid, timeout=_STATE).state), "server_state_error": None}
    except CallTimeout:
        why = f"it did not answer within {_STATE:g} s"
    except Killed:
        raise
    except TypeError:
        why = f"it is a {pid.kind}, which has none"
    except Exception as error:
        why = f"{type(error).__name__}: {label(error)}"
    return {"server_state": None, "server_state_error": why}


def place_named(root: Pid | None, word: str) -> tuple[Place, Pid]:
    """A place whose process runs.

    Raises:
        Refusal: There is no such process, or it does not run.
    """
    place = find(root, word)
    if place.pid is None:
        state = "down" if place.row is None else place.row.state
        raise Refusal("not_running", f"{place.label} does not run: it is {state}")
    return place, place.pid
