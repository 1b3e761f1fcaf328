"""The process of a registry: it owns the table's beginning and end, and tells the journal to the listeners.

Nobody waits for it: keys are read and written in the table. When it crashes, its supervisor starts the next
one, which adopts the table with all registrations of living owners; meanwhile everything works, and events
are told a little later.

Differs from OTP: Elixir's registry owns the ETS tables and links every owner, so its crash loses all
registrations and kills the owners. Here the table outlives the process, and owners are not linked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..actors import NoReply, Ok, is_orderly, telemetry
from ..actors.engine import LibraryServer
from .events import Change, Registered
from .table import FLUSH, REGISTERED, UNREGISTERED, Flush, Table, tables

ADOPTED = ("resprout", "registry", "adopted")
KINDS = ("unique", "duplicate")
TELL = 128
"""Events that are told before other messages get a chance."""


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


class RegistryServer(LibraryServer):
    """See the module. It runs on the sender's thread, since it only sends."""

    blocking = False
    trap_exit = True
    _what = "the process of a registry"
    _use = "the functions of Registry (register, lookup, dispatch, ...)"

    def init(self, arg: Options) -> Ok:
        table = tables.get(arg.name)
        if table is not None and arg.fits(table):
            table.listen(arg.listeners)
        else:
            if table is not None:
                table.end()
            table = tables[arg.name] = arg.table()
        table.adopt(self.pid)
        if table.lives > 1:
            telemetry.tell(ADOPTED, {"keys": len(table)}, {"registry": arg.name, "pid": self.pid})
        return Ok(table, continue_with=FLUSH)

    def handle_continue(self, token: Any, state: Table) -> NoReply:
        return self.handle_info(FLUSH, state)

    def handle_info(self, message: Any, state: Table) -> NoReply:
        if message.__class__ is not Flush:
            return super().handle_info(message, state)  # type: ignore[no-any-return]  # a NoReply
        table = state
        for listener in table.listeners:
            listener.catch_up()
        if table.journal.tell(lambda event: tell(table, event), TELL):
            self.pid.send(FLUSH)
        return NoReply(state)

    def terminate(self, reason: object, state: Table) -> None:
        if is_orderly(reason):
            # Everything else is a crash, and the next incarnation wants the table.
            try:
                state.journal.tell(lambda event: tell(state, event), len(state.journal))
                for listener in state.listeners:
                    listener.catch_up(at_last=True)
            finally:
                state.end()


def tell(table: Table, event: Change) -> None:
    """Send an event to all listeners, and emit it. Costs the same however many owners there are."""
    for listener in table.listeners:
        listener.hear(event)
    began = isinstance(event, Registered)
    name = REGISTERED if began else UNREGISTERED
    if telemetry.heard(name):
        about = {"registry": event.registry, "key": event.key, "pid": event.pid}
        if isinstance(event, Registered):
            about["value"] = event.value
        # Not len(table), which looks at every thread and task among the owners.
        telemetry.tell(name, {"keys": len(table.index)}, about)
