"""Who runs the code: the current process.

An actor inside its callbacks; in any other code the thread or, inside a coroutine, the asyncio task. A
thread and a task become processes the first time somebody asks, and stay so until they end.
"""

from __future__ import annotations

import _thread
import asyncio
import sys
import threading
import time
import weakref
from asyncio import _get_running_loop
from concurrent.futures.thread import _worker as _executor_worker
from typing import TYPE_CHECKING, Any

from ..primitives.atomic import remove, replace
from ..reports import telemetry
from ..reports.crash_reports import reason_of
from ..runtime.deferred_drains import run_deferred_drains
from ..runtime.kernel import kernel
from ..runtime.loop_bells import bells_of, when_closed, when_stopped
from ..runtime.thread_state import ASK, dead_but_running, local, task_of, tasks
from ..vocabulary.errors import ServerExit
from ..vocabulary.reasons import NORMAL, Crash
from .mailbox import NEVER, MailboxPid
from .pid import NO_DICT, NO_INBOX, NO_LIST, NO_SET, ids, table

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Sequence

    from ..runtime.loop_bells import Bells
    from .pid import Pid


class ThreadPid(MailboxPid):
    """A thread as a process, until it ends."""

    __slots__ = ("_thread_name", "pooled", "sleeper", "thread_id")
    kind = "thread"
    sleeper: LockType | None

    def __init__(self) -> None:
        self.sleeper = None
        if not local.state.worker:
            self.sleeper = sleeper = _thread.allocate_lock()
            sleeper.acquire()
        self.thread_id = _thread.get_ident()
        thread = _thread_object()
        self._thread_name = "thread" if thread is None else thread.name
        self.pooled = is_pooled(thread)
        # Last, since from then on everybody can see it.
        super().__init__()

    @property
    def label(self) -> str:
        return str(self.name) if self.name is not None else self._thread_name

    def meet_death(self) -> Any:
        """The exit signal takes effect: the old process is told to its thread once, which goes on as a new
        one.
        """
        dead_but_running.pop(self.id, None)
        end = local.end
        if end is not None:
            if end.pid is self:
                end.succeed()
            if local.state.process is self:
                # Also when an interrupt came between the two before.
                local.state.process = end.pid
        # Whoever keeps the error keeps this frame, and would keep the thread's process from ending with it.
        del end
        raise ServerExit(self.exit_reason, self, "a call into resprout: this thread got an exit signal")


def is_pooled(thread: threading.Thread | None) -> bool:
    """Tell whether a thread runs other people's calls one after another: one of a ThreadPoolExecutor, or of
    anyio's (which has a class for them).
    """
    if thread is None:
        return False
    # Gone when the thread has ended, and in subclasses that do without.
    target = getattr(thread, "_target", None)
    kind = type(thread)
    return target is _executor_worker or (
        kind.__name__ == "WorkerThread" and kind.__module__.startswith("anyio.")
    )


class ThreadEnd:
    """Lives in a thread's local storage, and therefore dies with the thread, before ``join`` returns.

    Seen on CPython 3.10 to 3.13, for raw, pool and exiting threads. The finalizer may run anywhere, holding
    anything: it flags the death (one append) and leaves the rest to the kernel thread.
    """

    __slots__ = ("crash", "former", "pid")

    def __init__(self) -> None:
        self.crash: list[BaseException] = []
        self.former: list[ThreadPid] = []
        self.pid = ThreadPid()

    def succeed(self) -> ThreadPid:
        """Begin a new process in the same thread; the former one has died, but its code goes on: what it
        holds stays held.
        """
        self.former.append(self.pid)
        self.pid = ThreadPid()
        return self.pid

    def __del__(self) -> None:
        if (
            ended_afar is not None
        ):  # at the interpreter's exit modules may be emptied before the main thread's storage
            ended_afar(self.pid, self.former, Crash(self.crash[0]) if self.crash else NORMAL)


