"""What a lock tells its users: grants, and snapshots of its state; and the checks of what users tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import attrs

from ...actors import NotHeld
from ...actors.engine import check_alive

if TYPE_CHECKING:
    from ...actors import Pid

Fairness = Literal["strict", "eventual"]
Fork = Literal["renew", "error"]
OnKill = Literal["hold", "release"]
OnLost = Literal["exit", "tell"]
OnUnreachable = Literal["wait", "raise"]
Outcome = Literal["success", "dropped", "ignored"]
"""What became of the work that was done with a grant, for locks that adapt."""


# Made on every acquire, so mutable (0.3 us less than a frozen one) and treated as immutable.
@attrs.define(eq=False, repr=False)
class Grant:
    """The right to work that a holder has.

    It can be given back by itself, from any thread, and be handed over: for code that takes it here and gives
    it back there. Where one block does both, ``slot`` does so by itself.

    Attributes:
        name: the lock.
        token: rises with every grant of that lock, across crashes of the lock process too, so a store that
            remembers the highest token it saw can refuse a holder that is too late (a fencing token). Nested
            grants have one token.
        pid: the holder.
    """

    name: str
    token: int
    pid: Pid

    @property
    def held(self) -> bool:
        """Whether it is valid still: not given back, not handed over, not freed by the end of its holder."""
        return False

    def assert_held(self) -> None:
        """Go on only with a valid grant: before a step that must not be done by somebody who comes too late.

        Raises:
            NotHeld: it is over.
            LockLost: of a lock with an engine: it is void, or the engine has freed it (this is a NotHeld,
            too).
        """
        check_alive()
        if not self.held:
            raise NotHeld(self.name)

    def release(self) -> None:
        """Undo one acquire of this grant; the outermost frees its slots. From anywhere; never blocks.

        The end of the ``with`` block that took it finds it given back, and does nothing.

        Raises:
            NotHeld: it is over.
        """
        raise NotHeld(self.name)

    def transfer(self, pid: Pid) -> Grant:
        """Hand the slots over to another process, which holds them from now on, and whose end frees them.

        It gives them back with the grant that this returns, or with ``release(name)``. This grant is over
        then: the end of its ``with`` block frees nothing. The token stays.

        Args:
            pid: the new holder.

        Returns:
            The new holder's grant.

        Raises:
            NotHeld: this grant is over.
            NoProcess: the new holder is dead; this grant goes on.
            ValueError: the new holder has the lock already, or this grant is acquired more than once: hand it
                over in the outermost block.
            TypeError: pid is no Pid.
        """
        raise NotHeld(self.name)

    def dropped(self) -> None:
        """Say that the resource behind an adaptive lock was asked for too much, so that the lock shrinks.

        For what no exception says: an answer with the status 429 or 503, a timeout that was caught. The last
        word said while it is held counts, whatever exception the block then ends with; nested grants are one.
        With a lock that does not adapt it changes nothing.

        Raises:
            NotHeld: the grant was given back already; say it inside the block.
        """
        self._say("dropped")

    def ignored(self) -> None:
        """Say that an adaptive lock is to learn nothing from this work, neither its end nor how long it took.

        For work that says nothing about the resource: an answer from a cache, a slot held while a user
        thinks.

        Raises:
            NotHeld: the grant was given back already; say it inside the block.
        """
        self._say("ignored")

    def _say(self, outcome: Outcome) -> None:
        # One that was made by hand: no lock has it.
        raise NotHeld(self.name)

    def __repr__(self) -> str:
        return f"Grant(name={self.name!r}, token={self.token}, pid={self.pid})"


@attrs.frozen
class LockState:
    """How busy a lock is.

    Attributes:
        running: holders.
        waiting: callers and jobs in the queue.
        used: slots in use; above ``running`` when some hold more than one.
    """

    running: int
    waiting: int
    used: int


@attrs.frozen
class LockInfo:
    """What a lock is.

    Attributes:
        paused: nobody is granted until ``resume``.
        engine: the name of the engine that keeps it; None where that is this process alone.
    """

    name: str
    num_slots: int
    max_waiting: int | None
    fairness: Fairness
    paused: bool = False
    engine: str | None = None


@attrs.frozen
class Holder:
    """Somebody who works now.

    Attributes:
        pid: who; of a holder in another process of an engine's (``everywhere=True``), a ``cluster.FarPid``.
        straggler: it was killed, and its handler goes on; the slot comes back when that has left.
    """

    pid: Pid
    token: int
    weight: int
    held_seconds: float
    straggler: bool


@attrs.frozen
class Waiter:
    """Somebody in the queue, in the order in which they will be served.

    Attributes:
        pid: who waits; of a job of ``execute``, who gave it; in another process of an engine's
            (``everywhere=True``), a ``cluster.FarPid``.
    """

    pid: Pid
    priority: int
    weight: int
    waited_seconds: float


def check_name(name: object) -> str:
    """Return the name of a lock, or raise the ValueError that says what is wrong."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected name to be a non-empty string, got: {name!r}")
    return name


