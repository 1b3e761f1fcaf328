"""The lock process: the supervised face of a ledger. It has the lock's name, and is what can crash."""

from __future__ import annotations

from typing import Any

import attrs

from ..actors import ChildSpec, Ok, Pid, process
from ..actors import child_spec as spec_from
from ..actors.engine import LibraryServer
from . import events
from .adaptive import adaptive_of
from .desk import Settings
from .rate import Rate
from .table import books, table
from .values import Fairness, check_fairness, check_max_waiting, check_name, check_positive

_OPTIONS = frozenset(field.name for field in attrs.fields(Settings)) - {
    "name",
    "num_slots",
    "home",
}


class LockServer(LibraryServer):
    """Answers for one ledger. Steps of the ledger run in the threads of its callers, through the gate, so
    nothing is asked of this process while it lives, and nothing is lost when it dies.
    """

    blocking = False
    _what = "the process of a lock"
    _use = "the functions of resprout.throttle (run, slot, acquire, execute, lock_state, ...)"

    def init(self, settings: Settings) -> Ok:
        book = table.open(settings)
        book.adopt(self.pid, self.pid.parent, settings)
        if book.announced:
            events.tell(events.ADOPTED, book.state(), settings.name, book.ledger.num_slots)
        else:
            book.announced = True
            events.created(settings.name, settings.num_slots)
        return Ok(book)


def settings_of(
    name: str,
    num_slots: int,
    *,
    max_waiting: int | None = None,
    fairness: Fairness = "strict",
    rate: object = None,
    adaptive: object = None,
    home: bool = False,
) -> Settings:
    """Check what a lock is made from.

    Raises:
        ValueError: which names what was expected, and what was got.
    """
    slots = check_positive("num_slots", num_slots)
    return Settings(
        check_name(name),
        slots,
        check_max_waiting(max_waiting),
        check_fairness(fairness),
        Rate.of(rate),
        adaptive_of(adaptive, slots),
        home=home,
    )


def start_lock(settings: Settings) -> Pid:
    """Start the lock process, linked to the caller, which is its supervisor."""
    pid: Pid = LockServer.start_link(settings, name=settings.name)
    return pid


def _given_up(settings: Settings) -> None:
    """The supervisor will not start the lock process again: nobody is to wait for it."""
    book = books.get(settings.name)
    if book is not None:
        book.given_up(process.current())


# Supervisors look for it there.
start_lock.given_up = _given_up  # type: ignore[attr-defined]


def child_spec(name: str, num_slots: int, **options: Any) -> ChildSpec:
    """Make the child spec of a lock, for a supervisor of your own, which counts its restarts and ends it.

    Use it where a lock belongs to a part of your tree. For a lock that is just there, ``new`` is enough.

    Args:
        name: the lock, also the id of the child unless ``id=`` says otherwise.
        num_slots: how many holders there may be.
        options: those of ``new``, and fields of ChildSpec (``id``, ``restart``, ``shutdown``,
            ``significant``, ...).

    Raises:
        ValueError: a value is wrong.
        TypeError: an option is unknown.
    """
    ours = {key: value for key, value in options.items() if key in _OPTIONS}
    fields = {key: value for key, value in options.items() if key not in _OPTIONS}
    settings = settings_of(name, num_slots, **ours)
    return spec_from({"id": name, "start": (start_lock, (settings,), {}), **fields})
