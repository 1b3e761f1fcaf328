"""Which child `--chaos` takes down next, and when: decisions only, from a seed and snapshots.

What it is for: a tree that claims to lose nothing when anything in it crashes should be seen to do so.
Who may be a victim is one rule, `is_victim`. Everything here is pure; `saboteur.py` carries it out.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal

import attrs

from .job import Progress
from .snapshot import Child, Snapshot, walk

__all__ = [
    "BY_CLOCK",
    "SPREAD",
    "How",
    "Rules",
    "Takedown",
    "Toll",
    "choose",
    "due",
    "is_victim",
    "victims",
]

How = Literal["exception", "kill"]
WAYS: tuple[How, ...] = ("exception", "kill")

# The last takedown falls due when this part of what was left at the start is done, so that all of them still
# find somebody to take down, and what they broke is still seen to come back.
SPREAD = 0.9

# Takedowns a second where no job says how far the work is.
BY_CLOCK = 10.0


@attrs.frozen
class Rules:
    """Who may be taken down.

    Args:
        spare: Ids, paths or group names (`consumer` for `consumer-0` to `consumer-15`) that are left alone.
        only: If not empty, exactly these are the victims, single workers among them.
    """

    spare: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()


@attrs.frozen
class Takedown:
    """One child to take down: who, which process of it, and how; its place tells it from all others."""

    path: tuple[str, ...]
    group: tuple[str, ...]
    kind: str
    process: object
    how: How
    place: tuple[object, ...] = attrs.field(default=attrs.Factory(lambda self: self.path, takes_self=True))

    @property
    def child(self) -> str:
        """The path as the report writes it."""
        return "/".join(self.path)


@attrs.frozen
class Toll:
    """What has been taken down so far.

    Args:
        groups: How often each group was.
        down: Places of those that do not serve again yet.
    """

    groups: Counter[tuple[str, ...]] = attrs.field(factory=Counter)
    down: frozenset[tuple[object, ...]] = frozenset()

    @property
    def happened(self) -> int:
        """How many takedowns there were."""
        return self.groups.total()

    def after(self, takedown: Takedown) -> Toll:
        """The toll once `takedown` was carried out."""
        groups = Counter(self.groups)
        groups[takedown.group] += 1
        return Toll(groups, self.down | {takedown.place})

    def recovered(self, place: tuple[object, ...]) -> Toll:
        """The toll once the child at `place` serves again."""
        return Toll(self.groups, self.down - {place})


def is_victim(child: Child, rules: Rules) -> bool:
    """Whether chaos may take the child down.

    Victims are what the library supplies (locks, registries, engines, APIs), workers that have replicas, and
    those that the program starts under a dynamic supervisor. Another worker of which there is one is left
    alone, since it may be the measuring instrument or hold something of the outside world; naming it in
    `rules.only` makes it a victim. Supervisors never are: they crash through their children; nor are
    temporary children, which nobody starts again.
    """
    if child.kind == "supervisor" or child.temporary:
        return False
    names = {child.id, child.label, child.group[-1], "/".join(child.group)}
    if names & rules.spare:
        return False
    if rules.only:
        return bool(names & rules.only)
    return child.kind != "worker" or child.replicas > 1 or child.dynamic


def victims(snapshot: Snapshot, rules: Rules, down: frozenset[tuple[object, ...]]) -> list[Child]:
    """Those that run, may be taken down, and have come back from their last time, in start order."""
    return [
        child
        for child in walk(snapshot.children)
        if child.process is not None
        and child.state == "running"
        and child.place not in down
        and is_victim(child, rules)
    ]


def choose(rng: random.Random, snapshot: Snapshot, toll: Toll, rules: Rules) -> Takedown | None:
    """Who is taken down next and how, or None while nobody can be.

    The group that was hit least comes first, so each kind of child is hit equally often however many replicas
    it has, as far as the time that it takes to come back allows. Within a group anybody may be it. The ways
    take turns in each group. The same generator, snapshots and toll give the same answer.
    """
    possible = victims(snapshot, rules, toll.down)
    if not possible:
        return None
    groups = sorted({child.group for child in possible})
    fewest = min(toll.groups[group] for group in groups)
    group = rng.choice([group for group in groups if toll.groups[group] == fewest])
    child = rng.choice([child for child in possible if child.group == group])
    how = WAYS[toll.groups[group] % len(WAYS)]
    return Takedown(child.path, child.group, child.kind, child.process, how, child.place)


def due(wanted: int, first: Progress | None, now: Progress | None, seconds: float) -> int:
    """How many of the wanted takedowns should have happened by now.

    They are spread evenly over what was left to do when the run began; where no job counts, over the clock.

    Args:
        wanted: The N of `--chaos N`.
        first: The job's progress when the tree had started.
        now: Its progress now.
        seconds: Since the tree had started.
    """
    if first is None or now is None or first.total <= 0:
        return min(wanted, int(seconds * BY_CLOCK))
    left = (first.total - first.done) * SPREAD
    if left <= 0:
        return 0
    # The half puts the takedowns in the middle of their shares, so none falls due before any work was done.
    return max(0, min(wanted, int((now.done - first.done) / left * wanted + 0.5)))
