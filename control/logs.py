"""The log records of late, each with the child whose code has logged it; and whoever follows them.

It looks at records as they are made (`logging.setLogRecordFactory`): a handler at the root logger would
change what programs show that configure no logging, and keep those from doing so that call `basicConfig`.
Those of children in other OS processes are made there, so it looks at them when they are told here.
"""

from __future__ import annotations

import itertools
import logging
import os
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from ..actors import Pid
from ..actors.engine import current_if_any, lock
from ..supervision.engine import look_away, look_on
from .places import child_above, place_of

__all__ = ["LogBook"]

_CHILDREN = 200
"""Children whose records are kept; who logged longest ago goes first."""
_RECORDS = 100
"""Records that are kept of each."""
_LONGEST = 8_000
_NOBODY = ""
"""Stands for the code that is no child's."""

Record = dict[str, Any]
Factory = Callable[..., logging.LogRecord]


class LogBook:
    """Keeps the last records of each child, from `attach` to `detach`.

    A record may be made anywhere, in a finalizer or a signal handler, too: so nothing here waits for a lock,
    and each change is one step.
    """

    def __init__(self) -> None:
        self._lock = lock()
        self._numbers = itertools.count(1)
        self._kept: dict[str, deque[Record]] = {}
        self._proxies: WeakKeyDictionary[Pid, tuple[str, ...]] = WeakKeyDictionary()
        self._followers: tuple[Callable[[Record], object], ...] = ()

    def attach(self) -> None:
        """Begins to look at records."""
        global _before, _attached
        with _changing:
            if _before is None:
                _before = logging.getLogRecordFactory()
                logging.setLogRecordFactory(_make)
                look_on(_note)
            _attached = (*_attached, self)

    def detach(self) -> None:
        """Ends that. If somebody else has put a factory around ours, both stay."""
        global _before, _attached
        with _changing:
            _attached = tuple(each for each in _attached if each is not self)
            if not _attached and _before is not None and logging.getLogRecordFactory() is _make:
                logging.setLogRecordFactory(_before)
                look_away(_note)
                _before = None

    def follow(self, told: Callable[[Record], object]) -> Callable[[], None]:
        """Has a function called with every new record, in the thread that logs it; it must be quick.

        Returns:
            What ends that.
        """
        with self._lock:
            self._followers = (*self._followers, told)

        def leave() -> None:
            with self._lock:
                self._followers = tuple(each for each in self._followers if each is not told)

        return leave

    def records(self, child: str | None = None, limit: int = 100) -> list[Record]:
        """The last records, the oldest first.

        Args:
            child: Only those of this child and of what is below it, by its path.
            limit: How many at the most.
        """
        found = [
            record
            for path, kept in self._kept.copy().items()
            if child is None or is_of(path, child)
            for record in kept.copy()
        ]
        return sorted(found, key=lambda record: record["number"])[-limit:] if limit else []

    def note(self, record: logging.LogRecord) -> None:
        """Looks at a record, in the thread that has made it."""
        if not record.msg and not record.name:
            return  # An empty one that `makeLogRecord` makes, to fill it in.
        try:
            told = self._told(record)
        except Exception:
            return  # A message that cannot be made is the handlers' to tell.
        path = told["path"] or _NOBODY
        told["number"] = next(self._numbers)
        kept = self._kept.get(path)
        if kept is None:
            kept = self._kept.setdefault(path, deque(maxlen=_RECORDS))
            self._forget_oldest()
        kept.append(told)
        for each in self._followers:
            each(told)

    def _forget_oldest(self) -> None:
        if len(self._kept) > _CHILDREN:
            last = {path: kept[-1]["number"] for path, kept in self._kept.copy().items() if kept}
            if last:
                self._kept.pop(min(last, key=last.__getitem__), None)

    def _told(self, record: logging.LogRecord) -> Record:
        path = self._path_of(record)
        message = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        # A traceback that comes from elsewhere comes as text.
        trace = "".join(traceback.format_exception(error)) if error is not None else record.exc_text
        return {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": message if len(message) <= _LONGEST else f"{message[:_LONGEST]}...",
            "exception": trace if trace is None else trace[-_LONGEST:],
            "path": None if path is None else "/".join(path) or "/",
        }

    def _path_of(self, record: logging.LogRecord) -> tuple[str, ...] | None:
        proxy = getattr(record, "proxy", None)
        if not isinstance(proxy, Pid):
            pid = current_if_any()
            return None if pid is None else child_above(pid)
        place = place_of(proxy)
        if place.row is None and proxy in self._proxies:
            return self._proxies[proxy]  # Its last words: it has ended, and another one has its place.
        path = child_above(proxy)
        if place.row is not None and path is not None:
            self._proxies[proxy] = path
        return path


def is_of(path: str, child: str) -> bool:
    """Whether a path is a child's, or leads to something below it."""
    return child == "/" or path == child or path.startswith(f"{child}/")


_changing = lock()
_attached: tuple[LogBook, ...] = ()
_before: Factory | None = None
"""The factory that was there before ours, while ours is."""


def _make(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """The factory of records while there are books, one for all of them."""
    record = (_before or logging.LogRecord)(*args, **kwargs)
    _note(record)
    return record


def _note(record: logging.LogRecord) -> None:
    for each in _attached:
        each.note(record)


def _begin_anew() -> None:
    """In a forked child: nothing is kept for anybody."""
    for each in _attached:
        each.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
