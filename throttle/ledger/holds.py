"""What the ledger keeps of each holder and each waiter: a Hold, and a Claim on one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...actors import NotHeld, Pid
from ...actors.engine import check_alive, counter, not_a_pid
from .lost import LockLost
from .values import Grant, Outcome

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable
    from types import CodeType

    from ...actors.engine import Leaving

fresh_key = counter(-1, -1).__next__
"""Makes the key of somebody who waits or holds, and is not found by the id of a process: it is negative."""


class Work(Protocol):
    """Something that the death of its worker ends."""

    def worker_died(self, pid: Pid, reason: object) -> None:
        """Tell whoever waits for it; may run user code."""


class Hold(Grant):
    """A grant as the ledger keeps it; the holder has the same object, as a Grant.

    Made on every acquire: slots, filled by whoever makes it, and class attributes for what is rarely set.
    """

    __slots__ = ("__dict__", "code", "core", "depth", "key", "lasti", "outer", "since", "ticket", "weight")

    core: Any
    """The core of the lock that keeps it, which stands above."""

    depth: int
    """1 from the beginning. Belongs to the holder: it counts nested acquires without the combiner, and its
    fall to 0 is the release itself. What follows (taking the hold out of the ledger, serving the next) may be
    done by anybody, any number of times."""
    ticket: int
    """Of the claim that it answered, 0 when it was granted without waiting. Of a claim: its place among all
    that ever waited for the lock, 0 until it is in the line."""
    code: CodeType | None
    """Where it was acquired, with ``lasti``; known when the holder has to release it by hand."""
    lasti: int
    key: int
    outer: Hold | None
    """Of a block (``slot``) and of a job: the block around it in the same flow of control, of whatever lock.
    What was acquired by hand has no such attribute at all.
    """
    weight: int
    """Its slots; 0 of a guest, who works in those of its host."""
    since: float
    """When it was granted; of a claim, since when it waits."""

    release_on_kill: bool = False
    straggler: bool = False
    job: Work | None = None
    """What is done with it, if that was handed to somebody by ``execute``."""
    opener: Pid | None = None
    """Who took it, if not the process that it belongs to (``pid``): a pool's thread, for a task."""
    origin: weakref.ref[object] | None = None
    """The call on a pool's thread that took it."""
    leaving: Leaving | None = None
    """When the call on a pool's thread is over that took it for a task."""
    host: Hold | None = None
    """Of a guest: the hold in whose slots it works."""
    inviter: Hold | None = None
    """Of a guest: the hold whose flow it carries on; its host, or another guest of that."""
    guests: tuple[Hold, ...] = ()
    """Who works in its slots besides its own process; when it is given back, the first of them takes over."""

    strays: int = 0
    """How many of its acquires are those of blocks that are gone without an end (see orphans)."""
    heir: Hold | None = None
    """Of a grant whose block is gone: the hold that the ledger has in its place."""
    times: int = 0
    """Of the same: its share of that."""

    outcome: Outcome = "success"
    """What an adaptive lock learns from it."""

    lost: LockLost | None = None
    """Of a lock that is kept by an engine: why this is over, if its holder did not end it."""
    valid: Callable[[], bool] | None = None
    """Of the same: whether the engine was heard of lately enough."""

    def _say(self, outcome: Outcome) -> None:
        check_alive()
        if self.depth <= 0:
            raise NotHeld(self.name)
        (self.host or self).outcome = outcome

    if not TYPE_CHECKING:
        # Made empty: a constructor in Python would cost as much again.
        __init__ = object.__init__

    else:

        def __init__(self) -> None: ...

    @property
    def held(self) -> bool:
        return self.depth > 0 and (self.valid is None or self.valid())

    def assert_held(self) -> None:
        check_alive()
        if self.held:
            return
        if self.lost is None and self.depth > 0:
            raise LockLost(self.name, self.token)
        raise self.lost or NotHeld(self.name)

    def release(self) -> None:
        if self.depth <= 0:
            raise NotHeld(self.name)
        self.core.give_back(self)

    def transfer(self, pid: Pid) -> Grant:
        check_alive()
        if not isinstance(pid, Pid):
            not_a_pid(pid, f"expected the Pid of the new holder of lock {self.name!r}")
        moved: Grant = self.core.transfer(self, pid)
        return moved

    @property
    def of_a_block(self) -> bool:
        """Whether ``slot`` took it, rather than ``acquire`` or a job."""
        return self.job is None and hasattr(self, "outer")

    @property
    def slots(self) -> int:
        """The slots that it works in, be they its own or its host's."""
        return self.weight if self.host is None else self.host.weight


class Claim(Hold):
    """Somebody waits for slots. The ledger decides, and tells through three methods that a shell implements.

    All three may be repeated (after an exception cut a step in two), never block, and run no user code. A
    claim that is ``own`` becomes the hold itself when it is granted, one object less for every hand-over; so
    it is made with the ``name`` of the lock and the ``code`` of whoever acquires.
    """

    # Made on every wait; as in Hold, what is rarely set is a class attribute until it is.
    __slots__ = ("out", "priority")

    own: bool = False
    out: bool
    """It has left the line."""
    priority: int
    sibling: Claim | None = None
    """The claim before it in the line that belongs to the same holder key."""
    shared: bool = False
    """What it was offered is the hold that its process got through another claim."""
    nudged: bool = False
    """It was woken to try for a free slot and has not tried yet."""
    once: bool = False
    """It does not wait for a slot, only for the answer of an engine."""

    def __init__(self, pid: Pid, key: int, weight: int = 1, priority: int = 0) -> None:
        self.pid = pid
        self.key = key
        self.weight = weight
        self.priority = priority
        self.since = 0.0
        self.ticket = 0
        self.out = False
        self.depth = 1

    def __repr__(self) -> str:
        granted = getattr(self, "token", None) is not None
        return super().__repr__() if granted else f"<{type(self).__name__} of {self.pid}>"

    def offer(self, hold: Hold) -> bool:
        """Give the hold (of a claim that is ``own``, itself) to whoever waits; False when they have given up.

        True again for a hold that they have already.
        """
        raise NotImplementedError

    def refuse(self, error: BaseException) -> None:
        """Answer with an error."""
        raise NotImplementedError

    def nudge(self) -> bool:
        """Wake whoever waits to try for a free slot, in competition with others (``fairness="eventual"``).

        False when there is nobody left who could.
        """
        raise NotImplementedError
