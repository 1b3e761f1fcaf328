"""The process of a registry: it owns the table's beginning and end, and tells the journal to the listeners.

Nobody waits for it: keys are read and written in the table. When it crashes, its supervisor starts the next
one, which adopts the table with all registrations of living owners; meanwhile everything works, and events
are told a little later.

Differs from OTP: Elixir's registry owns the ETS tables and links every owner, so its crash loses all
registrations and kills the owners. Here the table outlives the process, and owners are not linked.
"""

from __future__ import annotations

from typing import Any

from ..actors import NoReply, Ok, is_orderly, telemetry
from ..actors.engine import LibraryServer, elsewhere
from .events import Change, Registered
from .options import Options
from .table import AMBIENT, FLUSH, REGISTERED, UNREGISTERED, Flush, Table, begun, tables

ADOPTED = ("resprout", "registry", "adopted")
TELL = 128
"""Events that are told before other messages get a chance."""


class RegistryServer(LibraryServer):
    """See the module. It runs on the sender's thread, since it only sends."""

    blocking = False
    trap_exit = True
    _what = "the process of a registry"
    _one_per_tree = True
    _use = "the functions of Registry (register, lookup, dispatch, ...)"

    def init(self, arg: Options) -> Ok:
        table = tables.get(arg.name)
        if table is not None and arg.fits(table):
            table.listen(arg.listeners)
        else:
            if table is not None:
                table.end()
            table = arg.table()
            elsewhere.likely.add("registries")
            for tell_of in begun:
                tell_of(table)
            tables[arg.name] = table
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
        parent = self.pid.parent
        alone = parent is not None and parent.dead and parent.kind in AMBIENT
        if is_orderly(reason) or alone:
            # Everything else is a crash, and the next incarnation wants the table; a thread or task that has
            # ended starts none.
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
