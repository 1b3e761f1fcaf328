"""A snapshot as text: rows of the tree, one plain line, the summary. Pure, and without rich."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import get_args

import attrs

from .job import Progress
from .report import Outcome
from .snapshot import Child, ChildState, Lock, Snapshot, Starting, Stopping, walk

__all__ = [
    "Row",
    "clock",
    "fitted",
    "fitted_locks",
    "lock_text",
    "plain_line",
    "progress_text",
    "restarts_text",
    "rows",
    "start_text",
    "stopping_text",
    "summary_rows",
    "troubles",
]

# From this many on, the replicas of a child share a row: a tree should fit the terminal.
FOLD = 4

# How many children are named in a line at most.
NAMED = 5

# Seconds from which on a stop is a slow one.
PATIENCE = 0.5

# Seconds from which on the start of a child is.
PATIENCE_AT_START = 3.0

_RUN = "did you mean run: instead of start:?"


@attrs.frozen
class Row:
    """One row of the tree as it is shown.

    Args:
        depth: How far it is indented; the children of the root are at 0.
        label: The id, or `consumer x16` for many replicas.
        kind: What it is.
        states: How many of them are in which state, "running" first.
        restarts: Of all of them together.
    """

    depth: int
    label: str
    kind: str
    states: tuple[tuple[str, int], ...]
    restarts: int

    @property
    def state(self) -> str:
        """The states in words: `running`, or `14 running, 2 restarting` for several."""
        if sum(count for _, count in self.states) == 1:
            return self.states[0][0]
        return ", ".join(f"{count} {state}" for state, count in self.states)

    @property
    def healthy(self) -> bool:
        """Whether everything in this row runs."""
        return all(state == "running" for state, _ in self.states)


def rows(children: Sequence[Child], depth: int = 0) -> list[Row]:
    """The rows of a tree, parents first; many neighbours that are replicas of each other share one."""
    result: list[Row] = []
    for _, members in groupby(children, key=lambda child: child.group):
        together = list(members)
        if len(together) >= FOLD and not any(child.children for child in together):
            result.append(_row(f"{together[0].group[-1]} x{len(together)}", together, depth))
            continue
        for child in together:
            result.append(_row(child.id, [child], depth))
            result.extend(rows(child.children, depth + 1))
    return result


def fitted(shown: Sequence[Row], most: int) -> list[Row]:
    """The rows of a tree in at most `most` rows, folded around what is not well.

    First come the rows of what does not run, with those above them; then what has been restarted, then
    the others, the upper levels first. Neighbours that are left out share a row that counts them.
    """
    if len(shown) <= most:
        return list(shown)
    ill = [index for index, row in enumerate(shown) if not row.healthy]
    restarted = [index for index, row in enumerate(shown) if row.restarts]
    levels = sorted(range(len(shown)), key=lambda index: (shown[index].depth, index))
    above = _above(shown)
    kept: set[int] = set()
    for index in [*ill, *restarted, *levels]:
        more = kept | {index, *above[index]}
        if _height(more, len(shown)) > most:
            break
        kept = more
    return _with_gaps(shown, kept)


def _above(shown: Sequence[Row]) -> list[tuple[int, ...]]:
    """For each row those that it is under."""
    found: list[tuple[int, ...]] = []
    path: list[int] = []
    for index, row in enumerate(shown):
        del path[row.depth :]
        found.append(tuple(path))
        path.append(index)
    return found


def _height(kept: set[int], total: int) -> int:
    """How many rows it takes to show some of `total`, those in between folded."""
    edges = [-1, *sorted(kept), total]
    return len(kept) + sum(after - before > 1 for before, after in pairwise(edges))


def _with_gaps(shown: Sequence[Row], kept: set[int]) -> list[Row]:
    result: list[Row] = []
    for keep, members in groupby(enumerate(shown), key=lambda each: each[0] in kept):
        together = [row for _, row in members]
        result += together if keep else [_folded(together)]
    return result


def _folded(together: Sequence[Row]) -> Row:
    states: Counter[str] = Counter()
    for row in together:
        states.update(dict(row.states))
    return Row(
        min(row.depth for row in together),
        f"... {states.total():,} more",
        "",
        tuple((state, states[state]) for state in _WORDS if states[state]),
        sum(row.restarts for row in together),
    )


def fitted_locks(locks: Sequence[Lock], most: int) -> tuple[list[Lock], str]:
    """At most `most` of the locks, those that are waited for most, and words for the rest."""
    if len(locks) <= most:
        return list(locks), ""
    busiest = sorted(locks, key=lambda lock: (-lock.waiting, -lock.running))[: max(0, most - 1)]
    rest = [lock for lock in locks if lock not in busiest]
    waiting = sum(lock.waiting for lock in rest)
    return [lock for lock in locks if lock in busiest], f"... {len(rest):,} more locks, {waiting:,} waiting"


def _row(label: str, children: Sequence[Child], depth: int) -> Row:
    counts = [(state, sum(child.state == state for child in children)) for state in _STATES]
    return Row(
        depth,
        label,
        _kind(children[0]),
        tuple((state.replace("_", " "), count) for state, count in counts if count),
        sum(child.restarts for child in children),
    )


def _kind(child: Child) -> str:
    return child.kind if child.address is None else f"{child.kind} at {child.address}"


_STATES = get_args(ChildState)
_WORDS = tuple(state.replace("_", " ") for state in _STATES)


def clock(seconds: float) -> str:
    """A duration as people read it: `4.2 s`, `3:07 min`, `2:05 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def progress_text(progress: Progress) -> str:
    """`1,234 of 3,196 events (38%)`, or only the count where the total is not known."""
    if progress.fraction is None:
        return f"{progress.done:,} {progress.unit}"
    return f"{progress.done:,} of {progress.total:,} {progress.unit} ({int(progress.fraction * 100)}%)"


def restarts_text(count: int) -> str:
    """`1 restart`, `2 restarts`."""
    return f"{count:,} restart{'' if count == 1 else 's'}"


def lock_text(lock: Lock) -> str:
    """The figures of a lock in one phrase."""
    return f"{lock.name}: {lock.running} of {lock.num_slots} running, {lock.waiting} waiting"


def plain_line(snapshot: Snapshot) -> str:
    """The whole run in one line, for where there is no terminal; it names only what does not run."""
    stopping = stopping_text(snapshot.stopping)
    trouble = troubles(snapshot)
    if not snapshot.children:
        return "; ".join(part for part in (stopping, *trouble) if part) or "starting"
    parts = [] if snapshot.progress is None else [progress_text(snapshot.progress)]
    parts += [lock_text(lock) for lock in snapshot.locks]
    leaves = [child for child in walk(snapshot.children) if child.kind != "supervisor"]
    running = sum(child.state == "running" for child in leaves)
    parts.append(f"{running} of {len(leaves)} children running")
    parts.append(restarts_text(snapshot.restarts))
    addresses = [f"{child.label} at {child.address}" for child in leaves if child.address is not None]
    if addresses:
        parts.append(f"listening: {_named(addresses)}")
    if stopping:
        return "; ".join([*parts, stopping])
    parts += trouble
    away = [child.label for child in leaves if child.state in ("restarting", "backing_off")]
    if away:
        parts.append(f"restarting: {_named(away)}")
    return "; ".join(parts)


def troubles(snapshot: Snapshot) -> list[str]:
    """What looks as if it were not meant so: a start that takes long, and one that started nothing."""
    slow = [start for start in snapshot.starting if start.seconds >= PATIENCE_AT_START]
    told = []
    if slow and not stopping_text(snapshot.stopping):
        told.append(f"still waits for {_named([start_text(start) for start in slow])}")
    empty = [child.label for child in walk(snapshot.children) if child.by_mistake]
    if empty:
        told.append(f"without a process, as what starts it returned None: {_named(empty)} ({_RUN})")
    return told


def start_text(starting: Starting) -> str:
    """What is waited for, and what was probably meant if it is a function that does not return."""
    return f"the start of {starting.label}" + (f" ({_RUN})" if starting.function else "")


def stopping_text(stopping: Stopping | None) -> str:
    """What a tree waits for that takes its time to stop, and how to have it end at once; or nothing."""
    if stopping is None or stopping.seconds < PATIENCE:
        return ""
    whom = _named(stopping.waits_for)
    match stopping.signal:
        case None:
            again = "Ctrl-C twice"
        case "SIGINT":
            again = "Ctrl-C again"
        case name:
            again = f"another {name}"
    return f"stopping ({again} stops at once): waits for {whom}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def summary_rows(outcome: Outcome) -> list[tuple[str, str]]:
    """The table at the end: what it is called, and its value."""
    table = [
        ("ended", outcome.reason),
        ("time", clock(outcome.seconds)),
        ("restarts", f"{outcome.restarts:,}"),
    ]
    if outcome.addresses:
        table.append(("listened", ", ".join(f"{name} at {at}" for name, at in outcome.addresses.items())))
    chaos = outcome.chaos
    if chaos is not None:
        table.append(("taken down", f"{len(outcome.crashes)} of {chaos.wanted}, seed {chaos.seed}"))
        times = sorted(
            crash.seconds_until_serving
            for crash in outcome.crashes
            if crash.seconds_until_serving is not None
        )
        if times:
            middle, worst = times[len(times) // 2] * 1000, times[-1] * 1000
            table.append(("back after", f"{middle:.1f} ms in the middle, {worst:.1f} ms at most"))
        lost = len(outcome.crashes) - len(times)
        if lost:
            table.append(("not seen back", f"{lost} (the run ended first)"))
    table += [(key.replace("_", " "), _value(value)) for key, value in outcome.fields.items()]
    return table


def _value(value: object) -> str:
    match value:
        case bool() | None:
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}"
        case list() | tuple() | dict():
            return f"{len(value)} entries"
        case _:
            return str(value)
