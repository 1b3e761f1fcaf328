"""Calls that run at the same time, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..actors import Future, Pid, ServerExit, process


class _Part:
    """One of the calls; tied to the life of its process, so that its end is an answer in any case."""

    __slots__ = ("call", "done")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.done: Future[None] = Future()

    def run(self) -> None:
        try:
            self.call()
        except Exception as error:
            self.done.try_set_exception(error)
        else:
            self.done.try_set(None)

    def owner_died(self, pid: Pid, reason: object) -> None:
        self.done.try_set_exception(ServerExit(reason, pid, "a part of a parallel dispatch"))

    def owner_left(self, pid: Pid) -> None:
        pass


def in_parallel(calls: Sequence[Callable[[], object]]) -> None:
    """Make all the calls and wait for all of them; then raise what the first failing one raised."""
    parts = [_Part(call) for call in calls]
    for part in parts:
        process.spawn(part.run).attach(part)
    errors = [part.done.exception() for part in parts]
    for error in errors:
        if error is not None:
            raise error
