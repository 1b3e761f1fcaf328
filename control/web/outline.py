"""The rows of the tree that a page shows: the visible ones, and how many there are in all."""

from __future__ import annotations

from collections.abc import Container
from itertools import islice
from typing import Any

import attrs

from ...actors import Pid
from ...actors.engine import kernel
from ..errors import Refusal
from ..places import Place, find, top_of, walk
from ..processes import counted, row_of, rows

__all__ = ["AllBut", "Rates", "outline", "timed"]

_FAR = 1e9
"""A moment later than any start: what was started when does not change with the time of looking."""


class Rates:
    """Messages a second of the processes that one page shows, from one look to the next."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def take(self, counts: dict[str, int | None], now: float) -> dict[str, float | None]:
        """The rates of processes since the last look, None for those that were not among them then.

        Args:
            counts: How many messages each has handled, by the text of its Pid.
            now: In seconds.
        """
        found = {}
        for pid, count in counts.items():
            before = self._seen.get(pid)
            known = count is not None and before is not None and now > before[1]
            found[pid] = round((count - before[0]) / (now - before[1]), 1) if known else None  # type: ignore[operator, index]  # known says it
        self._seen = {pid: (count, now) for pid, count in counts.items() if count is not None}
        return found


@attrs.frozen
class AllBut:
    """All paths but some.

    Args:
        open: Which.
    """

    open: frozenset[str]

    def __contains__(self, path: object) -> bool:
        return path not in self.open


def timed(row: dict[str, Any], now: float) -> dict[str, Any]:
    """A row with the moment since when it runs in place of how long, so that it changes with a start only."""
    uptime = row.pop("uptime")
    return {**row, "since": None if uptime is None else round(now - uptime, 2)}


def outline(
    root: Pid | None,
    rates: Rates,
    *,
    offset: int,
    limit: int,
    closed: frozenset[str] | AllBut = frozenset(),
    sort: str | None = None,
    match: str | None = None,
    state: str | None = None,
) -> dict[str, Any]:
    """What a page shows of the tree.

    Args:
        root: Its root, None while there is none.
        rates: Of the page.
        offset: How many rows come before those that are seen.
        limit: How many are seen.
        closed: The paths of supervisors whose children are hidden; not heeded with one of the others.
        sort, match, state: As of `processes.rows`.

    Returns:
        `total`, `offset`, `order` (keys of the rows that are seen) and `rows` (by key).
    """
    now = kernel.clock.now()
    found: list[dict[str, Any]]
    if root is None:
        total, found = 0, []
    elif sort is None and match is None and state is None:
        top = top_of(root)
        total = sum(1 for _ in walk(top, closed=closed)) if closed else counted(root)["children"] + 1
        offset = max(0, min(offset, total - 1))
        seen = list(islice(walk(top, offset, closed), limit))
        found = [_row(place, closed) for place in seen]
        _add_rates(found, [place.pid for place in seen], rates, now)
    else:
        every = rows(root, limit=1 << 30, sort=sort, match=match, state=state)["rows"]
        total = len(every)
        offset = max(0, min(offset, total - 1))
        found = [timed(row, now) for row in every[offset : offset + limit]]
        _add_rates(found, [_running(root, row) for row in found], rates, now)
    keyed: dict[str, dict[str, Any]] = {}
    for row in found:
        key = row["path"]
        while key in keyed:  # The ids 1 and "1" read the same.
            key += "\0"
        keyed[key] = row
    return {"total": total, "offset": offset, "order": list(keyed), "rows": keyed}


def _running(root: Pid, row: dict[str, Any]) -> Pid | None:
    """The process of a row, if it is still there."""
    try:
        return find(root, row["path"]).pid
    except Refusal:
        return None


def _row(place: Place, closed: Container[str]) -> dict[str, Any]:
    row = {**timed(row_of(place, _FAR), _FAR), "id": place.path[-1] if place.path else "/"}
    return {**row, "closed": row["path"] in closed} if row["kind"] == "supervisor" else row


def _add_rates(found: list[dict[str, Any]], pids: list[Pid | None], rates: Rates, now: float) -> None:
    counts = {str(pid): getattr(pid, "handled", None) for pid in pids if pid is not None}
    rate = rates.take(counts, now)
    for row, pid in zip(found, pids, strict=True):
        row["rate"] = rate.get(str(pid))
