"""What an observer sees of a registry: `RegistryStatistics`, and a `Snapshot` to page through."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import attrs

from ..actors import Pid
from .index import Entry
from .table import Table


@attrs.frozen
class RegistryStatistics:
    """How a registry is doing.

    Attributes:
        name: its name.
        pid: its process; None while that is being restarted.
        keys: ``"unique"`` or ``"duplicate"``.
        partitions: as it was started.
        entries: registrations of living owners.
        owners: processes that have, or once had, a key and live.
        lingering: killed owners whose code still runs, with `linger`.
        locked: keys locked by `Registry.lock`.
        waiting: processes that wait for one of those.
        untold: events that the listeners have not got yet.
        restarts: how often the registry's process was started again.
    """

    name: str
    pid: Pid | None
    keys: str
    partitions: int
    entries: int
    owners: int
    lingering: int
    locked: int
    waiting: int
    untold: int
    restarts: int


@attrs.frozen
class Row:
    """One registration, as it was when its page was read."""

    key: Hashable
    pid: Pid
    value: Any


@attrs.frozen
class Snapshot:
    """The registrations of one moment, to be read page by page; later ones do not shift the pages.

    Taking one copies references only (about 10 ns a key), and a page costs what it shows. Owners that died
    since are left out, so a page may be shorter than asked.
    """

    statistics: RegistryStatistics
    _entries: tuple[Entry, ...] = attrs.field(repr=False)

    def page(self, number: int, size: int = 100) -> tuple[Row, ...]:
        """One page.

        Args:
            number: from 0.
            size: rows of a page.

        Returns:
            Its rows; none beyond the last page.

        Raises:
            ValueError: a negative number, or a size below 1.
        """
        if number < 0 or size < 1:
            raise ValueError(f"expected number >= 0 and size >= 1, got: {number!r}, {size!r}")
        part = self._entries[number * size : (number + 1) * size]
        return tuple([Row(entry.key, entry.pid, entry.value) for entry in part if entry.pid.alive])

    def pages(self, size: int = 100) -> Iterator[tuple[Row, ...]]:
        """All pages."""
        for number in range(-(-len(self._entries) // size)):
            yield self.page(number, size)

    def __len__(self) -> int:
        """How many registrations there were."""
        return len(self._entries)


def statistics_of(table: Table) -> RegistryStatistics:
    """Count."""
    server = table.server
    return RegistryStatistics(
        name=table.name,
        pid=server if server is not None and server.alive else None,
        keys="unique" if table.unique else "duplicate",
        partitions=table.partitions,
        entries=len(table),
        owners=len({each.pid.id for each in list(table.remote)}.union(table.owners)) - len(table.ghosts),
        lingering=len(table.ghosts),
        locked=table.locks.held,
        waiting=table.locks.waiting,
        untold=len(table.journal),
        restarts=max(0, table.lives - 1),
    )


def snapshot_of(table: Table) -> Snapshot:
    """Collect the entries, each piece in one step."""
    return Snapshot(statistics_of(table), tuple([entry for piece in table.index.walk() for entry in piece]))
