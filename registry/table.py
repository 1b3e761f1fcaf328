"""The table of a registry: memory that every process reads and writes itself, with no message and no lock.

It outlives the registry's process, as an ETS table with an heir outlives its owner. There are never two
mutators that could undo each other: each change of the index is one step (`resprout.actors.engine`), and
what belongs together is ordered so that being cut after any step leaves something true:

- An entry is listed with its owner *before* it claims the key. The dying close the owner's list *before*
  they sweep it. So either the sweep finds the entry in the index, or the claimant finds the list closed and
  takes the entry out itself.
- A key whose owner is dead but not swept yet is free: the newcomer replaces exactly the entry that it
  judged. So a restarted child never waits for, and never races with, the clean-up of its former life.
- Readers look at the owner's life, so a dead one is never shown, swept or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

from ..actors import AlreadyRegistered, CallTimeout, NotFound, Pid, ProcessExit, process, telemetry
from ..actors.engine import elsewhere, first_use, remember, remove, was_there
from .errors import KeyLost, UnknownRegistry
from .index import DuplicateIndex, Entry, Index, UniqueIndex
from .journal import Journal
from .keys import Keyring
from .lock_queues import KeyLocks
from .notifications import Listener

REGISTERED = ("resprout", "registry", "registered")
UNREGISTERED = ("resprout", "registry", "unregistered")
AMBIENT = ("thread", "task")

tables: dict[str, Table] = {}
"""Every registry's table, by name."""
begun: list[Callable[[Table], object]] = []
"""Told of a new table before anybody finds it."""


class Flush:
    """Tells a registry's process that its journal has something to tell."""

    __slots__ = ()


FLUSH = Flush()


class Holdings:
    """What one process has in one registry; tied to the life of that process."""

    __slots__ = ("closed", "entries", "left", "pid", "table")

    def __init__(self, table: Table, pid: Pid) -> None:
        self.table = table
        self.pid = pid
        self.entries: dict[Entry, None] = {}
        self.closed = False
        self.left = False

    @property
    def over(self) -> bool:
        """Whether its keys are free, swept or not."""
        # A lingering key guards work, so it is free only when that work has stopped.
        return self.left if self.table.linger else not self.pid.alive

    def owner_died(self, pid: Pid, reason: object) -> None:
        if self.table.linger:
            self.closed = True
            self.table.ghosts[pid.id] = self
            self.table.hide(self)
        else:
            self.close()

    def owner_left(self, pid: Pid) -> None:
        self.left = True
        if self.table.linger:
            self.close()

    def close(self) -> None:
        """Take everything out, once and for all. Steps only, and again changes nothing."""
        # In this order: what a claimant lists after the sweep, it finds the list closed and takes out itself.
        self.closed = True
        self.table.sweep(self)

    def tell(self, lost: KeyLost, as_message: bool) -> None:
        """The owner has lost a key, which it gets an exit signal for, or a message."""
        try:
            if as_message:
                process.send(self.pid, lost)
            else:
                process.exit(self.pid, lost)
        except (ProcessExit, CallTimeout):
            # It has ended by itself.
            return

    def forget(self) -> None:
        """The table has it no more."""
        table = self.table
        for owners in (table.owners, table.ghosts, table.ambient):
            owners.pop(self.pid.id, None)


