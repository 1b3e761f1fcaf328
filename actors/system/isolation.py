"""What there is at a moment, so that what has come since can be told from it, ended and forgotten: for tests.

The thread (or task) that asks becomes another process meanwhile, with a mailbox, links, flags and a name of
its own; the one that it was is set aside, with everything that it has, and comes back at the end.
"""

from __future__ import annotations

import abc
import asyncio
import sys
import threading
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import Any

from ..process import Timer
from ..processes import ambient as context
from ..processes import resolving
from ..processes.ambient import TaskPid, ThreadPid
from ..processes.names import names, remove_name
from ..processes.pid import Pid, ids, table
from ..reports import crash_reports as reports
from ..reports import telemetry
from ..reports.stragglers import straggling
from ..runtime.kernel import Alarm, kernel
from ..runtime.thread_state import current_if_any, dead_but_running, local, tasks
from ..servers.dispatch import StopRequest
from ..servers.runnable import RunnablePid
from ..vocabulary.errors import ProcessExit, ServerExit
from ..vocabulary.reasons import NORMAL, SHUTDOWN
from . import shutdown

RUNNERS = ("_run_tests_and_fixtures", "_asyncioLoopRunner")
"""Coroutines that run many tests, one after another, in one task: anyio's plugin, unittest before 3.11."""
LIBRARY = "resprout."
"""How the names of the runtime's own processes begin."""


def ask_to_stop(pid: Pid) -> None:
    """Tell a process to end in order, whether or not it traps exits."""
    if isinstance(pid, RunnablePid):
        pid.deliver(StopRequest(SHUTDOWN))
    else:
        pid.signal(None, SHUTDOWN, direct=True)


def take_leave_of(pid: Pid) -> threading.Thread | None:
    """Let a thread that is told to end do so in silence: what it meets in a wait of ours is nobody's error.

    Returns:
        The thread; None if the process is none.
    """
    thread = _active().get(pid.thread_id) if isinstance(pid, ThreadPid) else None
    if thread is None:
        return None
    invoke: Callable[..., Any] = thread._invoke_excepthook  # type: ignore[attr-defined]  # see context

    def quiet(thread: threading.Thread) -> None:
        if not isinstance(sys.exc_info()[1], ServerExit):
            invoke(thread)

    setattr(thread, "_invoke_excepthook", quiet)  # noqa: B010  # private
    return thread


