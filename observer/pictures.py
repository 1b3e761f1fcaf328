"""A snapshot as rich draws it. Pure; the only file beside `screen.py` that knows rich, which is optional."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .display import clock, progress_text, restarts_text, rows, summary_rows
from .job import Progress
from .report import Outcome
from .snapshot import Child, Lock, Snapshot

__all__ = ["picture", "summary_picture"]


def picture(snapshot: Snapshot) -> RenderableType:
    """The live area: a heading, the tree, the locks, the bar."""
    parts: list[RenderableType] = [_heading(snapshot), _tree(snapshot.children)]
    if snapshot.locks:
        parts.append(_locks(snapshot.locks))
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


def _tree(children: Sequence[Child]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for row in rows(children):
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
        return Text(progress_text(progress))
    row = Table.grid(padding=(0, 2))
    row.add_row(ProgressBar(total=progress.total, completed=progress.done, width=40), progress_text(progress))
    return row
