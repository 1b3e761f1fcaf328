"""Make locks, look at them, change them, end them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors import AlreadyStarted, GenServer, NotFound, Pid, ProcessExit, process
from ..supervision import DynamicSupervisor, Supervisor
from . import events
from .adaptive import Adaptive
from .lock import known
from .rate import Rate
from .server import settings_of
from .table import books
from .tree import in_thread, start_home, stop_home
from .values import Fairness, Holder, LockInfo, LockState, Waiter, check_positive

if TYPE_CHECKING:
    from .book import Book


def new(
    name: str,
    num_slots: int,
    *,
    max_waiting: int | None = None,
    fairness: Fairness = "strict",
    rate: Rate | float | str | None = None,
    adaptive: Adaptive | str | None = None,
) -> Pid:
    """Make a lock of the library's own tree, which needs no set-up.

    Use it for locks that are just there, or come and go at run time. A lock that belongs to a part of a tree
    of yours is declared there (``throttle:`` in YAML, or ``child_spec``). To protect a value inside one
    process, a threading.Lock is enough.

    Args:
        name: the lock, and its process.
        num_slots: how many slots may be held at once.
        max_waiting: how many may wait; one more is refused with QueueFull. None for any number.
        fairness: ``"strict"``: served in order, nobody overtakes. ``"eventual"``: whoever just released may
            come again before those who wait, a millisecond at most; much faster under contention.

        rate: how often slots may be granted, on top of how many: ``"100/s"``, grants a second, or a Rate.
        adaptive: finds the number of slots from how the work ends, and when: ``"gradient"``, ``"aimd"``, or a
            Gradient or Aimd; num_slots is what it begins with.

    Returns:
        The Pid of the lock process.

    Raises:
        ValueError: a value is wrong.
        AlreadyStarted: there is a lock, or any process, of that name.

    Semantics: ExSleeplock.new/2.
    """
    settings = settings_of(
        name, num_slots, max_waiting=max_waiting, fairness=fairness, rate=rate, adaptive=adaptive
    )
    book = books.get(name)
    if book is not None and not book.ledger.closed and book.last is not None:
        # Also between a crash and the restart, when the name is free for a moment.
        raise AlreadyStarted(book.last)
    return start_home(settings)


def stop_lock(name: str) -> None:
    """End a lock: everybody who waits gets LockNotFound, holders finish, and the name is free.

    Raises:
        LockNotFound: no lock has that name.
    """
    book = known(name)
    state = book.state()
    # First of all, so that no restart brings it back, whoever stops its process.
    book.end()
    pid = book.last
    if pid is not None and pid.alive:
        from asyncio import _get_running_loop

        if _get_running_loop() is not None:
            in_thread(lambda: _stop(book, pid))
        else:
            _stop(book, pid)
    events.tell(events.STOPPED, state, name, book.ledger.num_slots)


def _stop(book: Book, pid: Pid) -> None:
    """Have its supervisor stop the lock process, and forget the child."""
    try:
        if book.settings.home:
            stop_home(book, pid)
        elif not _stop_in_tree(book.owner, pid):
            GenServer.stop(pid, "shutdown")
    except (ProcessExit, NotFound):
        # Dead by now, which is what was wanted.
        pass


def _stop_in_tree(owner: Pid | None, pid: Pid) -> bool:
    if owner is None or owner.dead or owner is process.current():
        return False
    if owner.kind in ("thread", "task", "spawned"):
        return False
    for child in Supervisor.which_children(owner):
        if child.pid is pid:
            if child.id is None:
                DynamicSupervisor.terminate_child(owner, pid)
            else:
                Supervisor.terminate_child(owner, child.id)
                Supervisor.delete_child(owner, child.id)
            return True
    return False


def resize(name: str, num_slots: int) -> None:
    """Change the number of slots of a lock while it is used.

    More are given out at once. Fewer: those who work finish, nobody is cancelled, and nobody is granted until
    enough slots are back. A waiter whose weight is above the new number gets a ValueError.

    Raises:
        LockNotFound: no lock has that name.
        ValueError: num_slots is no positive integer.
    """
    known(name).resize(check_positive("num_slots", num_slots))


def lock_state(name: str) -> LockState:
    """Count holders, waiters and used slots.

    Raises:
        LockNotFound: no lock has that name.
    """
    return known(name).state()


def lock_info(name: str) -> LockInfo:
    """Say what a lock is.

    Raises:
        LockNotFound: no lock has that name.
    """
    return known(name).info()


def holders(name: str) -> list[Holder]:
    """List who holds a lock, oldest grant first. O(n).

    Raises:
        LockNotFound: no lock has that name.
    """
    return known(name).list_holders()


def waiters(name: str) -> list[Waiter]:
    """List who waits for a lock, next first. O(n).

    Raises:
        LockNotFound: no lock has that name.
    """
    return known(name).list_waiters()


def locks() -> list[str]:
    """List the names of all locks, sorted."""
    return sorted(name for name, book in list(books.items()) if not book.ledger.closed)