class Snapshot:
    """What there was.

    Made and ended by the same thread, or in tasks of one loop. The process of the thread or task that makes
    it is set aside.

    Attributes:
        unmet: the exit reason of the process of this thread or task, if it got an exit signal that it did not
            meet until the end.
    """

    def __init__(self) -> None:
        kernel.ensure()
        self.unmet: object = None
        self._ender: Pid | None = None
        self._here = threading.get_ident()
        loop = _get_running_loop()
        self._seat: _Seat = _Nobody() if _inside() else _TaskSeat() if loop is not None else _ThreadSeat()
        self._runners = {key: pid for key, pid in list(tasks.items()) if _runs_tests(pid)}
        for key in self._runners:
            tasks.pop(key, None)
        self._mark = next(ids)
        self._threads = {thread.ident: thread for thread in threading.enumerate()}
        self._raw = set(sys._current_frames()) - set(self._threads)
        self._tasks = set() if loop is None else asyncio.all_tasks(loop)
        self._names = dict(names)
        self._handlers = telemetry._attached
        # The alarms themselves: another one could get the id of one that is gone.
        self._alarms = {id(alarm): alarm for alarm in _alarms()}
        reports.tell_held()
        # So that whoever is started here knows by whom.
        context.current()

    # -- what has come since ---------------------------------------------------

    def is_new(self, pid: Pid) -> bool:
        """Whether a process has come since, by what was here already not even indirectly."""
        each: Pid | None = pid
        while each is not None:
            if each.id <= self._mark or (isinstance(each.name, str) and each.name.startswith(LIBRARY)):
                return False
            if isinstance(each, ThreadPid):
                return not self._is_known_thread(each.thread_id)
            if isinstance(each, TaskPid):
                return self._is_new_task(each)
            each = each.parent
        return True

    def _is_known_thread(self, ident: int | None) -> bool:
        if ident == self._here:
            # What this thread has started since is new, though the thread is not.
            return False
        if ident in self._raw:
            return True
        known = self._threads.get(ident)
        return known is not None and _active().get(ident) in (known, None)

    def _is_new_task(self, pid: TaskPid) -> bool:
        task = pid.task()
        if task is None:
            return True
        if task in self._tasks and task is not self._seat.task:
            return False
        return not self._is_known_thread(getattr(task.get_loop(), "_thread_id", None))

    def processes(self) -> list[Pid]:
        """The living processes that have come since, oldest first, but the one of this thread or task."""
        me = self._seat.pid()
        found = []
        for pid in list(table.values()):
            if pid.dead or pid is me or pid is self._ender or not self.is_new(pid):
                continue
            if isinstance(pid, ThreadPid) and (pid.pooled or pid._thread_name.startswith("resprout-")):
                continue
            if _runs_tests(pid):
                continue
            found.append(pid)
        return found

    def roots(self) -> list[Pid]:
        """Those of them that no other of them has started, oldest first."""
        found = self.processes()
        ids = {pid.id for pid in found}
        return [pid for pid in found if not any(each.id in ids for each in reports.ancestors(pid))]

    def below(self, pid: Pid) -> list[Pid]:
        """The topmost of the living that a process which has ended has started, oldest first."""
        return [each for each in self.roots() if pid in reports.ancestors(each)]

    def stragglers(self) -> list[Pid]:
        """The dead processes that have come since and whose code still runs."""
        return [
            pid
            for pid in straggling()
            if self.is_new(pid) and not isinstance(pid, (ThreadPid, TaskPid)) and pid is not self._seat.pid()
        ]

    # -- the end ---------------------------------------------------------------

    def prepare_end(self) -> None:
        """Have this thread or task be a process that lives, with nobody tied to it."""
        me = self._seat.pid()
        if me is not None and me._fate:
            self.unmet = me.exit_reason
        while True:
            try:
                me = context.current()
                break
            except ProcessExit:
                continue
        # Not always the one of the beginning: unittest has a task for each of setup, test and cleanup.
        self._ender = me
        if self._seat.takes_leave:
            for other in list(me._links.values()):
                me.remove_link(other)

    def forget(self) -> None:
        """Forget what has come since and is no process: names, telemetry handlers, timers to names."""
        for alarm in _alarms():
            timer = getattr(alarm._fire, "__self__", None)
            if id(alarm) not in self._alarms and isinstance(timer, Timer) and self._is_ours(timer):
                timer._interval = None
                alarm.cancel()
        for name, pid in list(names.items()):
            if self._names.get(name) is not pid and not self.is_new(pid) and pid.id <= self._mark:
                if remove_name(name, pid):
                    pid.name = None
        for each in telemetry._attached:
            if each not in self._handlers:
                telemetry._detach(each.id)
        shutdown._trees[:] = [pid for pid in shutdown._trees if pid.alive]

    def _is_ours(self, timer: Timer) -> bool:
        if isinstance(timer._server, Pid):
            return self.is_new(timer._server)
        pid = resolving.whereis(timer._server)
        return pid is None or self.is_new(pid)

    def restore(self) -> None:
        """Have this thread or task be the process again that it was."""
        for key, pid in list(tasks.items()):
            if pid.id > self._mark and _runs_tests(pid):
                tasks.pop(key, None)
                _retire(pid)
        ender, self._ender = self._ender, None
        self._seat.restore()
        if isinstance(ender, TaskPid) and ender.alive and ender.id > self._mark:
            tasks.pop(id(ender.task()), None)
            _retire(ender)
        for key, former in self._runners.items():
            task = former.task()
            if task is not None and not task.done():
                tasks[key] = former
        reports.tell_held()