class Table:
    """The keys, owners, metadata and locks of one registry.

    Args:
        name: the registry's name.
        unique: whether a key has at most one owner.
        partitions: see UniqueIndex.
        linger: keys of a killed owner stay taken, though not shown, until its code has left.
        listeners: names of processes that are told.
        meta: the first metadata.
    """

    no_meta = ""
    """Why there is no metadata, where that is to be said."""

    def __init__(
        self,
        name: str,
        *,
        unique: bool = True,
        partitions: int = 1,
        linger: bool = False,
        listeners: tuple[str, ...] = (),
        meta: Mapping[Any, Any] | None = None,
    ) -> None:
        self.name = name
        self.unique = unique
        self.partitions = partitions
        self.linger = linger
        self.listeners: tuple[Listener, ...] = ()
        self.listen(listeners)
        self.keyring = Keyring()
        index = UniqueIndex(partitions) if unique else DuplicateIndex(partitions)
        self.index: Index = index
        # What readers of unique keys may look into directly.
        self.whole: dict[Any, Entry] | None = index.whole if isinstance(index, UniqueIndex) else None
        self.owners: dict[int, Holdings] = {}
        # The dead whose keys linger, and the threads and tasks, whose end is noticed before it is cleaned
        # up after.
        self.ghosts: dict[int, Holdings] = {}
        self.ambient: dict[int, Holdings] = {}
        # What processes of other OS processes have here; see `remote`.
        self.remote: dict[Holdings, None] = {}
        self.meta: dict[Any, Any] = {}
        self.locks = KeyLocks()
        self.journal = Journal(name)
        self.server: Pid | None = None
        self.lives = 0
        self.ended = False
        for key, value in (meta or {}).items():
            self.put_meta(key, value)

    # -- changing, by the owner ----------------------------------------------

    def register(
        self,
        me: Pid,
        key: Any,
        value: Any,
        timeout: float | None = None,
        holdings: Holdings | None = None,
    ) -> bool:
        """Enter a key for its owner; False when the owner died meanwhile. Nobody is waited for.

        Args:
            me: the owner.
            key: the key.
            value: its value.
            timeout: not used here.
            holdings: where it is entered, if not with what the owner has.

        Raises:
            AlreadyRegistered: a unique key has an owner.
            UnknownRegistry: the registry was stopped meanwhile.
        """
        ident = self.keyring.take(key)
        if holdings is None:
            holdings = self.holdings(me)
        entry = Entry(ident, me, value, holdings)
        holdings.entries[entry] = None
        while (there := self.index.claim(entry)) is not entry:
            if not self._is_over(there):
                holdings.entries.pop(entry, None)
                raise AlreadyRegistered(there.pid, key)
            if self.listeners or telemetry.heard(UNREGISTERED):
                self.journal.end(there)
            if self.index.replace(there, entry):
                there.holdings.entries.pop(there, None)
                break
        if holdings.closed or self.ended:
            self._take_out(entry)
            if self.ended:
                raise UnknownRegistry(self.name, tables)
            return False
        if self.listeners or telemetry.heard(REGISTERED):
            self.journal.begin(entry)
            self.wake()
        else:
            entry.logged = True
        return True

    def _tell_of_the_beginning(self, entry: Entry) -> None:
        if self.listeners or telemetry.heard(REGISTERED):
            self.journal.begin(entry)
            self.wake()
        else:
            entry.logged = True

    def _tell_of_the_end(self, entry: Entry) -> None:
        # One that never got its key was never there.
        if (self.listeners or telemetry.heard(UNREGISTERED)) and self.index.holds(entry):
            self.journal.end(entry)

    def unregister(self, me: Pid, key: Any, wanted: Callable[[Any], bool] | None = None) -> None:
        """Take out the owner's entries of a key (with `wanted`: those whose value it accepts)."""
        for entry in self.under(key):
            if entry.pid is me and (wanted is None or wanted(entry.value)):
                told = self.listeners or telemetry.heard(UNREGISTERED)
                if told:
                    self.journal.end(entry)
                self._take_out(entry)
                if told:
                    self.wake()

    give_up = unregister
    """What `Registry.unregister` does: the same, where no engine has to know."""

    def update(self, me: Pid, key: Any, fn: Callable[[Any], Any]) -> tuple[Any, Any]:
        """Replace the value of the owner's key by `fn(value)`; return new and old.

        Raises:
            NotFound: the key is not the owner's.
        """
        for entry in self.under(key):
            if entry.pid is me:
                old = entry.value
                new = entry.value = fn(old)
                return new, old
        raise NotFound(f"{me} has not registered {key!r} in registry {self.name!r}")

    def _take_out(self, entry: Entry) -> None:
        self.index.release(entry)
        entry.holdings.entries.pop(entry, None)

    def _is_over(self, entry: Entry) -> bool:
        over: bool = entry.holdings.over
        return over

    def holdings(self, me: Pid) -> Holdings:
        """What a process has here; made, and tied to its life, the first time."""
        there = self.owners.get(me.id)
        if there is None:
            new = Holdings(self, me)
            there = self.owners.setdefault(me.id, new)
            if there is new:
                if me.kind in AMBIENT:
                    self.ambient[me.id] = new
                me.attach(new)
        return there

    # -- changing, by the dying -----------------------------------------------

    def hide(self, holdings: Holdings) -> None:
        """An owner is dead whose keys linger: they are not shown, as readers look at its life."""

    def sweep(self, holdings: Holdings) -> None:
        """Take out all that an owner had. Steps only: this runs in whatever thread carries a death out."""
        entries = (*holdings.entries,)
        told = entries and (self.listeners or telemetry.heard(UNREGISTERED))
        if told:
            for entry in entries:
                # One that is listed and did not get its key was never there.
                if self.index.holds(entry):
                    self.journal.end(entry)
        self.index.release_all(entries)
        holdings.entries.clear()
        holdings.forget()
        if told:
            self.wake(afar=True)

    # -- telling --------------------------------------------------------------

    def listen(self, names: Iterable[str]) -> None:
        """Have these hear of everything from now on; who did so before still hears what it has lost."""
        before = {each.name: each for each in self.listeners}
        self.listeners = tuple(
            [before.get(name) or Listener(self.name, name, self.wake_anyway) for name in names]
        )

    def wake_anyway(self) -> None:
        """Have the registry's process look what it has to tell, from anywhere."""
        server = self.server
        if server is not None:
            server.deliver_from_afar(FLUSH)

    def wake(self, *, afar: bool = False) -> None:
        """Have the registry's process tell what is in the journal; a starting one does so anyway."""
        server = self.server
        if server is not None and len(self.journal):
            if afar:
                server.deliver_from_afar(FLUSH)
            else:
                server.send(FLUSH)

    # -- reading ---------------------------------------------------------------

    def under(self, key: Any) -> tuple[Entry, ...]:
        """The entries of a key, of living and dead owners."""
        return self.index.under(self.keyring.find(key))

    def pairs(self, key: Any) -> list[tuple[Pid, Any]]:
        """The living owners of a key with their values."""
        return [
            (entry.pid, entry.value) for entry in self.index.under(self.keyring.find(key)) if entry.pid.alive
        ]

    def owner(self, key: Any) -> Pid | None:
        """The living owner of a unique key."""
        for entry in self.index.under(self.keyring.find(key)):
            if entry.pid.alive:
                return entry.pid
        return None

    named = owner
    """The same, as somebody to be sent something."""

    # What follows is for coroutines; here nothing waits.

    async def aregister(self, me: Pid, key: Any, value: Any, timeout: float | None = None) -> bool:
        """As register."""
        return self.register(me, key, value)

    async def agive_up(self, me: Pid, key: Any) -> None:
        """As give_up."""
        self.unregister(me, key)

    async def apairs(self, key: Any) -> list[tuple[Pid, Any]]:
        """As pairs."""
        return self.pairs(key)

    async def aowner(self, key: Any) -> Pid | None:
        """As owner."""
        return self.owner(key)

    def of(self, pid: Pid) -> list[Entry]:
        """The entries of a living process, oldest first."""
        holdings = self.owners.get(pid.id)
        if not pid.alive:
            return []
        entries = [] if holdings is None else list(holdings.entries)
        if self.remote:
            entries += [entry for entry in self._of_remote() if entry.pid is pid]
        return [entry for entry in entries if self.index.holds(entry)]

    def living(self) -> Iterator[Entry]:
        """All entries of living owners."""
        for piece in self.index.walk():
            for entry in piece:
                if entry.pid.alive:
                    yield entry

    def __len__(self) -> int:
        """How many entries are shown; in constant time, but for the threads, tasks and placed children among
        the owners.
        """
        while True:
            dead = {id: each for id, each in list(self.ambient.items()) if not each.pid.alive}
            dead.update(self.ghosts)
            lingering = []
            for holdings in dead.values():
                if self.linger and not holdings.left:
                    lingering.append(holdings)
                else:
                    # Its end is known already, and cleaning up is everybody's right: nobody waits for it.
                    holdings.close()
            shown = len(self.index) - sum([len(each.entries) for each in lingering])
            if not any(each.left for each in lingering):
                # None of them was being swept while they were counted.
                return shown - (self._unseen() if self.remote else 0)

    def _unseen(self) -> int:
        """How many entries there are of dead processes elsewhere, whose keys are taken still."""
        return sum([entry.pid.dead and self.index.holds(entry) for entry in self._of_remote()])

    def _of_remote(self) -> list[Entry]:
        return [entry for each in list(self.remote) for entry in list(each.entries)]

    # -- metadata --------------------------------------------------------------

    def put_meta(self, key: Hashable, value: Any) -> None:
        """Store metadata; the last one to store wins."""
        self.meta[self.keyring.take(key)] = value

    def delete_meta(self, key: Hashable) -> None:
        """Forget metadata, if there is any."""
        self.meta.pop(self.keyring.find(key), None)

    # -- the registry's process ------------------------------------------------

    def adopt(self, server: Pid) -> None:
        """Belong to a process: the first, or the next incarnation after a crash."""
        self.server = server
        self.lives += 1

    def end(self) -> None:
        """Forget everything. The table cannot be used again."""
        self.ended = True
        self.server = None
        remove(tables, self.name, self)
        for holdings in list(self.owners.values()):
            holdings.pid.detach(holdings)
        self.locks.close(UnknownRegistry(self.name, tables))


def find(registry: object) -> Table:
    """Find a table by the registry's name or Pid.

    Raises:
        UnknownRegistry: there is none.
        TypeError: that is neither a name nor a Pid.
    """
    if isinstance(registry, str):
        table = tables.get(registry)
    elif isinstance(registry, Pid):
        table = next((each for each in list(tables.values()) if each.server is registry), None)
    else:
        raise TypeError(f"expected registry to be a registry's name or Pid, got: {registry!r}")
    if table is None:
        if first_use():
            return find(registry)
        if isinstance(registry, str):
            table = elsewhere.find_in_parent("registries", registry)
    if table is None:
        raise UnknownRegistry(registry, tables, forked=was_there("registry", registry))
    return table


def _begin_anew() -> None:
    """A fork takes the memory along and none of the processes."""
    remember("registry", (*tables, *(each.server for each in tables.values())))
    tables.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
