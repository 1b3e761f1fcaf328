"""How fast it all is, against what else there is, in one run.

    python -m benchmarks [ROOM ...] [--quick] [--json FILE] [--rows PATTERN] [--write-docs]

In the root of a clone. A row shows the medians of its two sides and, as its ratio, the median of the ratios
of neighbouring repeats: compare ratios, within a run. The exit status is 1 when a promise was broken, and the
last line says which.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from . import machine, pages, printing, rooms
from .measuring import Result, can_be_measured, in_a_new_interpreter
from .rows import Effort, Peer, Room, Row, Section

SMOKE = 0.005
"""The share of the work of which a smoke run consists."""


@attrs.define
class Run:
    """What was asked for, and what came of it."""

    rooms: Sequence[Room]
    effort: Effort
    rows: re.Pattern[str]
    results: dict[tuple[str, str], Result] = attrs.field(factory=dict)
    entries: list[dict[str, object]] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)

    def wanted(self, room: Room, section: Section) -> list[Row]:
        """The rows of a section that were asked for."""
        return [row for row in section.rows if self.rows.search(f"{room.name}/{section.name}: {row.title}")]

    @property
    def chosen(self) -> list[Row]:
        """All rows that were asked for."""
        return [row for room in self.rooms for section in room.sections for row in self.wanted(room, section)]

    @property
    def peers(self) -> list[str]:
        """Who is measured against in them."""
        return list(dict.fromkeys(row.against.module for row in self.chosen if isinstance(row.against, Peer)))

    @property
    def missed(self) -> list[str]:
        """The rows that broke a promise."""
        if self.effort.quick:
            return []
        return [f"{room}: {title}" for (room, title), result in self.results.items() if result.missed]

    def section(self, room: Room, section: Section) -> None:
        """Measure and print what was asked for of a section."""
        rows = [row for row in self.wanted(room, section) if can_be_measured(row)]
        if not rows:
            return
        print(f"\n{printing.heading(room, section)}", flush=True)
        try:
            results = in_a_new_interpreter(room.name, section.name, [row.title for row in rows], self.effort)
        except Exception:
            traceback.print_exc()
            self.failed.append(f"{room.name}/{section.name}")
            return
        judged = not self.effort.quick
        for result in results:
            print(printing.line(result, judged), flush=True)
            self.results[room.name, result.row.title] = result
            self.entries.append(printing.as_json(room, section, result, judged))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of.add_argument(
        "rooms", nargs="*", metavar="ROOM", help=f"{', '.join(rooms.NAMES)}; all of them by default"
    )
    of.add_argument("--quick", action="store_true", help="only show that every row runs; nothing is judged")
    of.add_argument("--json", type=Path, metavar="FILE", help="write all figures and versions there, too")
    of.add_argument(
        "--rows",
        type=re.compile,
        default="",
        metavar="PATTERN",
        help="a regular expression: only the rows whose `room/section: row` it finds",
    )
    of.add_argument("--write-docs", action="store_true", help="write the tables of docs/ anew")
    return of


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for; ends the program when it makes no sense."""
    of = parser()
    options = of.parse_args(arguments)
    unknown = [name for name in options.rooms if name not in rooms.NAMES]
    if unknown:
        of.error(f"expected rooms among {', '.join(rooms.NAMES)}, got: {', '.join(unknown)}")
    if options.quick and options.write_docs:
        of.error("expected --write-docs without --quick, whose figures mean nothing")
    return options


def introduce(here: Mapping[str, str | int], peers: Mapping[str, str | None]) -> None:
    """Say on what and beside whom it is measured."""
    print(machine.sentence(here))
    for peer, version in peers.items():
        print(f"beside it: {peer} {version}" if version else f"not installed: {peer}", flush=True)


def last_line(run: Run) -> str:
    """How it went."""
    said = [f"did not run: {', '.join(run.failed)}"] if run.failed else []
    if run.missed:
        said.append(f"missed: {', '.join(run.missed)}")
    return "; ".join(said) or ("every row runs; nothing was judged" if run.effort.quick else "all bars hold")


def main(arguments: Sequence[str] | None = None) -> int:
    """All of it; the exit status says whether the promises hold."""
    options = options_of(arguments)
    chosen = [rooms.room(name) for name in options.rooms or rooms.NAMES]
    run = Run(chosen, Effort(SMOKE if options.quick else 1.0), re.compile(options.rows))
    if not run.chosen:
        parser().error(f"expected a pattern that finds some row, got: {run.rows.pattern}")
    here, peers = machine.describe(), machine.versions(run.peers)
    introduce(here, peers)
    for room in chosen:
        for section in room.sections:
            run.section(room, section)
    if options.json:
        report = {"machine": here, "peers": peers, "quick": options.quick, "failed": run.failed}
        options.json.write_text(
            json.dumps({**report, "rows": run.entries}, indent=1) + "\n", encoding="utf-8"
        )
    if options.write_docs:
        for room in chosen:
            measured = {title: result for (name, title), result in run.results.items() if name == room.name}
            pages.write(room, measured, machine.sentence(here))
    print(f"\n{last_line(run)}")
    return 1 if run.missed or run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
