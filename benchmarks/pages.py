"""The tables of the documentation, which are written between two marks, and never by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .measuring import Result
from .printing import cells, code
from .rows import Room, Section

ROOT = Path(__file__).resolve().parent.parent
HEAD = ("", "here", "there", "ratio", "at most")
RULE = "|---|---|---|---|---|"
EARLIER = "(earlier)"
NOT_YET = ("not measured", "", "", "")


def _block(room: Room) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<begin><!-- benchmarks: {room.name} -->\n)(?P<tables>.*?)(?P<end><!-- end of benchmarks -->)",
        re.DOTALL,
    )


def _row(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _line(row: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(row) + " |"


def tables_of(room: Room, root: Path = ROOT) -> str:
    """What stands between the marks of a room.

    Raises:
        LookupError: the page has no such marks.
    """
    page = root / room.page
    found = _block(room).search(page.read_text(encoding="utf-8"))
    if found is None:
        raise LookupError(
            f"expected `<!-- benchmarks: {room.name} -->`, later `<!-- end of benchmarks -->`, in {room.page}"
        )
    return found["tables"]


def written(room: Room, root: Path = ROOT) -> dict[str, list[str]]:
    """The rows of a room's tables, by their titles."""
    rows = [_row(line) for line in tables_of(room, root).splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows if row[0] and not row[0].startswith("-")}


def _earlier(cell: str) -> str:
    return cell if cell.endswith(EARLIER) else f"{cell} {EARLIER}".strip()


def _cells(title: str, results: Mapping[str, Result], before: Mapping[str, list[str]]) -> list[str]:
    """A row as it was measured now, else as it was; what is of another run says so."""
    name = code(title)
    old = before.get(name)
    if title not in results:
        kept = list(old or NOT_YET)
        if old and old[0] != NOT_YET[0]:
            kept[0] = _earlier(old[0])
        return [name, *kept]
    new = list(cells(results[title]))
    if old and old[1] and not new[2]:
        new[2] = _earlier(old[1])  # a peer that is not here
    return new


def _table(section: Section, results: Mapping[str, Result], before: Mapping[str, list[str]]) -> list[str]:
    rows = [_line(_cells(row.title, results, before)) for row in section.rows]
    return [section.says, "", _line(HEAD), RULE, *rows, ""]


def write(room: Room, results: Mapping[str, Result], machine: str, root: Path = ROOT) -> None:
    """Write the tables of a room anew.

    Args:
        room: Whose.
        results: Of its rows, by their titles. A row without one keeps what it says, as of an earlier run.
        machine: On what it was measured.
        root: Where the pages are.
    """
    page, before = root / room.page, written(room, root)
    lines = [line for section in room.sections for line in _table(section, results, before)]
    kept = " What is earlier is of another run." if any(EARLIER in line for line in lines) else ""
    lines = [f"Measured by `python -m benchmarks {room.name}`: {machine}.{kept}", "", *lines]
    text = page.read_text(encoding="utf-8")
    tables = "\n".join(lines)
    page.write_text(
        _block(room).sub(lambda found: f"{found['begin']}{tables}{found['end']}", text), encoding="utf-8"
    )
