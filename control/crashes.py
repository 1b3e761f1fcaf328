"""The crashes of late, those of a kind as one, kept as text: nothing of the dead lives on in them."""

from __future__ import annotations

import linecache
import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import attrs

from ..actors import Crash, CrashReport, telemetry
from ..actors.engine import in_words, lock, printable
from .places import child_above

__all__ = ["CrashLog"]

_CRASHED = ("resprout", "process", "crashed")
_KINDS = 100
"""Kinds of crashes that are kept; the one that was seen longest ago goes first."""
_CHILDREN = 1_000
"""Children of which the last crash is known."""
_FRAMES = 50
_CAUSES = 8
_LONGEST = 2_000

Frames = tuple[tuple[CodeType, int], ...]


@attrs.define
class Folded:
    """Crashes of one kind: the same class, the same error, raised by the same line.

    Args:
        who: The class of the process.
        reason: Of the last one.
        trace: Where the first one was raised: each error with its frames, its cause first.
    """

    number: int
    who: str
    reason: str
    trace: tuple[tuple[str, Frames], ...]
    first: float
    last: float
    count: int = 0
    pid: str = ""
    path: str | None = None
    last_message: str = ""
    state: str = ""

    def as_json(self) -> dict[str, Any]:
        """What is told of it."""
        return {
            "number": self.number,
            "module": self.who,
            "reason": self.reason,
            "count": self.count,
            "first": self.first,
            "last": self.last,
            "pid": self.pid,
            "path": self.path,
            "last_message": self.last_message,
            "state": self.state,
            "trace": [line for error, frames in self.trace for line in _lines(error, frames)],
        }


@attrs.frozen
class Seen:
    """One crash, as it is noted in the process that dies."""

    key: object
    who: str
    reason: str
    trace: tuple[tuple[str, Frames], ...]
    at: float
    pid: str
    path: str | None
    last_message: str
    state: str


class CrashLog:
    """Listens to the crashes of all processes, from `attach` to `detach`.

    The handler runs in the process that dies, which may be anywhere, inside of a finalizer, too: so it never
    waits. It appends, and whoever gets the lock folds what is there.
    """

    def __init__(self) -> None:
        self._lock = lock()
        self._seen: deque[Seen] = deque(maxlen=10 * _KINDS)
        self._folded: OrderedDict[object, Folded] = OrderedDict()
        self._last: OrderedDict[str, Folded] = OrderedDict()
        self._numbers = 0
        self.total = 0

    def attach(self) -> None:
        """Begins to listen."""
        telemetry.attach(("resprout.control", id(self)), _CRASHED, self._crashed)
        _attached.append(self)

    def detach(self) -> None:
        """Ends that."""
        telemetry.detach(("resprout.control", id(self)))
        if self in _attached:
            _attached.remove(self)

    def crashes(self, limit: int = 20) -> list[dict[str, Any]]:
        """The kinds of crashes, the one that was seen last first."""
        with self._lock:
            self._fold_all()
            found = [attrs.evolve(each) for each in list(self._folded.values())[::-1][:limit]]
        return [each.as_json() for each in found]

    def last_of(self, path: str) -> dict[str, Any] | None:
        """The last crash of a child, by its path."""
        with self._lock:
            self._fold_all()
            found = self._last.get(path)
        return None if found is None else found.as_json()

    def _crashed(
        self, event: tuple[str, ...], measurements: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> None:
        report: CrashReport = metadata["report"]
        error = report.reason.exception if isinstance(report.reason, Crash) else None
        reason = in_words(report.reason)[:_LONGEST]
        key = (report.kind, type(error), reason if error is None else _raised_at(error))
        known = error is None or key in self._folded
        path = child_above(metadata["pid"])
        self._seen.append(
            Seen(
                key,
                report.kind,
                reason,
                () if known or error is None else tuple(_chain(error)),
                time.time(),  # noqa: TID251 -- to be shown
                str(report.pid),
                None if path is None else "/".join(path),
                report.last_message,
                report.state,
            )
        )
        while True:
            if not self._seen or not self._lock.acquire(False):
                break
            try:
                self._fold_all()
            finally:
                self._lock.release()

    def _fold_all(self) -> None:
        while True:
            if not self._seen:
                break
            self._fold(self._seen.popleft())

    def _fold(self, seen: Seen) -> None:
        folded = self._folded.get(seen.key)
        if folded is None:
            self._numbers += 1
            folded = Folded(self._numbers, seen.who, seen.reason, seen.trace, seen.at, seen.at)
            self._folded[seen.key] = folded
            if len(self._folded) > _KINDS:
                self._folded.popitem(last=False)
        self._folded.move_to_end(seen.key)
        self.total += 1
        folded.count += 1
        folded.last, folded.reason, folded.pid, folded.path = seen.at, seen.reason, seen.pid, seen.path
        folded.last_message, folded.state = seen.last_message, seen.state
        if seen.path is not None:
            self._last[seen.path] = folded
            self._last.move_to_end(seen.path)
            if len(self._last) > _CHILDREN:
                self._last.popitem(last=False)


def _raised_at(error: BaseException) -> tuple[str, int] | None:
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def _chain(error: BaseException) -> Iterator[tuple[str, Frames]]:
    """An error behind those that led to it, with the code of its frames and not the frames."""
    errors: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and len(errors) < _CAUSES and each not in errors:
        errors.append(each)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    for each in reversed(errors):
        frames: list[tuple[CodeType, int]] = []
        trace = each.__traceback__
        while trace is not None:
            frames.append((trace.tb_frame.f_code, trace.tb_lineno))
            trace = trace.tb_next
        yield in_words(Crash(each))[:_LONGEST], tuple(frames[-_FRAMES:])


def _lines(error: str, frames: Frames) -> Iterator[str]:
    for code, line in frames:
        yield f'  File "{code.co_filename}", line {line}, in {code.co_name}'
        source = linecache.getline(code.co_filename, line).strip()
        if source:
            yield f"    {source}"
    yield printable(error)


_attached: list[CrashLog] = []


def _begin_anew() -> None:
    """In a forked child: no application runs whose crashes there could be."""
    for each in _attached[:]:
        each.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