def _alarms() -> list[Alarm]:
    pending = [alarm for _, _, alarm in list(kernel._alarms)] + list(kernel._new)
    held = getattr(kernel.clock, "pending", None)
    return [*pending, *held()] if held is not None else pending


def _active() -> dict[int | None, threading.Thread]:
    return threading._active  # type: ignore[attr-defined,no-any-return]  # there is no public way


def _current_task() -> asyncio.Task[Any] | None:
    return None if _get_running_loop() is None else asyncio.current_task()


def _runs_tests(pid: Pid) -> bool:
    task = pid.task() if isinstance(pid, TaskPid) else None
    return task is not None and getattr(task.get_coro(), "__name__", "") in RUNNERS


def _inside() -> bool:
    """Whether this is the code of a process that is neither a thread nor a task."""
    loop = _get_running_loop()
    pid = tasks.get(id(_current_task())) if loop is not None else local.state.process
    return pid is not None and not isinstance(pid, (ThreadPid, TaskPid))


def _retire(pid: Pid) -> None:
    """End the process of code that goes on; nobody is harmed by it, and it is not told."""
    for other in list(pid._links.values()):
        pid.remove_link(other)
    pid.die(NORMAL)
    pid.leave()
    dead_but_running.pop(pid.id, None)


class _Seat(abc.ABC):
    """Where a thread or task has its process."""

    takes_leave = True
    task: asyncio.Task[Any] | None = None

    @abc.abstractmethod
    def pid(self) -> Pid | None:
        """The process that sits there now, if there is one already."""

    @abc.abstractmethod
    def restore(self) -> None:
        """End it, and have the former one sit there again."""


class _Nobody(_Seat):
    """In a callback or a spawned function, code is who it is."""

    takes_leave = False

    def pid(self) -> Pid | None:
        found: Pid | None = current_if_any()
        return found

    def restore(self) -> None:
        """Nothing was set aside."""


class _ThreadSeat(_Seat):
    def __init__(self) -> None:
        thread = context._thread_object()
        self._ident = threading.get_ident()
        # It notices the end of the thread. Held by this seat, which must not outlive it.
        self._end: Any = local.end
        self._excepthook: Callable[..., Any] | None = getattr(thread, "_invoke_excepthook", None)
        local.end = None
        local.state.process = None

    def pid(self) -> Pid | None:
        return None if local.end is None else local.end.pid

    def restore(self) -> None:
        if threading.get_ident() != self._ident:
            raise RuntimeError("expected the end to be where the beginning was, got: another thread")
        end, self._end = self._end, None
        now = local.end
        if now is not None:
            for pid in (now.pid, *now.former):
                _retire(pid)
            now = None
        local.end = end
        local.state.process = None if end is None else end.pid
        if self._excepthook is not None:
            # As it was before the process of the test began to watch it.
            setattr(context._thread_object(), "_invoke_excepthook", self._excepthook)  # noqa: B010


class _TaskSeat(_Seat):
    def __init__(self) -> None:
        task = _current_task()
        if task is None:
            raise RuntimeError("expected to be in a task of the running event loop, got: a callback of it")
        self.task: asyncio.Task[Any] = task
        self._former = tasks.pop(id(task), None)

    def pid(self) -> Pid | None:
        return tasks.get(id(self.task))

    def restore(self) -> None:
        pid = tasks.pop(id(self.task), None)
        if pid is not None:
            for each in (pid, *pid.formers()):
                _retire(each)
        if self._former is not None:
            tasks[id(self.task)] = self._former


def at_work(pid: Pid) -> bool:
    """Whether a process is just at work on what it was sent, or is about to be."""
    if isinstance(pid, RunnablePid):
        if pid.parked is not None or getattr(pid, "_suspended", False):
            return False
        return not pid._run or pid.mailbox_length() > 0
    return pid.receiver is not None and len(pid._inbox) > 0
