"""How a row is written: in the terminal, in JSON, and its cells in a table of the documentation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from .measuring import Result
from .rows import Room, Section


def figure(value: float) -> str:
    """Three digits or so."""
    if math.isnan(value):
        return "?"
    if abs(value) >= 100 or value.is_integer():
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.2g}"


def quantity(value: float, unit: str) -> str:
    """A figure with its unit."""
    return f"{figure(value)} {unit}"


def beside(result: Result) -> str:
    """What is shown next to our figure."""
    row = result.row
    shown = [quantity(value, row.beside[name]) for name, value in result.beside.items()]
    if row.bar is not None and row.bar.best is not None:
        shown.insert(0, f"best {quantity(min(result.ours), row.unit)}")
    return ", ".join(shown)


def promise(result: Result) -> str:
    """What it may be at the most."""
    return " and ".join(words for _, _, words in result.judged)


def heading(room: Room, section: Section) -> str:
    """The line above a section's rows."""
    return f"{room.name}/{section.name}: {section.says}"


def line(result: Result, judged: bool) -> str:
    """A row in the terminal."""
    other, ratio = result.other_figure, result.ratio
    cells = (
        f"  {result.row.title:<74}",
        f"{quantity(result.figure, result.row.unit):>14}",
        f"{'' if other is None else quantity(other, result.row.unit):>14}",
        f"{'' if ratio is None else f'{figure(ratio)}x':>8}",
    )
    bar = promise(result)
    verdict = f"{'MISSED' if result.missed else 'ok'} (at most {bar})" if bar and judged else ""
    return "  ".join([*cells, *(text for text in (verdict, beside(result)) if text)]).rstrip()


def cells(result: Result) -> tuple[str, str, str, str, str]:
    """A row in a table: what, here, there, ratio, bar."""
    shown, other, ratio = beside(result), result.other_figure, result.ratio
    return (
        code(result.row.title),
        quantity(result.figure, result.row.unit) + (f" ({shown})" if shown else ""),
        "" if other is None else quantity(other, result.row.unit),
        "" if ratio is None else figure(ratio),
        promise(result),
    )


def code(title: str) -> str:
    """A title with its Python in type."""
    return " / ".join(f"`{part}`" if _is_python(part) else part for part in title.split(" / "))


def _is_python(text: str) -> bool:
    return text.startswith(("import ", "from ")) or ("." in text and " " not in text)


def as_json(room: Room, section: Section, result: Result, judged: bool) -> dict[str, object]:
    """All that is known of a row."""
    row = result.row
    return {
        "room": room.name,
        "section": section.name,
        "row": row.title,
        "unit": row.unit,
        "ours": _finite(result.figure),
        "other": _finite(result.other_figure),
        "ratio": _finite(result.ratio),
        "bar": None if row.bar is None else attrs.asdict(row.bar),
        "missed": result.missed if judged else None,
        "beside": {row.beside[name]: _finite(value) for name, value in result.beside.items()},
        "repeats": {"ours": _all(result.ours), "other": _all(result.other), "ratios": _all(result.ratios)},
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _all(values: Sequence[float]) -> list[float | None]:
    return [_finite(value) for value in values]
