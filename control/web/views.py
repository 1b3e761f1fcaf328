"""What each view of the page shows, as JSON: the functions behind the commands, and what is watched."""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ...actors import Killed
from ...actors.engine import kernel, lock
from ..errors import Refusal
from ..places import ROOT, find
from ..requests import REQUESTS, Argument, check_arguments
from ..system import RunningSystem
from ..words import shown
from .lock_history import LockHistory
from .outline import AllBut, Rates, outline, timed
from .timeline import Timeline

__all__ = ["VIEWS", "Look", "Watcher", "read_look"]

logger = logging.getLogger("resprout.control")
_ENTRIES = 100
"""Entries of a registry on a page."""
_LOGS = 50
_LISTED = 100
"""Holders, and waiters, that are listed of a lock."""


_ROOM = re.compile(r"resprout\.\w+")


def _paths(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 2_000 and all(isinstance(each, str) for each in value)


_PS, _REGISTRY = REQUESTS["ps"].args, REQUESTS["registry"].args
_SEEN = Argument(
    "a whole number from 1 to 200", lambda value: type(value) is int and 1 <= value <= 200, required=True
)
_PAGE = Argument(
    "a whole number from 0 on", lambda value: type(value) is int and 0 <= value < 10**7, required=True
)
_LOCK = attrs.evolve(REQUESTS["locks"].args["lock"], required=True)


@attrs.frozen
class View:
    """One of the views.

    Args:
        show: Makes its data.
        args: What a look at it has to say.
        often: How many times as often as others it is looked at.
        subject: The arguments of which another value means another thing that is shown, and not another part
            of the same.
    """

    show: Callable[..., dict[str, Any]]
    args: Mapping[str, Argument] = attrs.field(factory=dict)
    often: float = 1.0
    subject: tuple[str, ...] = ()


@attrs.frozen
class Look:
    """What a page looks at.

    Args:
        view: The name of a view.
        args: What of it.
        number: Of the look; a page counts them.
    """

    view: str
    args: Mapping[str, Any] = attrs.field(factory=dict)
    number: int = 0

    @property
    def subject(self) -> tuple[Any, ...]:
        """What tells it from looks at other things."""
        return (self.view, *(self.args.get(name) for name in VIEWS[self.view].subject))


def read_look(told: Any) -> Look:
    """A look from JSON: `view`, `number`, and the arguments of the view.

    Raises:
        Refusal: It is none.
    """
    if not isinstance(told, dict):
        raise Refusal("bad_request", f"expected an object, got: {shown(told, 80)}")
    args = dict(told)
    name, number = args.pop("view", None), args.pop("number", 0)
    view = VIEWS.get(name) if isinstance(name, str) else None
    if view is None or not isinstance(name, str):
        raise Refusal("bad_request", f"expected view to be one of {', '.join(VIEWS)}, got: {shown(name, 80)}")
    if type(number) is not int:
        raise Refusal("bad_request", f"expected number to be a whole number, got: {shown(number, 80)}")
    check_arguments(f"the view {name}", args, view.args)
    return Look(name, args, number)


class Watcher:
    """One page: what it watches from its first look on, and what it has seen.

    Args:
        system: Of which.
        locks: What is kept of locks.
        timeline: What is kept of starts and crashes.
        allow_actions: Whether the page may act.
    """

    def __init__(
        self, system: RunningSystem, locks: LockHistory, timeline: Timeline, allow_actions: bool
    ) -> None:
        self.system = system
        self._locks = locks
        self._timeline = timeline
        self._allow_actions = allow_actions
        self.rates = Rates()
        self._changing = lock()
        self._watches = self._left = False
        self._lock: str | None = None
        self._asked = ("", 0)
        self._failed: set[str] = set()

    def leave(self) -> None:
        """It watches no more, also if a look is still under way, which may come later than this."""
        with self._changing:
            self._left = True
            if self._watches:
                self._watches = False
                self._timeline.leave()
            self._watch_lock(None)

    def seen(self, look: Look) -> dict[str, Any]:
        """What is seen with a look: `look`, its number; `now`, in seconds; `system`; `view`, or in its place
        `refused`, why it cannot be shown.
        """
        with self._changing:
            if not self._left:
                if not self._watches:
                    self._watches = True
                    self._timeline.watch()
                self._watch_lock(look.args["lock"] if look.view == "lock" else None)
        status = self.system.status()
        told = {
            "look": look.number,
            "now": round(kernel.clock.now(), 2),
            "system": {
                **{key: value for key, value in status.items() if key != "seconds"},
                "actions": self._allow_actions,
                "libraries": _libraries(),
            },
        }
        try:
            return {**told, "view": VIEWS[look.view].show(self, **look.args)}
        except Refusal as refused:
            why = refused
        except Killed:
            raise
        except Exception as error:
            if look.view not in self._failed:
                self._failed.add(look.view)
                logger.exception("the page could not show the view %s", look.view)
            why = Refusal("failed", f"{look.view} failed: {type(error).__name__}; the log has the reason")
        return {**told, "refused": {"message": why.message, "meant": list(why.meant)}}

    def _watch_lock(self, name: str | None) -> None:
        """Watches a lock in place of the one before, or none."""
        if name == self._lock:
            return
        if name is not None:
            self._locks.watch(name)
        before, self._lock = self._lock, name
        if before is not None:
            self._locks.leave(before)

    # Views ------------------------------------------------------------------------------------------

    def tree(self, **args: Any) -> dict[str, Any]:
        """The visible rows of the tree."""
        root = self.system.application.root
        paths, all_but = frozenset(args.pop("closed", ())), args.pop("all_but", False)
        closed = AllBut(paths | {ROOT}) if all_but else paths
        return outline(root if root is not None and root.alive else None, self.rates, closed=closed, **args)

    def process(self, process: str) -> dict[str, Any]:
        """All that is known of a process."""
        now = kernel.clock.now()
        info = timed(self.system.info(process), now)
        place = find(self.system.application.root, process)
        handled = getattr(place.pid, "handled", None)
        pid = str(place.pid)
        if handled is not None:
            # Less what came from here: each look asks it for its state.
            self._asked = (pid, self._asked[1] + 1 if self._asked[0] == pid else 1)
            handled = max(0, handled - self._asked[1])
        told = {**info, "rate": self.rates.take({pid: handled}, now)[pid], "handled": handled}
        logs = [] if place.path is None else self.system.logs(place.label, _LOGS)
        return {
            **told,
            "in_tree": place.path is not None,
            "logs": {str(each["number"]): each for each in logs},
        }

    def locks(self) -> dict[str, Any]:
        """Every lock."""
        found = self.system.locks()
        return {"locks": {each["name"]: _without_people(each) for each in found}}

    def lock(self, lock: str) -> dict[str, Any]:
        """One lock, with who holds it, who waits, and what it did of late."""
        (told,) = self.system.locks(lock)
        people = {key: told[key][:_LISTED] for key in ("holders", "waiters")}
        return {**told, **people, "points": self._locks.points(lock, kernel.clock.now())}

    def registries(self) -> dict[str, Any]:
        """Every registry."""
        return {"registries": {each["name"]: each for each in self.system.registries()}}

    def registry(self, registry: str, page: int, key: str | None = None) -> dict[str, Any]:
        """A page of the entries of a registry."""
        figures = next((each for each in self.system.registries() if each["name"] == registry), None)
        told = self.system.registry(registry, key=key, offset=page * _ENTRIES, limit=_ENTRIES)
        return {"figures": figures, "page": page, "size": _ENTRIES, **told}

    def crashes(self) -> dict[str, Any]:
        """The crashes of late, folded."""
        return {"crashes": {str(each["number"]): each for each in self.system.crashes(100)}}

    def timeline(self) -> dict[str, Any]:
        """Starts and crashes by the second."""
        return self._timeline.shown()


@functools.cache
def _libraries() -> list[str]:
    """Where the code lies that is not the program's own: Python's, what is installed, and this library's."""
    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    rooms = [module for name, module in list(sys.modules.items()) if _ROOM.fullmatch(name)]
    found |= {path for room in rooms for path in getattr(room, "__path__", ())}
    return sorted(each.rstrip(os.sep) + os.sep for each in found if each)


def _without_people(told: dict[str, Any]) -> dict[str, Any]:
    longest = max((each["seconds"] for each in told["waiters"]), default=None)
    return {**told, "holders": None, "waiters": None, "longest": longest}


VIEWS: dict[str, View] = {
    "tree": View(
        Watcher.tree,
        {
            "offset": attrs.evolve(_PS["offset"], required=True),
            "limit": _SEEN,
            "closed": Argument("a list of at most 2000 paths", _paths),
            "all_but": Argument("true or false", lambda value: isinstance(value, bool)),
            **{name: _PS[name] for name in ("sort", "match", "state")},
        },
    ),
    "process": View(Watcher.process, REQUESTS["info"].args, subject=("process",)),
    "locks": View(Watcher.locks),
    "lock": View(Watcher.lock, {"lock": _LOCK}, 2.0, ("lock",)),
    "registries": View(Watcher.registries),
    "registry": View(
        Watcher.registry,
        {"registry": _REGISTRY["registry"], "key": _REGISTRY["key"], "page": _PAGE},
        subject=("registry", "key", "page"),
    ),
    "crashes": View(Watcher.crashes),
    "timeline": View(Watcher.timeline),
}
"""Every view, by name."""
