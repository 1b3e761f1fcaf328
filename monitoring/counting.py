"""What happens, counted while somebody wants the metrics: the counters and histograms.

Telemetry is emitted anywhere: in a finalizer, in a signal handler, in the step of a lock. So noting something
only appends to a queue, and who finds the queue long and the books free counts what is in it; nobody waits.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import attrs

from ..actors import is_orderly, telemetry
from ..actors.engine import lock
from ..cluster.statistics import TICK, VOID
from ..connectors.kafka import DEAD_LETTERED, ERROR, RETRIED, watch_ends
from ..stages.statistics import DISCARDED
from ..supervision import ChildExited, ChildRestarting, GaveUp, WouldNotStop
from .catalogue import BY_NAME, SECONDS, Labels
from .labels import child_of, label_of

Note: TypeAlias = "Callable[[str, Labels, float], None]"
_Counting: TypeAlias = "Callable[[Note, str, Mapping[str, Any], Mapping[str, Any]], None]"
_LONG: Final = 512
"""Entries of the queue after which whoever notes something sees to it that they are counted."""
_SUPERVISOR: Final = ("resprout", "supervisor")
_THROTTLE: Final = ("resprout", "throttle")
_CRASHED: Final = ("resprout", "process", "crashed")
_ATTACHED: Final = (_THROTTLE, _SUPERVISOR, _CRASHED, DISCARDED, RETRIED[:-1], VOID[:-1])
"""Few, since every event is held against each of them."""


class Listener(Protocol):
    """Is told of each event at once, in whatever thread that is: for histograms that are kept elsewhere."""

    def __call__(self, name: str, labels: Labels, value: float) -> None:
        """The name of a metric, the values of its labels, and by how much it counts or how long it took."""


@attrs.define
class Distribution:
    """A histogram of one series.

    Attributes:
        counts: How many were at most as long as each bound of `SECONDS`, and longer than the one before; the
            last one: longer than all.
        total: The sum of all.
    """

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


Value: TypeAlias = "float | Distribution"


class Books:
    """Counters and histograms, kept as long as somebody has opened them."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, Labels, float]] = deque()
        self._counting = lock()
        self._opening = lock()
        self._values: dict[str, dict[Labels, Value]] = {}
        self._users = 0
        self._listeners: tuple[Listener, ...] = ()

    def open(self, listener: Listener | None = None) -> Callable[[], None]:
        """Counts from now on.

        Args:
            listener: Is told of each event, too.

        Returns:
            What says that it is wanted no more; more than once does nothing.
        """
        with self._opening:
            if not self._users:
                for event in _ATTACHED:
                    telemetry.attach((self, event), event, self._hear)
                watch_ends(True)
            self._users += 1
            if listener is not None:
                self._listeners = (*self._listeners, listener)
        closed = [False]

        def close() -> None:
            with self._opening:
                if closed[0]:
                    return
                closed[0] = True
                self._users -= 1
                self._listeners = tuple(each for each in self._listeners if each is not listener)
                if not self._users:
                    for event in _ATTACHED:
                        telemetry.detach((self, event))
                    watch_ends(False)
                    self.clear()

        return close

    def clear(self) -> None:
        """Begins at zero."""
        with self._counting:
            self._queue.clear()
            self._values.clear()

    def note(self, name: str, labels: Labels, value: float = 1.0) -> None:
        """Counts an event; safe anywhere."""
        self._queue.append((name, labels, value))
        for each in self._listeners:
            each(name, labels, value)
        if len(self._queue) >= _LONG and self._counting.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._counting.release()

    def read(self) -> dict[str, dict[Labels, Value]]:
        """All series by the names of their metrics, as copies."""
        with self._counting:
            self._count()
            return {
                name: {
                    labels: Distribution([*value.counts], value.total)
                    if isinstance(value, Distribution)
                    else value
                    for labels, value in series.items()
                }
                for name, series in self._values.items()
            }

    def _count(self) -> None:
        """Empties the queue; whoever does it has the lock."""
        while True:
            try:
                name, labels, value = self._queue.popleft()
            except IndexError:
                return
            series = self._values.setdefault(name, {})
            if BY_NAME[name].kind == "histogram":
                distribution = series.get(labels)
                if not isinstance(distribution, Distribution):
                    distribution = series[labels] = Distribution()
                distribution.add(value)
            else:
                before = series.get(labels, 0.0)
                assert not isinstance(before, Distribution)
                series[labels] = before + value

    def _hear(
        self, event: telemetry.Event, measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        count = _HEARD.get(event)
        if count is not None:
            count(self.note, event[-1], measurements, metadata)


def _of_supervisors(note: Note, what: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    match about["event"]:
        case ChildExited(supervisor, id, _, reason, stopped=False):
            if not is_orderly(reason):
                note("resprout.child.crashes", child_of(supervisor, id), 1.0)
        case ChildRestarting(supervisor, id):
            note("resprout.child.restarts", child_of(supervisor, id), 1.0)
        case GaveUp(supervisor, id):
            note("resprout.supervisor.exhausted", child_of(supervisor, id), 1.0)
        case WouldNotStop(supervisor, id):
            note("resprout.child.overruns", child_of(supervisor, id), 1.0)
        case _:
            pass  # An end in order.


def _of_locks(note: Note, what: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    name = "timeouts" if what == "timeout" else what
    note(f"resprout.throttle.{name}", (about["name"],), measurements["seconds"] if what in _LASTING else 1.0)


_LASTING: Final = ("wait", "hold")


def _of_processes(note: Note, what: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    note("resprout.process.crashes", (about["report"].kind,), 1.0)


def _of_stages(note: Note, what: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    note("resprout.stages.discarded", (label_of(about["pid"]),), float(measurements["count"]))


def _of_kafka(note: Note, what: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    if what == ERROR[-1]:
        note("resprout.kafka.errors", (about["group"],), 1.0)
    else:
        name = "retries" if what == RETRIED[-1] else "dead_letters"
        note(f"resprout.kafka.{name}", (about["group"], about["topic"]), 1.0)


def _of_engines(note: Note, what: str, measurements: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    engine = (about["engine"],)
    if what == VOID[-1]:
        note("resprout.cluster.lost_grants", engine, float(measurements["grants"]))
    else:
        note("resprout.cluster.tick", engine, measurements["seconds"])


_HEARD: Final[Mapping[telemetry.Event, _Counting]] = {
    **{(*_SUPERVISOR, name): _of_supervisors for name in ("child_exited", "restarting", "gave_up")},
    (*_SUPERVISOR, "would_not_stop"): _of_supervisors,
    **{(*_THROTTLE, name): _of_locks for name in ("wait", "hold", "shed", "timeout")},
    _CRASHED: _of_processes,
    DISCARDED: _of_stages,
    **dict.fromkeys((RETRIED, DEAD_LETTERED, ERROR), _of_kafka),
    **dict.fromkeys((VOID, TICK), _of_engines),
}
books: Final = Books()
"""Of this program."""

if hasattr(os, "register_at_fork"):
    # What the parent has counted is told by the parent.
    os.register_at_fork(after_in_child=books.clear)
