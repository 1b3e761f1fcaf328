"""What a process of another OS process has in a registry here, which a placed child's pipe leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..actors import Future
from ..actors.engine import Identity
from .shared_table import SharedEntry, SharedTable
from .table import Holdings, Table

if TYPE_CHECKING:
    from ..actors import Pid
    from .errors import KeyLost


class _Dead(Identity):
    """Shown for a process over there that is dead, while its key stays taken."""

    __slots__ = ()

    def __init__(self, pid: Pid) -> None:
        self.id = pid.id
        self.name = pid.name
        self.actor = pid.actor
        self.parent = pid.parent
        self._fate = ("killed",)
        self._gone = False


class RemoteHoldings(Holdings):
    """One key of such a process, or an attempt to get it. It ends when that process gives it up, or when its
    OS process is gone, whatever becomes of the process that stands for it here.

    Args:
        table: the registry's.
        pid: the process that stands for it here.
        about: what whoever makes this knows of it.
        lost: told when the engine of the registry has taken the key away.
    """

    __slots__ = ("_lost", "about")

    def __init__(self, table: Table, pid: Pid, about: Any, lost: Callable[[], object]) -> None:
        super().__init__(table, pid)
        self.about = about
        self._lost = lost
        table.remote[self] = None

    @property
    def over(self) -> bool:
        return self.closed

    def enter(self, key: Any, value: Any) -> bool:
        """Enter the key; False when this was closed meanwhile. Waits for the engine, if there is one.

        Raises:
            AlreadyRegistered, UnknownRegistry, EngineDown, TypeError, ValueError: as Registry.register.
        """
        return self.table.register(self.pid, key, value, None, self)

    def change(self, value: Any) -> None:
        """It has another value."""
        table = self.table
        for entry in list(self.entries):
            entry.value = value
            if isinstance(table, SharedTable) and isinstance(entry, SharedEntry):
                table.shared.change(entry.claim, table.shared.stored_value(value))

    def hide(self) -> None:
        """It is dead, and its key stays taken."""
        for entry in list(self.entries):
            entry.pid = _Dead(self.pid)  # type: ignore[assignment]  # which readers pass over
        self.table.hide(self)

    def leave(self) -> list[Future[None]]:
        """As close; the answers come when the engine knows of that, or can't be reached."""
        known = []
        if isinstance(self.table, SharedTable):
            shared = self.table.shared
            known = [
                shared.leave(entry.claim) for entry in list(self.entries) if isinstance(entry, SharedEntry)
            ]
        self.close()
        return known

    def close(self) -> None:
        for entry in list(self.entries):
            # Listeners have heard of this one.
            entry.pid = self.pid
        super().close()

    def forget(self) -> None:
        self.table.remote.pop(self, None)

    def tell(self, lost: KeyLost, as_message: bool) -> None:
        self._lost()
