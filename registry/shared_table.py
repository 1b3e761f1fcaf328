"""The table of a registry whose keys an engine keeps for several processes.

The engine arbitrates between processes of the operating system, this table between the processes of one. A
key is claimed in the engine, then entered here; what leaves the table is released there first. So an entry
is never here without its claim there, but for the moment in which the engine takes it away:

- An entry is listed with its owner *before* it is claimed. The dying close the owner's list *before* they
  sweep it, which gives up every claim. So either the sweep sees the claim, or the claimant finds the list
  closed and gives it up itself.
- An entry is in the table *before* its claim is taken. So either the engine finds it taken when it takes the
  key away, and has it removed and its owner told, or the claimant hears that it has to wait again.
- A key whose owner is dead but not swept yet is given up by the newcomer, which then claims it: both go
  through one queue, in this order. So a restarted child is never in the way of its former life.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..actors import AlreadyRegistered, CallTimeout, Future, Pid, forbid_loop
from ..actors.engine import check_timeout
from .engine import OnLost, OnUnreachable, SharedKeys, SharedSettings, find_key_engine
from .errors import KeyLost, UnknownRegistry
from .index import Entry
from .table import Holdings, Table, tables

logger = logging.getLogger("resprout.registry")

OF = "of a registry with an engine"


class SharedEntry(Entry):
    """One registration, with its claim in the engine."""

    __slots__ = ("claim",)
    claim: Any


class SharedTable(Table):
    """See the module.

    Args:
        engine: its name.
        on_lost: how an owner hears that its key is lost, by an exit signal or a message.
        on_unreachable: what a round trip does while the engine can't be reached.
        options: those of Table.
    """

    def __init__(
        self, name: str, engine: str, on_lost: OnLost, on_unreachable: OnUnreachable, **options: Any
    ) -> None:
        super().__init__(name, **options)
        self.engine = engine
        self.on_lost = on_lost
        self.on_unreachable = on_unreachable
        # Readers must not look into the dict directly: who is in it may have lost the key just now.
        self.whole = None
        self.shared = self._make_keys(SharedSettings(name, on_unreachable, self.lose, self._unknown))

    def _make_keys(self, settings: SharedSettings) -> SharedKeys:
        return find_key_engine(self.engine).make_keys(settings)

    # -- changing, by the owner ------------------------------------------------

    def register(
        self,
        me: Pid,
        key: Any,
        value: Any,
        timeout: float | None = None,
        holdings: Holdings | None = None,
    ) -> bool:
        """As Table.register, after the engine was asked.

        Raises:
            AlreadyRegistered: the key has an owner, here or elsewhere.
            CallTimeout: the engine has not answered in time.
            EngineDown: it can't be reached, and nobody is to wait for that.
            UnknownRegistry: the registry was stopped meanwhile.
            TypeError, ValueError: key or value can't be stored.
        """
        forbid_loop(f"Registry.register() {OF}", "Registry.aregister(...)")
        check_timeout(timeout)
        until = None if timeout is None else monotonic() + timeout
        entry = self._make(me, key, value, holdings)
        try:
            self._ask(entry)
            entered = False
            while True:
                left = None if until is None else max(0.0, until - monotonic())
                if entered or not self._answer(entry).result(left):
                    break
                entered = self._enter(entry)
            return self._settled(entry, entered)
        except BaseException as error:
            self._take_out(entry)
            if isinstance(error, CallTimeout):
                raise self._late(key, timeout) from None
            raise

    async def aregister(self, me: Pid, key: Any, value: Any, timeout: float | None = None) -> bool:
        check_timeout(timeout)
        entry = self._make(me, key, value)
        alarm = None if timeout is None else self.shared.expire(entry.claim, timeout)
        try:
            self._ask(entry)
            entered = False
            while True:
                if entered or not await self._answer(entry):
                    break
                entered = self._enter(entry)
            return self._settled(entry, entered)
        except BaseException as error:
            self._take_out(entry)
            if isinstance(error, CallTimeout):
                raise self._late(key, timeout) from None
            raise
        finally:
            if alarm is not None:
                alarm.cancel()

    def _late(self, key: Any, timeout: float | None) -> CallTimeout:
        return CallTimeout(
            f"registry {self.name!r}: engine {self.engine!r} has not said within {timeout:g} s whether "
            f"{key!r} is free"
        )

    def _make(self, me: Pid, key: Any, value: Any, holdings: Holdings | None = None) -> SharedEntry:
        """Make an entry for a key, unless somebody here has that. Nobody knows of it yet."""
        stored = self.shared.stored_key(key), self.shared.stored_value(value)
        for there in self.under(key):
            if not self._is_over(there):
                raise AlreadyRegistered(there.pid, key)
            self._tell_of_the_end(there)
            self._take_out(there)
        if self.ended:
            raise self._unknown()
        entry = SharedEntry(key, me, value, self.holdings(me) if holdings is None else holdings)
        entry.claim = self.shared.claim(*stored, entry)
        return entry

    def _ask(self, entry: SharedEntry) -> None:
        """Ask the engine for the key of an entry. Whoever does so takes it out if that is cut."""
        holdings = entry.holdings
        holdings.entries[entry] = None
        self.shared.ask(entry.claim)
        if holdings.closed:
            self.shared.drop(entry.claim)

    @staticmethod
    def _answer(entry: SharedEntry) -> Future[bool]:
        answer: Future[bool] = entry.claim.answer
        return answer

    def _enter(self, entry: SharedEntry) -> bool:
        """Put an entry whose claim was granted into the table; False when it has to wait again."""
        while (there := self.index.claim(entry)) is not entry:
            if not self._is_over(there):
                # It has the key there, too, and was not told that it has lost it.
                raise AlreadyRegistered(there.pid, entry.key)
            self._tell_of_the_end(there)
            if self.index.replace(there, entry):
                there.holdings.entries.pop(there, None)
                break
        if self.shared.take(entry.claim):
            return True
        self.index.release(entry)
        # It was given up, and so has an answer, or waits for a new one.
        return False

    def _settled(self, entry: SharedEntry, entered: bool) -> bool:
        """Tell of an entry that is in; False when it was given up, as its owner has died meanwhile."""
        if not entered or entry.holdings.closed or self.ended:
            self._take_out(entry)
            if self.ended:
                raise self._unknown()
            return False
        self._tell_of_the_beginning(entry)
        return True

    def give_up(self, me: Pid, key: Any, wanted: Callable[[Any], bool] | None = None) -> None:
        assert wanted is None
        forbid_loop(f"Registry.unregister() {OF}", "Registry.aunregister(...)")
        for known in self._leave(me, key):
            known.result()

    async def agive_up(self, me: Pid, key: Any) -> None:
        for known in self._leave(me, key):
            await known

    def _leave(self, me: Pid, key: Any) -> list[Future[None]]:
        mine = [entry for entry in self.under(key) if entry.pid is me]
        known = [self.shared.leave(entry.claim) for entry in mine if isinstance(entry, SharedEntry)]
        self.unregister(me, key)
        return known

    def update(self, me: Pid, key: Any, fn: Callable[[Any], Any]) -> tuple[Any, Any]:
        stored = ""

        def checked(old: Any) -> Any:
            nonlocal stored
            new = fn(old)
            stored = self.shared.stored_value(new)
            return new

        new, old = super().update(me, key, checked)
        for entry in self.under(key):
            if entry.pid is me and isinstance(entry, SharedEntry):
                self.shared.change(entry.claim, stored)
        return new, old

    def _take_out(self, entry: Entry) -> None:
        # First: what is out of the table, and still claimed there, nobody would ever release.
        assert isinstance(entry, SharedEntry)
        self.shared.drop(entry.claim)
        super()._take_out(entry)

    def _is_over(self, entry: Entry) -> bool:
        assert isinstance(entry, SharedEntry)
        return entry.claim.over or super()._is_over(entry)

    # -- changing, by the dying and the engine ------------------------------------

    def hide(self, holdings: Holdings) -> None:
        for entry in (*holdings.entries,):
            if isinstance(entry, SharedEntry):
                self.shared.hide(entry.claim)

    def sweep(self, holdings: Holdings) -> None:
        for entry in (*holdings.entries,):
            if isinstance(entry, SharedEntry):
                self.shared.drop(entry.claim)
        super().sweep(holdings)

    def lose(self, entry: SharedEntry) -> None:
        """The engine has taken a key away: its owner is told, and has it no more. In a process of its own."""
        self._tell_of_the_end(entry)
        self._take_out(entry)
        self.wake_anyway()
        lost = KeyLost(self.name, entry.key)
        logger.warning("%s: %s", entry.pid, lost)
        entry.holdings.tell(lost, self.on_lost == "tell")

    def end(self) -> None:
        super().end()
        self.shared.close()

    def _unknown(self) -> UnknownRegistry:
        return UnknownRegistry(self.name, tables)

    # -- reading, everywhere ---------------------------------------------------------

    def _here(self, key: Any) -> Entry | None:
        """The living owner of a key, if that is a process of this one's."""
        for entry in self.under(key):
            if entry.pid.alive and not self._is_over(entry) and self.shared.valid():
                return entry
        return None

    def pairs(self, key: Any) -> list[tuple[Any, Any]]:
        forbid_loop(f"Registry.lookup() {OF}", "Registry.alookup(...)")
        here = self._here(key)
        if here is not None:
            return [(here.pid, here.value)]
        return self.shared.find(self.shared.stored_key(key))

    async def apairs(self, key: Any) -> list[tuple[Any, Any]]:
        here = self._here(key)
        if here is not None:
            return [(here.pid, here.value)]
        return await self.shared.afind(self.shared.stored_key(key))

    def owner(self, key: Any) -> Any:
        forbid_loop(f"Registry.whereis() {OF}", "Registry.awhereis(...)")
        here = self._here(key)
        if here is not None:
            return here.pid
        found = self.shared.find(self.shared.stored_key(key))
        return found[0][0] if found else None

    async def aowner(self, key: Any) -> Any:
        found = await self.apairs(key)
        return found[0][0] if found else None

    def named(self, key: Any) -> Pid | None:
        """The owner as somebody to talk to.

        Raises:
            NotHere: it is a process of another OS process.
        """
        here = self._here(key)
        if here is not None:
            return here.pid
        owner = self.owner(key)
        # A FarPid says what it can't do.
        return owner if owner is None or isinstance(owner, Pid) else owner.whereis_name()
