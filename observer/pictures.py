"""A snapshot as rich draws it. Pure; the only file beside `live.py` that knows rich, which is optional."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .display import (
    Row,
    clock,
    fitted,
    fitted_locks,
    progress_text,
    restarts_text,
    rows,
    stopping_text,
    summary_rows,
    troubles,
)
from .job import Progress
from .report import Outcome
from .snapshot import Lock, Snapshot

__all__ = ["picture", "summary_picture"]


def picture(snapshot: Snapshot, height: int = 1000) -> RenderableType:
    """The live area: a heading, the tree, the locks, the bar.

    Args:
        snapshot: What is shown.
        height: How many lines there are for it. No line of it is folded, so what it holds is as high as this.
    """
    shown = rows(snapshot.children)
    stopping = stopping_text(snapshot.stopping)
    told = [text for text in (stopping, *troubles(snapshot)) if text]
    left = height - 1 - len(told) - (snapshot.progress is not None)
    # The tree gets what it needs, if a third is left for the locks.
    locks, others = fitted_locks(snapshot.locks, max(left - len(shown), left // 3))
    high = len(locks) + bool(others)
    parts: list[RenderableType] = [_heading(snapshot)]
    parts += [Text(text, style="yellow", no_wrap=True, overflow="ellipsis") for text in told]
    parts.append(_tree(fitted(shown, max(1, left - high))))
    if locks:
        parts.append(_locks(locks))
    if others:
        parts.append(Text(others, style="dim", no_wrap=True, overflow="ellipsis"))
    if snapshot.progress is not None:
        parts.append(_bar(snapshot.progress))
    return Group(*parts)


def summary_picture(outcome: Outcome, words: str) -> RenderableType:
    """The end: a table of what the run came to, and what the job says of it."""
    table = Table(title=escape(outcome.name), show_header=False, title_justify="left")
    table.add_column(style="cyan")
    table.add_column(justify="right")
    for label, value in summary_rows(outcome):
        table.add_row(escape(label), escape(value))
    return Group(table, Text(words)) if words else table


def _heading(snapshot: Snapshot) -> Text:
    return Text.assemble((snapshot.name, "bold"), f"  {clock(snapshot.seconds)}")


def _tree(shown: Sequence[Row]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for row in shown:
        restarts = Text(restarts_text(row.restarts), style="yellow") if row.restarts else Text("")
        state = Text(row.state, style="green" if row.healthy else "red")
        table.add_row(Text("  " * row.depth + row.label), Text(row.kind), state, restarts)
    return table


def _locks(locks: Sequence[Lock]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    for lock in locks:
        table.add_row(
            Text(lock.name), f"{lock.running} of {lock.num_slots} running", f"{lock.waiting} waiting"
        )
    return table


def _bar(progress: Progress) -> RenderableType:
    if progress.fraction is None:
        return Text(progress_text(progress), no_wrap=True, overflow="ellipsis")
    row = Table.grid(padding=(0, 2))
    row.add_column()
    row.add_column(no_wrap=True)
    row.add_row(ProgressBar(total=progress.total, completed=progress.done, width=40), progress_text(progress))
    return row
