"""Carries `--chaos` out: takes children down as `chaos.py` decides, and measures how long each was away.

Runs in a thread of its own, so that nothing in the tree does it to itself. It asks the job for its progress
every few milliseconds, and looks at the tree only when a takedown is due or somebody is away.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from time import monotonic

import attrs

from .chaos import How, Rules, Takedown, Toll, choose, due
from .job import Progress
from .report import CrashReport
from .snapshot import Snapshot, walk

__all__ = ["ChaosError", "Saboteur"]

logger = logging.getLogger("resprout.observer")

# Seconds between two rounds: takedowns get no denser than that.
PAUSE = 0.004

# Seconds between two looks at the tree while nothing is due: they find out who is back, not since when.
PATIENCE = 0.02


class ChaosError(Exception):
    """What a child meets that `--chaos` takes down by an exception; nothing is wrong with that child."""


@attrs.frozen
class _Away:
    """A takedown whose child has not been seen to serve again."""

    takedown: Takedown
    since: float


class Saboteur:
    """Takes children down during a run, and lists how each came back.

    `step` does one round and may be called by hand; `start` and `stop` do it in a thread.

    Args:
        look: Gives a snapshot, without children before the tree has started; None when it is about to end.
        progress: Gives the job's progress, None if there is no job.
        take_down: Ends a process, by an exception inside it or by a kill; False if it had ended by itself.
        wanted: How many takedowns there should be.
        seed: Of the choice.
        rules: Who may be a victim.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(
        self,
        look: Callable[[], Snapshot | None],
        progress: Callable[[], Progress | None],
        take_down: Callable[[object, How, Exception], bool],
        *,
        wanted: int,
        seed: int,
        rules: Rules,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._look = look
        self._progress = progress
        self._take_down = take_down
        self._wanted = wanted
        self._rng = random.Random(seed)
        self._rules = rules
        self._clock = clock
        self._began = clock()
        self._looked = self._began
        self._first: tuple[float, Progress | None] | None = None
        self._toll = Toll()
        self._away: list[_Away] = []
        self._crashes: dict[Takedown, CrashReport] = {}
        # Written where a process dies and read here; every single step on them is atomic.
        self._awaited: set[object] = set()
        self._died: dict[object, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resprout observer chaos", daemon=True)

    @property
    def crashes(self) -> tuple[CrashReport, ...]:
        """What was taken down so far, in that order."""
        return tuple(self._crashes.values())

    def has_died(self, process: object) -> None:
        """To be told of every death: an exception that was put into a process waits for its turn there."""
        if process in self._awaited:
            self._awaited.discard(process)
            self._died[process] = self._clock()

    def start(self) -> None:
        """Begins; the first takedown waits for the tree."""
        self._thread.start()

    def stop(self) -> None:
        """Takes nothing down any more, and returns when the thread has ended."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE):
            try:
                self.step()
            except Exception:
                logger.exception("chaos failed; the tree goes on without it")
                return

    def step(self) -> None:
        """One round: notes who is back, and takes down at most one child if one is due."""
        now = self._clock()
        is_due = self._is_due(now)
        if self._first is not None and not is_due and not (self._away and now - self._looked >= PATIENCE):
            return
        snapshot = self._look()
        self._looked = now
        if snapshot is None or not snapshot.children:
            return
        if self._first is None:
            self._first = (now, snapshot.progress)
        self._see_who_is_back(snapshot, now)
        if is_due:
            takedown = choose(self._rng, snapshot, self._toll, self._rules)
            if takedown is not None:
                self._carry_out(takedown)

    def _is_due(self, now: float) -> bool:
        if self._first is None or self._toll.happened >= self._wanted:
            return False
        since, first = self._first
        return self._toll.happened < due(self._wanted, first, self._progress(), now - since)

    def _carry_out(self, takedown: Takedown) -> None:
        number = self._toll.happened + 1
        error = ChaosError(f"taken down by --chaos, number {number} of {self._wanted}")
        since = self._clock()
        # Before the takedown, in which it may die.
        self._awaited.add(takedown.process)
        if not self._take_down(takedown.process, takedown.how, error):
            self._awaited.discard(takedown.process)
            return
        self._toll = self._toll.after(takedown)
        self._away.append(_Away(takedown, since))
        self._crashes[takedown] = CrashReport(
            takedown.child, takedown.kind, takedown.how, round(since - self._began, 6), None
        )

    def _see_who_is_back(self, snapshot: Snapshot, now: float) -> None:
        if not self._away:
            return
        listed = {child.place: child for child in walk(snapshot.children)}
        for away in tuple(self._away):
            takedown = away.takedown
            child = listed.get(takedown.place)
            if (
                child is None
                or child.process == takedown.process
                or child.state in ("restarting", "backing_off")
            ):
                continue
            # A supervisor lists a process when its start has returned, so it serves; one without a process
            # had come back, found nothing left to do, and ended as it should.
            died = self._died.pop(takedown.process, away.since)
            back = now if child.started is None else max(died, child.started)
            self._away.remove(away)
            self._toll = self._toll.recovered(takedown.place)
            self._crashes[takedown] = attrs.evolve(
                self._crashes[takedown], seconds_until_serving=round(back - died, 6)
            )
