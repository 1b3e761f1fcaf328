"""What this thread is doing for the runtime: whose code it runs, and which drains it has deferred; and whose
code a task runs.
"""

from __future__ import annotations

import sys
import threading
from _thread import get_ident
from asyncio import _get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 12):
    from asyncio import current_task as task_of
    from asyncio.tasks import _swap_current_task as enter_task  # type: ignore[attr-defined]  # unknown to typeshed
else:
    # What current_task looks into; the function is in Python there, and the price of every call in a task.
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]  # unknown to typeshed

    task_of = _current_tasks.get
    enter_task = _current_tasks.__setitem__

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class ThreadState:
    """The facts of one thread. One object behind one look-up, as reading thread-local attributes one by one
    is slow.

    Attributes:
        process: the process whose callback this thread runs; in ordinary code the thread's own, None until
            somebody asked for it.
        loop: the event loop that ran in this thread when the callback began (a drain inside a coroutine).
        worker: whether the thread belongs to the pool.
        interrupt: a KeyboardInterrupt that hit somebody else's callback, to be raised when the drain is over.
        depth: how many drains are nested on the thread's stack.
        deferred: processes whose run right the thread holds and whose drain it will do when the current one
            ends.
        steps: how many steps of tasks are nested inside the step that the thread's loop is at.
        answered: who waits for an answer that the step of a task, which the thread's loop is at, has given;
            None while there is no such step.
        at_once: how many steps of servers have been taken at once since the loop had one take its turn.
        burials: deaths that it has still to carry out, while it carries one out.
    """

    __slots__ = (
        "answered",
        "at_once",
        "burials",
        "deferred",
        "depth",
        "interrupt",
        "loop",
        "process",
        "steps",
        "worker",
    )

    def __init__(self) -> None:
        self.process: Any = None
        self.loop: Any = None
        self.worker = False
        self.interrupt: BaseException | None = None
        self.depth = 0
        self.steps = 0
        self.at_once = 0
        self.answered: list[Any] | None = None
        self.deferred: deque[Any] | None = None
        self.burials: deque[Any] | None = None


def _nobody() -> None:
    """Stand for a reference to nothing."""


class Local(threading.local):
    """Gives each thread its state; ``__init__`` runs once a thread.

    Attributes:
        alone: refers to the call on a pool's thread of which it is known that no task waits for it.
        served: refers to the call on a pool's thread for which a task was found last; with that task's
            process.
        end: what notices the end of the thread by dying with this storage. Nothing else may ever refer to
            it: a traceback that somebody keeps would keep it, and with it the thread's names and locks.
    """

    def __init__(self) -> None:
        self.state = ThreadState()
        self.end: Any = None
        self.alone: Callable[[], Any] = _nobody
        self.served: tuple[Callable[[], Any], Any] = (_nobody, None)


local = Local()

if sys.version_info >= (3, 12):

    def runs_in_this_thread(loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether an event loop runs in this thread."""
        return _get_running_loop() is loop

else:

    def runs_in_this_thread(loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether an event loop runs in this thread.

        Which one does is a system call there, a tenth of an ``acast``; a loop of asyncio knows its thread.
        """
        ident = getattr(loop, "_thread_id", None)
        return ident == get_ident() if ident is not None else _get_running_loop() is loop


tasks: dict[int, Any] = {}
"""The processes that are asyncio tasks at the moment, by the task's id: TaskPid, and servers that run on the
runtime's loop.
"""


def adopt_task(task: asyncio.Task[Any], pid: Any) -> None:
    """Say whose code a task runs."""
    tasks[id(task)] = pid


def disown_task(task: asyncio.Task[Any]) -> None:
    """The task is over."""
    tasks.pop(id(task), None)


dead_but_running: dict[int, Any] = {}
"""The processes that are dead and whose code may still run, by their ids; almost always none.

So an entry of the public API looks at this before it looks for who its caller is: it costs a living caller
next to nothing.
"""


def note_code(pid: Any) -> None:
    """Note that a process has died; if code of it may still run, that is looked for from now on."""
    if not pid._run and not pid._gone:
        dead_but_running[pid.id] = pid
        # It may just have left.
        if pid._gone:
            dead_but_running.pop(pid.id, None)


def check_alive() -> None:
    """Have the code of a dead process meet its death: the first step of every entry of the public API.

    Functions that are called a million times a second write ``if dead_but_running: check_alive()``. What a
    thread does while it carries out somebody's death (telemetry handlers, say) is nobody's code and goes on.

    Raises:
        Killed: the code belongs to a process that is dead.
        ServerExit: this thread or task got an exit signal (once; then it goes on as a new process).
    """
    if not dead_but_running:
        return
    st = local.state
    if st.burials is not None:
        return
    me = current_if_any()
    if me is None or not me._fate:
        return
    if me is not st.process and me.task() is not task_of(_get_running_loop()):
        # Of a task that is gone, and had the same id.
        return
    me.meet_death()


ASK: Any = object()
"""Stands for the loop that runs in this thread, where nobody has asked for that yet."""


def current_if_any(loop: asyncio.AbstractEventLoop | None = ASK) -> Any:
    """The current process if there is one already, dead or alive; makes none.

    Args:
        loop: the one that runs in this thread, from who has asked for it already: on Python 3.11 and before
            that is a system call.
    """
    st = local.state
    if loop is ASK:
        loop = _get_running_loop()
    if loop is not st.loop and loop is not None:
        task = task_of(loop)
        if task is not None:
            found: Any = tasks.get(id(task))
            return found
    return st.process


def is_step_of(task: asyncio.Task[Any] | None) -> bool:
    """Whether this code is a step of a task."""
    if task is None:
        return False
    loop = task.get_loop()
    return runs_in_this_thread(loop) and task_of(loop) is task


def runs_here(pid: Any) -> bool:
    """Whether the code of a process runs on this thread, so that it is at its mailbox nowhere else now."""
    if local.state.process is pid:
        return True
    loop = _get_running_loop()
    find: Callable[[], asyncio.Task[Any] | None] | None = getattr(pid, "task", None)
    task = None if loop is None or find is None else find()
    return task is not None and task.get_loop() is loop
