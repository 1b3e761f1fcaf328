"""What a registry is started with, and what is refused of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ..actors import ChildSpec
from ..actors.engine import check_engine, check_without_engine
from .engine import OnLost, OnUnreachable, find_key_engine
from .shared_table import SharedTable
from .table import Table

KINDS = ("unique", "duplicate")
LONGEST_NAME = 200
"""Of a registry with an engine."""


@attrs.frozen
class Options:
    """What a registry is started with; see `Registry.start_link`."""

    name: str
    keys: str
    partitions: int
    listeners: tuple[str, ...]
    meta: Mapping[Any, Any] | None
    linger: bool
    engine: str | None = None
    on_lost: OnLost = "exit"
    on_unreachable: OnUnreachable = "wait"

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
        if self.on_lost not in ("exit", "tell"):
            raise ValueError(f"expected on_lost to be 'exit' or 'tell', got: {self.on_lost!r}")
        if self.on_unreachable not in ("wait", "raise"):
            raise ValueError(f"expected on_unreachable to be 'wait' or 'raise', got: {self.on_unreachable!r}")
        if check_engine(self.engine) is None:
            check_without_engine(self.on_lost, self.on_unreachable)
        else:
            self._check_shared()

    def _check_shared(self) -> None:
        if self.keys != "unique":
            raise ValueError(
                f"expected keys 'unique', as the registry has an engine, which decides who has a key; "
                f"got: {self.keys!r}"
            )
        if len(self.name) > LONGEST_NAME or not self.name.isprintable():
            raise ValueError(
                f"expected the name of a registry with an engine to be a printable text of at most "
                f"{LONGEST_NAME} characters, got: {self.name!r}"
            )

    def check_engine(self) -> None:
        """Refuse an engine that does not run, or can't keep keys, before anything is started.

        Raises:
            ValueError, ResproutError: see find_key_engine.
        """
        if self.engine is not None:
            find_key_engine(self.engine)

    def table(self) -> Table:
        """A new, empty table."""
        options: dict[str, Any] = {
            "partitions": self.partitions,
            "linger": self.linger,
            "listeners": self.listeners,
            "meta": self.meta,
        }
        if self.engine is not None:
            return SharedTable(self.name, self.engine, self.on_lost, self.on_unreachable, **options)
        return Table(self.name, unique=self.keys == "unique", **options)

    def fits(self, table: Table) -> bool:
        """Tell whether a table that was left behind is of this kind."""
        unique = self.keys == "unique"
        shared = (
            (table.engine, table.on_lost, table.on_unreachable)
            if isinstance(table, SharedTable)
            else (None, "exit", "wait")
        )
        return (table.unique, table.partitions, table.linger, *shared) == (
            unique,
            self.partitions,
            self.linger,
            self.engine,
            self.on_lost,
            self.on_unreachable,
        )


def options_of(given: Mapping[str, Any]) -> Options:
    """Read the options of a registry.

    Raises:
        TypeError, ValueError: one is wrong, missing or unknown.
    """
    allowed = {
        "partitions": 1,
        "listeners": (),
        "meta": None,
        "linger": False,
        "engine": None,
        "on_lost": "exit",
        "on_unreachable": "wait",
    }
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
