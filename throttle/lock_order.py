"""Two locks that are taken in different orders can end in a deadlock; this tells of the orders before that.

Off by default, since it costs every acquire a look at what its process holds; on in Python's development mode
(``-X dev``)::

    throttle.lock_order("warn")      # a warning, once for each pair of locks
    throttle.lock_order("error")     # LockOrderError, before anything is taken

Semantics: that of the Linux kernel's lockdep: the orders are what counts, whether or not a deadlock happened.
    Order is between locks, whatever their number of slots: a full lock of ten slots blocks like any other.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import TYPE_CHECKING, Literal

import attrs

from ..actors import ResproutError
from ..actors.engine import check_alive
from .lock.flow import held_by
from .lock.lock_steps import watched
from .lock.table import cores

if TYPE_CHECKING:
    from ..actors import Pid

logger = logging.getLogger("resprout.throttle")
Mode = Literal["off", "warn", "error"]


class LockOrderError(ResproutError):
    """A lock is wanted by somebody who holds one that has been taken after it elsewhere."""


@attrs.frozen
class Place:
    """Where in the user's code a lock was taken while another was held."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Orders:
    """Which lock was taken while which was held, and where first; as large as there are pairs of locks."""

    def __init__(self) -> None:
        self._after: dict[str, dict[str, Place]] = {}
        self._told: set[frozenset[str]] = set()

    def note(self, held: str, wanted: str, place: Place) -> Place | None:
        """Remember an order.

        Returns:
            Where the opposite one was seen first, if it was and this pair has not been told of yet.
        """
        opposite = self._path(wanted, held)
        if opposite is None:
            self._after.setdefault(held, {}).setdefault(wanted, place)
            return None
        pair = frozenset((held, wanted))
        if pair in self._told:
            return None
        self._told.add(pair)
        return opposite

    def known(self, held: str, wanted: str) -> bool:
        """Tell whether this order was seen before."""
        return wanted in self._after.get(held, {})

    def _path(self, first: str, last: str) -> Place | None:
        """Return where the way from one lock to another begins, through any number of locks between them."""
        seen = {first}
        ways = [(lock, place) for lock, place in self._after.get(first, {}).items()]
        while ways:
            lock, place = ways.pop()
            if lock == last:
                return place
            if lock not in seen:
                seen.add(lock)
                ways.extend((each, place) for each in self._after.get(lock, {}))
        return None

    def forget_told(self) -> None:
        """Raise or tell of every pair anew."""
        self._told.clear()


class Watch:
    """Whether orders are watched, and those seen."""

    def __init__(self) -> None:
        self.mode: Mode = "warn" if sys.flags.dev_mode else "off"
        self.orders = Orders()

    def check(self, pid: Pid, wanted: str) -> None:
        """Compare what a process holds with what it wants.

        Raises:
            LockOrderError: in mode ``"error"``.
        """
        for name, core in list(cores.items()):
            hold = held_by(core, pid)
            if hold is None or name == wanted or self.orders.known(name, wanted):
                continue
            place = _place()
            opposite = self.orders.note(name, wanted, place)
            if opposite is not None:
                text = (
                    f"lock {wanted!r} is wanted while {name!r} is held, at {place}; the other way round "
                    f"at {opposite}: two processes that do both at once wait for each other; take them in "
                    f"one order everywhere"
                )
                if self.mode == "error":
                    self.orders.forget_told()
                    raise LockOrderError(text)
                logger.warning("%s", text)


watch = Watch()
if watch.mode != "off":
    watched.append(watch.check)


def lock_order(mode: Mode) -> Mode:
    """Choose what happens when two locks are taken in different orders: ``"off"``, ``"warn"`` or ``"error"``.

    Returns:
        The former mode. What was learned is forgotten.
    """
    check_alive()
    if mode not in ("off", "warn", "error"):
        raise ValueError(f"expected mode to be 'off', 'warn' or 'error', got: {mode!r}")
    before = watch.mode
    watch.orders = Orders()
    watch.mode = mode
    watched[:] = [] if mode == "off" else [watch.check]
    return before


def _place() -> Place:
    """Find the innermost frame outside this package."""
    frame: FrameType | None = sys._getframe(1)
    ours = f"{__package__}."
    while frame is not None and f"{frame.f_globals.get('__package__')}.".startswith(ours):
        frame = frame.f_back
    if frame is None:
        return Place("?", 0)
    return Place(frame.f_code.co_filename, frame.f_lineno)
