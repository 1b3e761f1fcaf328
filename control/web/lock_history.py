"""What a lock did of late, a point a moment, for as long as somebody watches it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs

from ... import throttle
from ...actors import LockNotFound, telemetry
from ...actors.engine import lock

__all__ = ["POINTS", "LockHistory"]

POINTS = 240
"""Points that are kept of a lock."""
_EVENTS = ("wait", "hold")
_LEAST = 0.2
"""Seconds between two points: several pages may watch one lock."""
_MOST = 100_000
"""Waits, and holds, of which a point tells at the most."""


@attrs.define
class _Watched:
    watchers: int = 0
    number: int = 0
    taken: float = float("-inf")
    points: dict[int, list[Any]] = attrs.field(factory=dict)
    heard: dict[str, deque[float]] = attrs.field(
        factory=lambda: {event: deque(maxlen=_MOST) for event in _EVENTS}
    )


def _taken(heard: deque[float]) -> tuple[int, float | None, float | None]:
    """How many were heard of, how long they took on average, and at the most; they are taken out."""
    found = []
    while True:
        if not heard:
            break
        found.append(heard.popleft())
    count = len(found)
    return (count, round(sum(found) / count, 6), round(max(found), 6)) if count else (0, None, None)


class LockHistory:
    """Hears of waits and holds from the first `watch` to the last `leave`; a lock tells nobody otherwise."""

    def __init__(self) -> None:
        self._lock = lock()
        self._watched: dict[str, _Watched] = {}

    def watch(self, name: str) -> None:
        """Begins to keep points of a lock, or goes on for one more."""
        with self._lock:
            if not self._watched:
                for event in _EVENTS:
                    telemetry.attach(self._id(event), ("resprout", "throttle", event), self._hear)
            self._watched.setdefault(name, _Watched()).watchers += 1

    def leave(self, name: str) -> None:
        """Ends what `watch` began."""
        with self._lock:
            watched = self._watched[name]
            watched.watchers -= 1
            if not watched.watchers:
                del self._watched[name]
            if not self._watched:
                for event in _EVENTS:
                    telemetry.detach(self._id(event))

    def points(self, name: str, now: float) -> dict[str, list[Any]]:
        """The points of a lock that is watched, the oldest first, with one of now.

        Args:
            name: The lock's.
            now: In seconds.

        Returns:
            By their numbers: the time; running, waiting; how many grants there were since the point before,
            the mean and the longest wait of those; how many releases, the mean and the longest hold.
        """
        with self._lock:
            watched = self._watched.get(name)
            if watched is None:
                return {}
            if now - watched.taken >= _LEAST:
                self._take(name, watched, now)
            return {str(number): point for number, point in watched.points.items()}

    def _take(self, name: str, watched: _Watched, now: float) -> None:
        try:
            state = throttle.lock_state(name)
        except LockNotFound:
            return
        watched.number += 1
        watched.taken = now
        waits, holds = (_taken(watched.heard[event]) for event in _EVENTS)
        watched.points[watched.number] = [round(now, 2), state.running, state.waiting, *waits, *holds]
        for number in list(islice(watched.points, max(0, len(watched.points) - POINTS))):
            del watched.points[number]

    def _id(self, event: str) -> tuple[str, int, str]:
        return ("resprout.control.web", id(self), event)

    def _hear(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        # In whatever thread, so no lock is taken.
        watched = self._watched.get(metadata["name"])
        if watched is not None:
            watched.heard[event[-1]].append(measurements["seconds"])
