"""`Via`: a key of a registry as the name of a process."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

import attrs

from ..actors import Pid
from ..actors.engine import check_alive, current
from .errors import UnknownRegistry
from .table import Table, find


@runtime_checkable
class NameModule(Protocol):
    """What else may stand first in a Via: Elixir's ``module`` in ``{:via, module, term}``."""

    def whereis_name(self, term: Any) -> Pid | None:
        """The living process that a term names."""


@attrs.frozen
class Via:
    """A name that lives in a registry: for `name=` when a process is started, and as a server afterwards.

    Use it for processes that come and go by the thousand and are found by a key, such as one per user. A
    handful of fixed processes are better off with plain `str` names.

    Args:
        registry: the name of a registry with unique keys; or something with `whereis_name(term)`, such as
            `PartitionSupervisor`.
        key: any hashable key.
        value: the value to register with it.

    Semantics: Elixir's ``{:via, Registry, {registry, key, value}}``.

    Example:
        ```python
        Registry.start_link(keys="unique", name="users")
        Agent.start_link(lambda: 0, name=Via("users", 42))
        assert Agent.get(Via("users", 42), lambda n: n) == 0
        Registry.stop("users")
        ```
    """

    registry: Any
    key: Hashable
    # A value need not be hashable for the name to be.
    value: Any = attrs.field(default=None, hash=False)

    def whereis_name(self) -> Pid | None:
        """The living process that has the key."""
        check_alive()
        if self._in_a_table():
            return unique(self.registry).named(self.key)
        if isinstance(self.registry, NameModule):
            return self.registry.whereis_name(self.key)
        raise self._no_registry()

    def register_name(self, pid: Pid) -> None:
        """Take the key for a process that is starting; called by the runtime, in that process.

        Raises:
            AlreadyRegistered: a living process has it.
            ValueError: the registry has duplicate keys, or the caller is not that process.
        """
        check_alive()
        if self._in_a_table():
            register_self(unique(self.registry), pid, self.key, self.value)
        else:
            self._elsewhere("register_name", pid)

    def unregister_name(self, pid: Pid) -> None:
        """Give the key up, if that process has it; also called when it dies, from anywhere."""
        if not self._in_a_table():
            self._elsewhere("unregister_name", pid)
            return
        # A death gives up all keys by itself, and what it calls must not run the key's own code.
        if pid.alive:
            with suppress(UnknownRegistry):
                find(self.registry).unregister(pid, self.key)

    def _in_a_table(self) -> bool:
        return isinstance(self.registry, (str, Pid))

    def _elsewhere(self, what: str, pid: Pid) -> None:
        method = getattr(self.registry, what, None)
        if method is not None:
            method(self.key, pid)
        elif isinstance(self.registry, NameModule):
            raise ValueError(
                f"{self} finds processes and cannot name any: its {self.registry!r} has no {what}"
            )
        else:
            raise self._no_registry()

    def _no_registry(self) -> TypeError:
        return TypeError(
            f"expected the registry of a Via to be a registry's name or Pid, got: {self.registry!r}"
        )

    def __str__(self) -> str:
        registry = (
            self.registry
            if isinstance(self.registry, str)
            else getattr(self.registry, "__name__", self.registry)
        )
        return f"{registry}/{self.key}"


def unique(registry: object) -> Table:
    """Find a table with unique keys.

    Raises:
        ValueError: its keys are duplicate.
    """
    table = find(registry)
    if not table.unique:
        raise ValueError(
            f"a name needs a registry with unique keys, and registry {table.name!r} has duplicate ones; "
            f"use Registry.lookup or Registry.dispatch there"
        )
    return table


def register_self(table: Table, pid: Pid, key: Any, value: Any) -> None:
    """Register a process that is the current one.

    Raises:
        ValueError: it is another one: nobody registers somebody else.
    """
    me = current()
    if me is not pid:
        raise ValueError(f"a process registers only itself: {me} cannot register {pid} under {key!r}")
    table.register(pid, key, value)
