"""Functions that run again and again: the `every:` of a worker with `run:`."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ...actors import NoReply, Ok, Pid, process
from ...actors.engine import LibraryServer, kernel
from .references import is_async


@attrs.frozen
class Schedule:
    """When a function runs. Its runs are due at fixed times, so that they do not drift.

    Args:
        every: Seconds from one run to the next.
        first: Seconds from the start of the process to the first of them.
        jitter: Each run begins up to so many seconds later, at random.
    """

    every: float
    first: float
    jitter: float = 0.0

    def next_run(self, last: int, elapsed: float) -> int:
        """The number of the run that comes next; those whose time has passed are left out.

        Args:
            last: The number of the last run; -1 before the first.
            elapsed: Seconds since the process started.
        """
        # The first is never left out, as its time may be that of the start.
        return 0 if last < 0 else max(last + 1, math.ceil((elapsed - self.first) / self.every))

    def due(self, run: int, chance: float) -> float:
        """When a run begins, in seconds from the start of the process.

        Args:
            run: Its number, from 0.
            chance: From 0 to 1: how much of the jitter it has.
        """
        return self.first + run * self.every + chance * self.jitter


@attrs.frozen
class _Due:
    """The time of a run has come."""

    run: int


@attrs.define
class _State:
    work: Callable[[], Any]
    schedule: Schedule
    began: float


class _Scheduled(LibraryServer):
    """Waits for the time of each run; while it does, it has no thread."""

    _what = "a function that runs on a schedule"
    _use = "the functions of sys (suspend, resume), or messages to another process"

    def init(self, arg: Any) -> Any:
        work, schedule = arg
        state = _State(work, schedule, kernel.clock.now())
        self.plan(state, -1)
        return Ok(state)

    def plan(self, state: _State, last: int) -> None:
        """Has the next run come at its time."""
        elapsed = kernel.clock.now() - state.began
        run = state.schedule.next_run(last, elapsed)
        due = state.schedule.due(run, random.random())
        process.send_after(self.pid, _Due(run), max(0.0, due - elapsed))


class _ScheduledFunction(_Scheduled):
    def handle_info(self, message: Any, state: _State) -> Any:
        if not isinstance(message, _Due):
            return super().handle_info(message, state)
        state.work()
        self.plan(state, message.run)
        return NoReply(state)


class _ScheduledCoroutine(_Scheduled):
    async def handle_info(self, message: Any, state: _State) -> Any:
        if not isinstance(message, _Due):
            return super().handle_info(message, state)
        await state.work()
        self.plan(state, message.run)
        return NoReply(state)


def start_schedule(
    function: Callable[..., Any], arguments: Mapping[str, Any], schedule: Schedule, name: Any = None
) -> Pid:
    """Runs a function again and again, in a process linked to the caller.

    A run begins when the one before it has ended, so two never overlap; a run whose time passed meanwhile is
    left out. An error ends the process, as with any other; when it was started again, its schedule begins
    anew.

    Args:
        function: A function, or a coroutine function.
        arguments: Its keyword arguments.
        schedule: When it runs.
        name: What to register the process under.

    Returns:
        The process.

    Raises:
        AlreadyStarted: The name is taken.
    """
    work = functools.partial(function, **arguments)
    pid: Pid = _server_for(function).start_link((work, schedule), name=name)
    return pid


@functools.lru_cache(maxsize=256)
def _server_for(function: Callable[..., Any]) -> type[_Scheduled]:
    """The server of a function, by whose name reports and lists of processes call it."""
    base = _ScheduledCoroutine if is_async(function) else _ScheduledFunction
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return type(name, (base,), {"__module__": __name__})