def ended_afar(pid: Pid, former: Sequence[Pid], reason: object) -> None:
    """Flag the end of a process from a place that may do nothing else; the kernel thread does the rest."""
    flagged = pid.flag(reason)

    def finish() -> None:
        if flagged or not pid._told or pid.id in table:
            pid.bury()
        pid.leave()
        for each in former:
            each.leave()

    kernel.post(finish)


class TaskRef(weakref.ref["asyncio.Task[Any]"]):
    """Refers to a task, and knows its id when it is gone."""

    __slots__ = ("key",)
    key: int


class TaskPid(MailboxPid):
    """An asyncio task as a process, until it is done or destroyed.

    There may be thousands, for a moment each, so what notices the end is shared, and finds them in ``tasks``:
    fewer objects for the garbage collector to look at. And what is rarely set is a class attribute until it
    is: then it lies in ``__dict__``. Whoever makes one enters it in both tables at once: an interrupt in
    between would leave one that nobody ends.
    """

    __slots__ = ("_bells", "_former", "_task")
    kind = "task"

    name: object = None
    actor: Any = None
    parent: Pid | None = None
    trap_exit = False
    parked = None
    receiver = None
    _inbox = NO_INBOX
    _run = NEVER
    _pending = False
    _urgent = NO_LIST
    _unlinked = NO_SET
    _links = _monitors = _watching = _lingering = _calls = NO_DICT
    _saved = None
    _context = None

    def __init__(self, task: asyncio.Task[Any], former: TaskPid | None = None) -> None:
        # Pid.__init__ written out, for what every one has: this runs once a task that waits for a lock.
        self.id = next(ids)
        self._ties = {}
        self._resources = {}
        self._fate = ()
        self._gone = self._told = False
        self._former = former
        # Nothing here keeps the task or its loop alive.
        self._bells = bells_of(task.get_loop()).ref
        self._task = ref = TaskRef(task, _destroyed)
        ref.key = id(task)

    @property
    def label(self) -> str:
        if self.name is not None:
            return str(self.name)
        task = self._task()
        return task.get_name() if task is not None else "task"

    @property
    def dead(self) -> bool:
        """A task that is done is dead, though its done callback may not have run yet."""
        if self._fate:
            return True
        task = self._task()
        return task is None or task.done()

    @property
    def alive(self) -> bool:
        return not self.dead

    def task(self) -> asyncio.Task[Any] | None:
        """The task, while it exists."""
        return self._task()

    def end(self, reason: object) -> None:
        """An exit signal cancels the task."""
        if self.die(reason):
            task = self._task()
            if task is not None:
                # A closed loop runs nothing that could be cancelled.
                try:
                    task.get_loop().call_soon_threadsafe(task.cancel)
                except RuntimeError:
                    pass

    def is_over(self, reason: object) -> None:
        """The code has ended by itself: whom its death concerns is told at once that it has left, too."""
        self._gone = True
        ties = self._ties
        state = local.state
        if ties or self.__dict__ or telemetry._attached or state.burials is not None:
            self.die(reason)
            self.leave()
            return
        # A burial, of one about whom nobody has to be told but the owners of what it holds.
        self._fate = ties.setdefault("_fate", (reason,))
        state.depth += 1
        try:
            for key in list(self._resources):
                self._release_one(key)
            self._told = True
            if len(ties) > 1 or self.__dict__:
                # Somebody has just linked it, say, or waits as it; whoever comes from here on finds it dead.
                self.bury()
                self.leave()
            table.pop(self.id, None)
        finally:
            state.depth -= 1
            if state.deferred and not state.depth:
                run_deferred_drains()

    def meet_death(self) -> Any:
        dead_but_running.pop(self.id, None)
        task = self._task()
        if task is not None and not task.done():
            _become(task, self)
        raise ServerExit(self.exit_reason, self, "a call into resprout: this task got an exit signal")

    def formers(self) -> list[TaskPid]:
        """The processes that the task was before exit signals; what they hold stays held until it ends."""
        found = []
        former = self._former
        while former is not None:
            found.append(former)
            former = former._former
        return found


