"""Locks by key, which belong to a process and end with it.

The queue of a key is an immutable tuple, its head the holder; every change puts a new tuple in the place of
the one that was looked at. After each change the head is told that it is the head, and telling is
repeatable: so a change that was cut between the two steps is repaired by the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actors import Future
from ..actors.engine import kernel, remove, replace
from .keys import Keyring

if TYPE_CHECKING:
    from ..actors import Pid


class Ticket:
    """A place in the queue of one key; tied to the life of the process that waits or holds.

    A waiter that dies leaves the queue. A holder that is killed keeps the lock until its code has really
    left it.
    """

    __slots__ = ("granted", "ident", "locks", "pid")

    def __init__(self, locks: KeyLocks, ident: Any, pid: Pid) -> None:
        self.locks = locks
        self.ident = ident
        self.pid = pid
        self.granted: Future[None] = Future()

    def give_back(self) -> None:
        """Give up the place. May be repeated, in whatever thread, and then does what was cut off."""
        self.locks.leave(self)
        self.pid.detach(self)

    def give_back_later(self, cut: BaseException) -> None:
        """What cut off `give_back` may have left something to do: the kernel thread does it once more. A full
        stack has cost nothing then, so it is not raised.
        """
        kernel.post(self.give_back)
        if not isinstance(cut, RecursionError):
            raise cut

    def owner_died(self, pid: Pid, reason: object) -> None:
        if not self.granted.done():
            self.locks.leave(self)

    def owner_left(self, pid: Pid) -> None:
        self.locks.leave(self)


class KeyLocks:
    """All the locks of one registry. Their keys have nothing to do with the registered ones."""

    def __init__(self) -> None:
        self.keyring = Keyring()
        self.queues: dict[Any, tuple[Ticket, ...]] = {}

    def holder(self, ident: Any) -> Pid | None:
        """Who holds a lock, dead or alive."""
        queue = self.queues.get(ident)
        return queue[0].pid if queue else None

    def enter(self, ticket: Ticket) -> None:
        """Queue up. `ticket.granted` is set when its turn has come, perhaps at once."""
        ident = ticket.ident
        while True:
            queue = self.queues.get(ident)
            if queue is None:
                alone = (ticket,)
                if self.queues.setdefault(ident, alone) is alone:
                    break
            elif replace(self.queues, ident, queue, (*queue, ticket)):
                break
        self._tell_the_head(ident)

    def leave(self, ticket: Ticket) -> None:
        """Leave the queue, as its holder or out of the middle. Again: the head is told once more."""
        ident = ticket.ident
        while True:
            queue = self.queues.get(ident)
            if queue is None:
                return
            if ticket not in queue:
                break
            rest = tuple([each for each in queue if each is not ticket])
            if replace(self.queues, ident, queue, rest) if rest else remove(self.queues, ident, queue):
                break
        self._tell_the_head(ident)

    def _tell_the_head(self, ident: Any) -> None:
        queue = self.queues.get(ident)
        if queue:
            granted = queue[0].granted
            # With callbacks left it is being told, or was to be when something cut that.
            if not granted.done() or granted._callbacks:
                granted.try_set(None)

    def close(self, error: BaseException) -> None:
        """Answer everybody who waits; holders finish what they do."""
        for queue in list(self.queues.values()):
            for ticket in queue[1:]:
                ticket.granted.try_set_exception(error)

    @property
    def held(self) -> int:
        """How many keys are locked."""
        return len(self.queues)

    @property
    def waiting(self) -> int:
        """How many wait for one of them."""
        return sum([len(queue) - 1 for queue in list(self.queues.values())])