def check_positive(what: str, number: object) -> int:
    """Return a positive integer, or raise the ValueError that says what is wrong."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"expected {what} to be a positive integer, got: {number!r}")
    return number


def check_max_waiting(number: object) -> int | None:
    """Return a queue bound, or raise the ValueError that says what is wrong."""
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"expected max_waiting to be an integer of at least 0, or None, got: {number!r}")
    return number


def check_fairness(fairness: object) -> Fairness:
    """Return a fairness, or raise the ValueError that lists what is allowed."""
    choice: Fairness = _one_of("fairness", fairness, get_args(Fairness))
    return choice


def check_fork(fork: object) -> Fork:
    """Return what becomes of a lock in a forked child, or raise the ValueError that lists what is allowed."""
    choice: Fork = _one_of("fork", fork, get_args(Fork))
    return choice


def check_on_lost(on_lost: object) -> OnLost:
    """Return how a holder hears that its grant is void, or raise a ValueError with the choices."""
    choice: OnLost = _one_of("on_lost", on_lost, get_args(OnLost))
    return choice


def check_on_unreachable(on_unreachable: object) -> OnUnreachable:
    """Return what acquires do without an engine, or raise the ValueError that lists what is allowed."""
    choice: OnUnreachable = _one_of("on_unreachable", on_unreachable, get_args(OnUnreachable))
    return choice


def _one_of(what: str, value: object, choices: tuple[Any, ...]) -> Any:
    """Return one of two choices, or raise the ValueError that lists them."""
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"expected {what} to be {' or '.join(map(repr, choices))}, got: {value!r}")


def check_paused(paused: object) -> bool:
    """Return whether a lock is paused, or raise the ValueError that says what is wrong."""
    if not isinstance(paused, bool):
        raise ValueError(f"expected paused to be True or False, got: {paused!r}")
    return paused


def check_on_kill(on_kill: object) -> bool:
    """Return whether a killed holder's slot comes back at once; a ValueError lists the choices."""
    return bool(_one_of("on_kill", on_kill, get_args(OnKill)) == "release")


def check_priority(priority: object) -> int:
    """Return a priority, or raise the ValueError that says what is wrong."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise ValueError(f"expected priority to be an integer (higher goes first), got: {priority!r}")
    return priority


def too_heavy(name: str, weight: int, num_slots: int) -> ValueError:
    """Make the error for a weight that the lock can never give."""
    return ValueError(
        f"expected weight to be at most the num_slots of lock {name!r}, which is {num_slots}, got: {weight}"
    )


def heavier_than_held(name: str, weight: int, held: int) -> ValueError:
    """Make the error for a nested acquire that wants more than its holder has."""
    return ValueError(
        f"expected the weight of a nested acquire of lock {name!r} to be at most the {held} already held, "
        f"got: {weight}"
    )
