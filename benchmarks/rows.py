"""The words of the benchmarks: a room has sections, a section measures sides in turns, a row compares two.

A file in `rooms/` says these things and nothing else: what is done, against what, in which unit, and what was
promised. How often, in which order, what a ratio is and how it is shown is decided once, beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import attrs

Figures = float | Mapping[str, float]
Measure = Callable[[], Figures]
"""One repeat: a figure, or several that come from the same run, by name."""


@attrs.frozen
class Effort:
    """How much is done: everything, or a share of it that only shows that it runs.

    Args:
        share: 1 for a measurement, less for a smoke run.
    """

    share: float = 1.0

    @property
    def quick(self) -> bool:
        """Whether this is a smoke run, whose figures mean nothing."""
        return self.share < 1

    def __call__(self, number: int, least: int = 1) -> int:
        """So many, or the share of it."""
        return max(least, int(number * self.share))

    def repeats(self, number: int) -> int:
        """So many repeats, or two, so that a second one runs as well."""
        return min(2, number) if self.quick else number


@attrs.frozen
class Peer:
    """What somebody else's library does, measured by a function of `benchmarks/peers/`.

    Args:
        module: The file there, which is named after what has to be installed.
        operation: The function in it: takes how many times, gives microseconds (or the row's unit) of one.
        label: How the row names it.
        times: How often a repeat does it.
        every: In every how manieth repeat it takes its turn, where a turn of it is long.
    """

    module: str
    operation: str
    label: str
    times: int = 1_000
    every: int = 1


@attrs.frozen
class Bar:
    """What was promised of a row.

    Args:
        ratio: What the ratio may be at the most.
        figure: What our own median may be at the most, whoever else is measured.
        alone: The same, only where the other side is not there.
        best: What our best repeat may be at the most: of what is so short that the others say less about us
            than about what else the machine does.
    """

    ratio: float | None = None
    figure: float | None = None
    alone: float | None = None
    best: float | None = None


@attrs.frozen
class Row:
    """One comparison, or one figure by itself.

    Args:
        name: What is done.
        ours: The side that does it. A figure of a side that gives several is `side: figure`.
        against: The other side, or a peer; None for a figure by itself.
        bar: What was promised.
        unit: Of both sides.
        beside: More figures of our side that are shown, with their units.
        label: How the other side is called, where its name does not say it.
        needs: Tells whether what it runs on is there.
    """

    name: str
    ours: str
    against: str | Peer | None = None
    bar: Bar | None = None
    unit: str = "us"
    beside: Mapping[str, str] = attrs.field(factory=dict)
    label: str | None = None
    needs: Callable[[], bool] | None = None

    @property
    def other(self) -> str:
        """How the other side is called, or nothing."""
        if isinstance(self.against, Peer):
            return self.against.label
        return self.label or (self.against or "").split(":")[0]

    @property
    def title(self) -> str:
        """What is done, and against what: a row's name everywhere, the documentation included."""
        return f"{self.name} / {self.other}" if self.against else self.name

    @property
    def stands_alone(self) -> bool:
        """Whether the row says something without its peer, too."""
        bar = self.bar or Bar()
        return any(most is not None for most in (bar.figure, bar.alone, bar.best))


@attrs.frozen
class Section:
    """Sides that take turns in an interpreter of their own, and the rows that compare them.

    Args:
        name: One word or two, after which `--rows` can ask.
        says: What the rows are about, in one sentence that fits in front of a table.
        sides: Prepares, gives each side's measurement by name, and cleans up.
        rows: What is compared.
        repeats: How many turns each side has.
        warm_up: How many turns before those, which do not count.
    """

    name: str
    says: str
    sides: Callable[[Effort], AbstractContextManager[Mapping[str, Measure]]]
    rows: Sequence[Row]
    repeats: int = 15
    warm_up: int = 0


@attrs.frozen
class Room:
    """All that is measured of one room.

    Args:
        name: Of the room.
        page: The page of the documentation that has its tables.
        sections: In the order in which they run.
    """

    name: str
    page: str
    sections: Sequence[Section]

    @property
    def rows(self) -> list[Row]:
        """All of them, in order."""
        return [row for section in self.sections for row in section.rows]
