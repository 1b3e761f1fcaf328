"""Runs a section: its sides take turns, and a row's ratio is the median of the ratios of neighbours.

The machine's mood changes from second to second (a thread wake-up costs between 5 and 40 us), and neighbours
have it in common, so that this figure differs half as much from run to run as the ratio of the two medians.
Each section has an interpreter of its own: what another one left behind (threads, memory, a registry of
processes) is in none of its figures.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import multiprocessing
import shutil
import statistics
from collections.abc import Collection, Mapping
from concurrent.futures import ProcessPoolExecutor

import attrs

from .rows import Bar, Effort, Measure, Peer, Room, Row, Section

PROGRAMS = {"beam": "elixir"}
"""Peers that are programs on PATH rather than Python packages."""


@attrs.frozen
class Result:
    """What was seen of a row.

    Args:
        row: Which one.
        ours: The figure of each repeat.
        other: The same of the other side; empty where there is none.
        ratios: Of the repeats in which both had a turn.
        beside: The medians of what is only shown.
    """

    row: Row
    ours: tuple[float, ...]
    other: tuple[float, ...]
    ratios: tuple[float, ...]
    beside: Mapping[str, float]

    @property
    def figure(self) -> float:
        """Our median."""
        return statistics.median(self.ours)

    @property
    def other_figure(self) -> float | None:
        """Theirs."""
        return statistics.median(self.other) if self.other else None

    @property
    def ratio(self) -> float | None:
        """The median of the ratios of neighbours."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def missed(self) -> bool:
        """Whether a promise was broken."""
        return any(seen > most for seen, most, _ in self.judged)

    @property
    def judged(self) -> list[tuple[float, float, str]]:
        """What was promised here: what was seen of it, what it may be at the most, and in which words."""
        bar, unit, ratio = self.row.bar or Bar(), self.row.unit, self.ratio
        return [
            (seen, most, f"{most:g}{words}")
            for seen, most, words in (
                (ratio, bar.ratio, "x"),
                (self.figure, bar.figure, f" {unit}"),
                (self.figure if ratio is None else None, bar.alone, f" {unit}"),
                (min(self.ours), bar.best, f" {unit} at best"),
            )
            if seen is not None and most is not None
        ]


def installed(peer: str) -> bool:
    """Whether a peer is there to be measured."""
    if peer in PROGRAMS:
        return shutil.which(PROGRAMS[peer]) is not None
    return importlib.util.find_spec(peer) is not None


def can_be_measured(row: Row) -> bool:
    """Whether both sides are there, or ours says something by itself."""
    if row.needs is not None and not row.needs():
        return False
    return not isinstance(row.against, Peer) or installed(row.against.module) or row.stands_alone


def _measure_of(peer: Peer, effort: Effort) -> Measure:
    module = importlib.import_module(f"{__package__}.peers.{peer.module}")
    operation, times = getattr(module, peer.operation), effort(peer.times)
    return lambda: operation(times)


def _sides(
    names: Mapping[str, Measure], rows: Collection[Row], effort: Effort
) -> list[tuple[str, Measure, int]]:
    """What takes turns: each side that a row wants, with its measure and in which repeats it has a turn."""
    wanted = {
        name.split(":")[0]
        for row in rows
        for name in (row.ours, row.against, *row.beside)
        if isinstance(name, str)
    }
    peers = {
        row.against: None for row in rows if isinstance(row.against, Peer) and installed(row.against.module)
    }
    return [
        *((name, measure, 1) for name, measure in names.items() if name in wanted),
        *((peer.label, _measure_of(peer, effort), peer.every) for peer in peers),
    ]


def _turns(section: Section, rows: Collection[Row], effort: Effort) -> list[dict[str, float]]:
    """The figures of each repeat, by name."""
    seen: list[dict[str, float]] = []
    with section.sides(effort) as names:
        sides = _sides(names, rows, effort)
        for number in range(-section.warm_up, effort.repeats(section.repeats)):
            figures: dict[str, float] = {}
            for name, measure, every in sides:
                if number % every:
                    continue
                got = measure()
                if isinstance(got, Mapping):
                    figures.update({f"{name}: {figure}": value for figure, value in got.items()})
                else:
                    figures[name] = got
            if number >= 0:
                seen.append(figures)
    return seen


def run(section: Section, rows: Collection[Row], effort: Effort) -> list[Result]:
    """Measure some rows of a section, here and now."""
    seen = _turns(section, rows, effort)
    results = []
    for row in rows:
        against = row.against.label if isinstance(row.against, Peer) else row.against
        both = [figures for figures in seen if against in figures]
        results.append(
            Result(
                row,
                tuple(figures[row.ours] for figures in seen),
                tuple(figures[against] for figures in both if against is not None),
                tuple(_ratio(figures[row.ours], figures[against]) for figures in both if against is not None),
                {name: statistics.median(figures[name] for figures in seen) for name in row.beside},
            )
        )
    return results


def _ratio(ours: float, other: float) -> float:
    return ours / other if other else math.inf


def run_by_name(room: Room, name: str, titles: Collection[str], effort: Effort) -> list[Result]:
    """The same for a section and rows that are named, since functions do not travel between interpreters."""
    section = next(section for section in room.sections if section.name == name)
    return run(section, [row for row in section.rows if row.title in titles], effort)


def in_a_new_interpreter(room: str, section: str, titles: Collection[str], effort: Effort) -> list[Result]:
    """Measure in an interpreter that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as interpreter:
        return interpreter.submit(_there, room, section, titles, effort).result()


def _there(room: str, section: str, titles: Collection[str], effort: Effort) -> list[Result]:
    rooms = importlib.import_module(f"{__package__}.rooms")
    return run_by_name(rooms.room(room), section, titles, effort)
