"""The pipe of a placed child as an engine: it uses the locks of its parent by their names.

`Locks` is what both ends find in the entry points of `resprout.placed`: the child looks for locks there
(`find`, by way of throttle's table), the parent for who answers (`serve`).
"""

from __future__ import annotations

import os
import pickle
from typing import Any

from ..actors import LockNotFound
from ..actors.engine import replace
from ..supervision.engine import LOCKS, Link, ask_parent, parents
from ..throttle import Holder, Waiter
from ..throttle.engine import Ledger, LockCore, Settings, Steps, cores, engines
from .pipe_lock import PARENT, ParentLedger, ParentLock, ask, by_number, tell_parent
from .pipe_messages import Denied, Ended, Given, Listed, Look, ToChild
from .pipe_parent import ChildsClaims


class Locks:
    """See the module."""

    @staticmethod
    def serve(link: Link) -> ChildsClaims:
        """In the parent: what answers a child."""
        return ChildsClaims(link)

    @staticmethod
    def find(name: str) -> LockCore | None:
        """In the child: a lock of the parent's; None where that has none of the name. One round trip."""
        _listen()
        opened = ask(name)
        if opened is None:
            return None
        while True:
            there = cores.get(name)
            if isinstance(there, ParentLock) and not there.ended:
                there.reopen(opened)
                return there
            made = ParentLock(opened)
            if (cores.setdefault(name, made) is made) if there is None else replace(cores, name, there, made):
                return made
            # Somebody else was faster.
            by_number.pop(made.number, None)


class ParentEngine:
    """To the locks it is an Engine (see throttle.engine): the parent, over the pipe."""

    def check(self, settings: Settings) -> None:
        """Refuse any lock but those of the parent's.

        Raises:
            ValueError: it is another.
        """
        raise ValueError(
            f"expected engine to be one that was started here, got: {PARENT!r}, whose locks are used by "
            f"their names"
        )

    def make_ledger(self, settings: Settings, core: Steps, token: int) -> Ledger:
        """Make the ledger of a lock."""
        if not isinstance(core, ParentLock):
            self.check(settings)
            raise AssertionError(core)
        return ParentLedger(settings.name, settings.num_slots, core.number << 32)

    def everywhere(self, ledger: Any) -> tuple[list[Holder], list[Waiter]]:
        """List who holds and who waits, in the whole tree. One round trip.

        Raises:
            LockNotFound: the parent has it no more.
            EngineDown: the parent's engine of the lock can't be reached.
        """
        assert isinstance(ledger, ParentLedger)
        answer = ask_parent(LOCKS, pickle.dumps(Look(ledger.name)))
        found: Any = LockNotFound(ledger.name) if answer is None else pickle.loads(answer)
        if isinstance(found, Exception):
            raise found
        holders, waiters = [], []
        for each in found:
            pid = _pid_of(each, ledger)
            if each.token is None:
                waiters.append(Waiter(pid, each.priority, each.weight, each.seconds))
            else:
                holders.append(Holder(pid, each.token, each.weight, each.seconds, each.straggler))
        return holders, waiters


def _pid_of(each: Listed, ledger: ParentLedger) -> Any:
    ticket = None if each.ref is None else ledger.tickets.get(each.ref)
    return each.pid if ticket is None else (ticket.hold or ticket.claim).pid


def _listen() -> None:
    """In the child, from the first use on: hear what the parent says."""
    if not parents or LOCKS in parents[0].on_told:
        return
    engines[PARENT] = ParentEngine()
    parents[0].on_end.append(_parent_died)
    parents[0].on_told[LOCKS] = _told


def _told(body: bytes) -> None:
    # On the thread of the hub.
    message: ToChild = pickle.loads(body)
    lock = by_number.get(message.ref >> 32)
    if lock is not None:
        lock.told(message)
        if isinstance(message, Denied) and message.gone:
            lock.parent_has_none()
    elif isinstance(message, Given):
        tell_parent(Ended(message.ref, "ignored"))


def _parent_died() -> None:
    for lock in list(by_number.values()):
        lock.parent_died()


def _leave_to_parent() -> None:
    """In a forked process, which is no child of the tree."""
    by_number.clear()
    engines.pop(PARENT, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