def former_of(pid: Pid) -> Sequence[Pid]:
    """The processes that the thread or task of this one was before exit signals, and that were told so."""
    if isinstance(pid, TaskPid):
        return pid.formers()
    end = local.end
    return () if end is None or end.pid is not pid else tuple(end.former)


def _become(task: asyncio.Task[Any], former: Pid | None) -> Pid:
    """Make a task a process, or the next one after an exit signal.

    Args:
        former: what is entered for it now: the process that it was, or one that is out of date.
    """
    fresh = TaskPid(task, former if isinstance(former, TaskPid) and former._task() is task else None)
    if fresh._former is None:
        task.add_done_callback(_done)
    key = id(task)
    # A signal handler or finalizer on top of this may have done the same. No call from here to the entry,
    # so none comes in between.
    if key in tasks and tasks[key] is not former:
        return tasks[key]  # type: ignore[no-any-return]  # the table holds two kinds of Pid
    number = fresh.id
    table[number] = fresh
    tasks[key] = fresh
    return fresh


def _done(task: asyncio.Task[Any]) -> None:
    """A task that was a process is done."""
    key = id(task)
    pid = tasks.get(key)
    if not isinstance(pid, TaskPid) or pid._task() is not task:
        return
    reason: object = NORMAL
    try:
        if not task.cancelled() and (error := task.exception()) is not None:
            reason = reason_of(pid, error)
        pid.is_over(reason)
        if pid._former is not None:
            for former in pid.formers():
                former.leave()
    except BaseException:
        # An interrupt: the kernel thread does the rest.
        ended_afar(pid, pid.formers(), reason)
        raise
    # Last, for _destroyed, should an interrupt have come before the first step.
    tasks.pop(key, None)


def _destroyed(ref: TaskRef) -> None:
    """A task is gone. If it was not done (its loop was closed, or nobody referred to it), so is its process;
    this may be inside the garbage collector.
    """
    pid = tasks.get(ref.key)
    if isinstance(pid, TaskPid) and pid._task is ref:
        tasks.pop(ref.key, None)
        ended_afar(pid, pid.formers(), NORMAL)


def process_of(task: asyncio.Task[Any]) -> Pid | None:
    """Return the process that a task is, making it one, from a thread that works for it.

    Returns:
        None when the task is done, or its loop is closed.
    """
    key = id(task)
    found = tasks.get(key)
    if found is not None and found.task() is task:
        return found  # type: ignore[no-any-return]  # the table holds two kinds of Pid
    if task.done():
        return None
    kernel.ensure()
    fresh = TaskPid(task)
    try:
        table[fresh.id] = fresh
        if found is not None:
            # Of a task that is gone, and had the same id.
            replace(tasks, key, found, fresh)
        known: Pid = tasks.setdefault(key, fresh)
    finally:
        if tasks.get(key) is not fresh:
            # The task itself, or another thread that works for it, was faster; or an interrupt was.
            table.pop(fresh.id, None)
    if known is not fresh:
        return known
    try:
        # Only its own thread may touch a task. One that has ended meanwhile tells it at once.
        task.get_loop().call_soon_threadsafe(task.add_done_callback, _done)
    except RuntimeError:
        remove(tasks, key, fresh)
        ended_afar(fresh, (), NORMAL)
        return None
    return fresh


