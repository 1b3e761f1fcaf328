"""What was started and what crashed, a second each, and the last of them one by one."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import attrs

from ...actors import Pid, is_orderly, telemetry
from ...actors.engine import in_words, kernel, lock
from ...supervision import ChildExited, ChildStarted, GaveUp
from ..places import ROOT, place_of, top_of, walk
from ..system import RunningSystem
from ..words import label

__all__ = ["Timeline"]

_PREFIX = ("resprout", "supervisor")
_EVENTS = ("child_started", "child_exited", "gave_up")
_KEPT = 2_000
_HEARD = 20_000
_SHOWN = 200
_SECONDS = 900
"""Seconds of the past that are shown."""


@attrs.frozen
class _Happened:
    at: float
    what: str
    path: str
    why: str = ""


class Timeline:
    """Hears of starts and ends from the first `watch` to the last `leave`.

    Of before, it knows what is still to be seen: when each child was started last, and when each kind of
    crash was seen first and last.

    Args:
        system: Of which.
    """

    def __init__(self, system: RunningSystem) -> None:
        self._system = system
        self._lock = lock()
        self._watchers = 0
        self._heard: deque[_Happened] = deque(maxlen=_HEARD)
        self._happened: dict[str, _Happened] = {}
        self._counts: dict[str, list[int]] = {}
        self._number = 0
        self._since = 0.0
        self._seeded = False

    def watch(self) -> None:
        """Begins to listen, or goes on for one more."""
        with self._lock:
            self._watchers += 1
            if self._watchers > 1:
                return
            for kept in (self._heard, self._happened, self._counts):
                kept.clear()
            self._since, self._seeded = _wall(), False
            for event in _EVENTS:
                telemetry.attach(self._id(event), (*_PREFIX, event), self._hear)

    def leave(self) -> None:
        """Ends what `watch` began."""
        with self._lock:
            self._watchers -= 1
            if not self._watchers:
                for event in _EVENTS:
                    telemetry.detach(self._id(event))

    def shown(self) -> dict[str, Any]:
        """`seconds`, by the second its starts and crashes, and `events`, the last by number, oldest first."""
        with self._lock:
            if not self._seeded:
                # Not when the page opens, which is to be seen at once: it looks at every child.
                self._seeded = True
                for each in sorted(self._before(), key=lambda each: each.at):
                    self._note(each)
            while True:
                if not self._heard:
                    break
                self._note(self._heard.popleft())
            first = int(_wall()) - _SECONDS
            for second in [second for second in self._counts if int(second) < first]:
                del self._counts[second]
            shown = islice(self._happened.items(), max(0, len(self._happened) - _SHOWN), None)
            events = {number: attrs.asdict(each) for number, each in shown}
            return {"seconds": copy.deepcopy(self._counts), "span": _SECONDS, "events": events}

    def _before(self) -> Iterator[_Happened]:
        root = self._system.application.root
        now, wall = kernel.clock.now(), _wall()
        for place in walk(top_of(root)) if root is not None and root.alive else ():
            row = place.row
            if row is None or place.pid is None:
                continue
            at = wall - max(0.0, now - row.started_at)
            if wall - _SECONDS <= at < self._since:
                yield _Happened(round(at, 3), "restarted" if row.restarts else "started", place.label)
        for each in self._system.crashes(100):
            moments: Iterable[float] = {each["first"], each["last"]}
            path, why = each["path"] or each["module"], each["reason"]
            told = (at for at in moments if wall - _SECONDS <= at < self._since)
            yield from (_Happened(at, "crashed", path, why) for at in told)

    def _note(self, each: _Happened) -> None:
        counts = self._counts.setdefault(str(int(each.at)), [0, 0])
        if each.what in ("started", "restarted"):
            counts[0] += 1
        elif each.what != "stopped":
            counts[1] += 1
        self._number += 1
        self._happened[str(self._number)] = each
        if len(self._happened) > _KEPT:
            del self._happened[next(iter(self._happened))]

    def _hear(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        # In the supervisor's process: quick, and without a lock.
        happened = metadata["event"]
        told = _TOLD.get(type(happened))
        if told is None or not self._is_ours(happened.supervisor):
            return
        what, why = told(happened)
        pid = getattr(happened, "pid", None)
        path = None if pid is None else place_of(pid).path
        if path is None:
            path = (*(place_of(happened.supervisor).path or ()), label(happened.id))
        self._heard.append(_Happened(round(_wall(), 3), what, "/".join(path) or ROOT, why))

    def _is_ours(self, pid: Pid) -> bool:
        master = self._system.application.master
        above: Pid | None = pid
        while above is not None and above is not master:
            above = above.parent
        return above is not None

    def _id(self, event: str) -> tuple[str, int, str]:
        return ("resprout.control.web", id(self), event)


def _exited(happened: ChildExited) -> tuple[str, str]:
    why = in_words(happened.reason).partition("\n")[0][:500]
    if happened.stopped or is_orderly(happened.reason):
        return "stopped", why
    return "crashed", why


_TOLD: dict[type, Callable[[Any], tuple[str, str]]] = {
    ChildStarted: lambda happened: ("restarted" if happened.restarts else "started", ""),
    ChildExited: _exited,
    GaveUp: lambda happened: ("gave up", happened.cause),
}


def _wall() -> float:
    return time.time()  # noqa: TID251 -- to be shown beside crashes and logs
