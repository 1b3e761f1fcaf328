"""What a registry is started with, and what is refused of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ..actors import ChildSpec
from .table import Table

KINDS = ("unique", "duplicate")


@attrs.frozen
class Options:
    """What a registry is started with; see `Registry.start_link`."""

    name: str
    keys: str
    partitions: int
    listeners: tuple[str, ...]
    meta: Mapping[Any, Any] | None
    linger: bool

    def __attrs_post_init__(self) -> None:
        """Refuse what is wrong, before anything is started."""
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"expected name to be a text that is not empty, got: {self.name!r}")
        if self.keys not in KINDS:
            raise ValueError(f"expected keys to be 'unique' or 'duplicate', got: {self.keys!r}")
        if not isinstance(self.partitions, int) or isinstance(self.partitions, bool) or self.partitions < 1:
            raise ValueError(f"expected partitions to be a positive integer, got: {self.partitions!r}")
        if not all(isinstance(each, str) for each in self.listeners):
            raise TypeError(f"expected listeners to be names of processes, got: {self.listeners!r}")
        if self.meta is not None and not isinstance(self.meta, Mapping):
            raise TypeError(f"expected meta to be a mapping, got: {self.meta!r}")
        if not isinstance(self.linger, bool):
            raise TypeError(f"expected linger to be True or False, got: {self.linger!r}")

    def table(self) -> Table:
        """A new, empty table."""
        return Table(
            self.name,
            unique=self.keys == "unique",
            partitions=self.partitions,
            linger=self.linger,
            listeners=self.listeners,
            meta=self.meta,
        )

    def fits(self, table: Table) -> bool:
        """Tell whether a table that was left behind is of this kind."""
        unique = self.keys == "unique"
        return (table.unique, table.partitions, table.linger) == (unique, self.partitions, self.linger)


def options_of(given: Mapping[str, Any]) -> Options:
    """Read the options of a registry.

    Raises:
        TypeError, ValueError: one is wrong, missing or unknown.
    """
    allowed = {"partitions": 1, "listeners": (), "meta": None, "linger": False}
    unknown = sorted(str(name) for name in set(given) - {*allowed, "keys", "name"})
    missing = [name for name in ("keys", "name") if name not in given]
    if unknown or missing:
        wrong = f"{missing[0]!r} is missing" if missing else ""
        if unknown:
            fields = [field.name for field in attrs.fields(ChildSpec)]
            near = difflib.get_close_matches(unknown[0], [*allowed, "keys", "name", *fields], 1)
            wrong = f"got: {unknown[0]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        raise TypeError(f"expected the options of a registry to be keys, name, {', '.join(allowed)}; {wrong}")
    complete = {**allowed, **given}
    listeners = complete["listeners"]
    if isinstance(listeners, str) or not isinstance(listeners, Iterable):
        raise TypeError(f"expected listeners to be a list of names of processes, got: {listeners!r}")
    return Options(**{**complete, "listeners": tuple(listeners)})