class _Late:
    """A task of the pool: an asyncio task is done, and its loop will not call back."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def run(self, worker: object) -> None:
        _done(self._task)


def _loop_closed(bells: weakref.ref[Bells]) -> None:
    """None of a loop's tasks takes another step, so all of its processes have ended; this may be inside a
    finalizer.
    """
    for pid in _tasks_of(bells):
        task = pid.task()
        if task is not None and task.done():
            # Its reason may be to be reported.
            kernel.pool.submit(_Late(task))
        elif remove(tasks, pid._task.key, pid):
            ended_afar(pid, pid.formers(), NORMAL)


def _loop_stopped(bells: weakref.ref[Bells]) -> None:
    """Some of its tasks may be done whose done callbacks come when it runs again, if it ever does."""
    for pid in _tasks_of(bells):
        task = pid.task()
        if task is not None and task.done():
            kernel.pool.submit(_Late(task))


def _tasks_of(bells: weakref.ref[Bells]) -> list[TaskPid]:
    """Find the processes of a loop's tasks.

    Among those of all loops, as ``asyncio.run`` does at its end: so no task pays for a list of its own at its
    start and end.
    """
    return [pid for pid in list(tasks.values()) if pid.__class__ is TaskPid and pid._bells is bells]


when_closed.append(_loop_closed)
when_stopped.append(_loop_stopped)

LOOK = 0.1
"""Seconds between two looks at whether a thread that ``threading`` does not know still exists."""


def current(loop: asyncio.AbstractEventLoop | None = ASK) -> Pid:
    """The process that runs this code; in a thread or task that was none yet, its new Pid.

    Args:
        loop: as for ``current_if_any``.

    Raises:
        Killed: the code belongs to a process that is dead.
        ServerExit: this thread or task got an exit signal (once; then it goes on as a new process).
    """
    st = local.state
    if loop is ASK:
        loop = _get_running_loop()
    pid: Pid | None
    if loop is None or loop is st.loop:
        pid = st.process
        if pid is None:
            pid = _ambient(loop)
    else:
        task = task_of(loop)
        pid = tasks.get(id(task))
        # The entry of a task goes before another could get its id; that of a server is kept by hand.
        if pid is None or (pid.__class__ is not TaskPid and pid.task() is not task):
            pid = _ambient(loop)
    if pid._fate:
        pid.meet_death()
    return pid


def _ambient(loop: asyncio.AbstractEventLoop | None) -> Pid:
    if loop is not None:
        task = task_of(loop)
        if task is not None:
            pid = tasks.get(id(task))
            if pid is not None and pid.task() is task:
                return pid  # type: ignore[no-any-return]  # the table holds two kinds of Pid
            kernel.ensure()
            return _become(task, pid)
    st = local.state
    if st.process is None:
        kernel.ensure()
    # In a forked child, that may have run code which has made it one.
    if st.process is None:
        local.end = ThreadEnd()
        st.process = local.end.pid
        _watch_crash(local.end.crash)
        if _thread_object() is None:
            _look_after(threading.get_ident(), local.end.pid)
    return st.process  # type: ignore[no-any-return]  # the storage knows no Pid


def _look_after(ident: int, pid: MailboxPid) -> None:
    """See to the end of a thread that ``threading`` does not know: a raw one, or one that is dying already.

    Code that runs in the finalizers of a dying thread's storage gets a fresh storage, which nobody
    finalizes. So the kernel thread looks now and then whether such a thread still exists.
    """

    def look() -> None:
        if pid.left:
            return
        if ident in sys._current_frames():
            kernel.at(time.monotonic() + LOOK, look)
        else:
            ended_afar(pid, [], NORMAL)

    kernel.at(time.monotonic() + LOOK, look)


def _thread_object() -> threading.Thread | None:
    """The Thread of this thread; None for a raw one, for which ``current_thread`` would make a dummy that
    stays for ever.
    """
    active: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]  # there is no public way
    return active.get(threading.get_ident())


def _watch_crash(crash: list[BaseException]) -> None:
    """Note the exception that ends the thread, so that its exit reason can say so.

    A thread's finalizer cannot see it. ``Thread`` calls its own ``_invoke_excepthook`` exactly when ``run``
    raised; it is wrapped on this one thread object, whose global ``threading.excepthook`` stays the user's.
    """
    thread = _thread_object()
    invoke: Callable[..., Any] | None = getattr(thread, "_invoke_excepthook", None)
    if invoke is None:
        return

    def noting(thread: threading.Thread) -> None:
        error = sys.exc_info()[1]
        # sys.exit() in a thread ends it quietly.
        if error is not None and not isinstance(error, SystemExit):
            crash.append(error)
        invoke(thread)

    setattr(thread, "_invoke_excepthook", noting)  # noqa: B010  # private; the only place where a thread's crash can be seen
