"""The process-wide table of locks. A name leads to a ledger, not to a process, so nobody sees a restart."""

from __future__ import annotations

from collections.abc import Callable

from ...actors import LockNotFound, telemetry
from ...actors.engine import elsewhere, first_use, replace, why_not_here
from ..ledger.values import check_name
from .lock_core import LockCore
from .settings import Settings

cores: dict[str, LockCore] = {}


def _nothing(name: str) -> None:
    """Stand for the renewal of locks, where there is nothing to renew."""


def _nothing_to_restore(core: LockCore) -> None:
    """Stand for the restoration of locks, before there is a tree for them."""


def _of_parent(name: str) -> LockCore | None:
    """In a placed child: the lock of that name of its parent."""
    core: LockCore | None = elsewhere.find_in_parent("locks", name)
    return core


class Table:
    """Lock-free: a change is one operation on a dict; a core is only forgotten inside its combiner."""

    __slots__ = ("_highest", "inherited", "renew", "restore")

    def __init__(self) -> None:
        self._highest: dict[int, int] = {0: 0}
        """Under 0, the highest token that a forgotten lock has given."""
        self.inherited: dict[str, Settings] = {}
        """In a forked child: the locks that its parent had, until there is one of that name here."""
        self.renew: Callable[[str], LockCore | None] = _nothing
        """In a forked child: makes one of those anew (see forked)."""
        self.restore: Callable[[LockCore], object] = _nothing_to_restore
        """Starts the process of a lock again that belongs to the library's own tree (see tree)."""

    def find(self, name: str) -> LockCore:
        """Return the core of a lock.

        Raises:
            LockNotFound: no lock has that name.
        """
        core = cores.get(name)
        if core is None or core.ledger.closed:
            if first_use():
                return self.find(name)
            core = self.renew(check_name(name)) or _of_parent(name)
            if core is None:
                raise LockNotFound(name, why_not_here(name))
        return core

    def open(self, settings: Settings) -> LockCore:
        """Return the core that a new lock process is to adopt: that of its former life, else a new one."""
        core = cores.get(settings.name)
        over = core is not None and (core.ledger.closed or core.in_parent)
        if core is not None and over and core.settings.engine != settings.engine:
            # Another lock of the same name: who holds the former one gives it back to that.
            self.forget(core)
            core = None
        if core is None:
            # Whoever is first; a second lock process of that name does not come this far.
            core = cores.setdefault(settings.name, LockCore(settings, self))
        return core

    def highest_token(self) -> int:
        """Return the highest token that a forgotten lock has given, so that its successor's are higher."""
        return self._highest[0]

    def keep(self, core: LockCore) -> None:
        """Have it found by its name."""
        cores[core.settings.name] = core
        self.inherited.pop(core.settings.name, None)

    def orphaned(self, core: LockCore) -> None:
        """Have its process started again."""
        self.restore(core)

    def forget(self, core: LockCore) -> None:
        """Have it found no more, if it is found."""
        name = core.settings.name
        if cores.get(name) is core:
            self.note_token(core)
            del cores[name]

    def note_token(self, core: LockCore) -> None:
        """Have those of later locks be higher than what this one has given."""
        given = core.ledger.token
        while True:
            highest = self._highest[0]
            if given <= highest or replace(self._highest, 0, highest, given):
                break


table = Table()
# Of the children that this process places.
elsewhere.likely.add("locks")


def _hear() -> None:
    for core in list(cores.values()):
        core.hear()


# So that no step has to look whether anybody listens.
telemetry.on_change(_hear)
