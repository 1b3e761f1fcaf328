"""Spawned functions: a process that runs one function, on a thread of the pool or on an event loop.

A coroutine function runs on the loop in which it was spawned, or its tree was started, else on the runtime's
own.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..processes.ambient import ended_afar
from ..processes.links import tie
from ..processes.mailbox import MailboxPid
from ..processes.offloaded import acting
from ..reports import telemetry
from ..reports.crash_reports import reason_of
from ..reports.stragglers import SOON, caught_up, straggles
from ..runtime.kernel import kernel
from ..runtime.loop import Where, home_loop, make_home, makes_coroutine
from ..runtime.loop_bells import in_step_of
from ..runtime.resting import has_begun, start_task
from ..runtime.thread_state import adopt_task, check_alive, current_if_any, disown_task, is_step_of, local
from ..servers.dispatch import STARTED
from ..servers.loop_ends import look_after, settle, soon_closing
from ..vocabulary.errors import StartError
from ..vocabulary.messages import Ref
from ..vocabulary.reasons import LOOP_CLOSED, NORMAL

if TYPE_CHECKING:
    from ..processes.pid import Pid
    from ..runtime.pool import Worker


def name_of(function: Callable[..., Any] | None) -> str:
    """What a process is called in reports by the function that it runs; nothing when that is over."""
    while isinstance(function, partial):
        function = function.func
    return "" if function is None else str(getattr(function, "__qualname__", type(function).__name__))


class SpawnedPid(MailboxPid):
    """A process that runs a function."""

    __slots__ = ("_args", "_function")
    kind = "spawned"

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], parent: Pid | None) -> None:
        super().__init__(None, parent)
        self._function: Callable[..., Any] | None = function
        self._args = args
        self._context = context = contextvars.copy_context()
        make_home(context)

    @property
    def label(self) -> str:
        if self.name is not None:
            return str(self.name)
        return name_of(self._function)

    def begin(self) -> None:
        """Have a thread of the pool run it."""
        kernel.pool.submit(self)

    def run(self, worker: Worker) -> None:
        """Run the function; the process ends with it."""
        before = local.state.process
        local.state.process = self
        function, context = self._function, self._context
        reason: object = NORMAL
        try:
            if self._fate or function is None or context is None:
                return
            try:
                context.run(function, *self._args)
            except BaseException as error:
                reason = reason_of(self, error)
            self.die(reason)
        finally:
            local.state.process = before
            self.leave()
            # The traceback of an error has the frames of the code, and these have this one. With the error or
            # the process in it that were a cycle, in which all that the code had open (the socket of a client
            # that waits for its end) would stay open until a collection.
            reason = function = None
            del self

    def _now_a_straggler(self) -> None:
        if local.state.process is not self:
            straggles(self)

    def leave(self) -> None:
        super().leave()
        # Afterwards: who notes it as a straggler meanwhile comes before this, or sees that it has left.
        caught_up(self)

    def _drop(self) -> None:
        super()._drop()
        self._function = None
        self._args = ()


class CoroutinePid(MailboxPid):
    """A process that runs a coroutine function on an event loop; an exit signal cancels it."""

    __slots__ = ("_args", "_function", "_task", "loop")
    kind = "coroutine"

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        parent: Pid | None,
        where: Where | None,
    ) -> None:
        self.loop = loop = home_loop(where)
        if loop.is_closed():
            raise StartError(LOOP_CLOSED)
        settle(loop)
        super().__init__(None, parent)
        self._function: Callable[..., Any] | None = function
        self._args = args
        self._task: asyncio.Task[Any] | None = None
        self._context = contextvars.copy_context()

    @property
    def label(self) -> str:
        if self.name is not None:
            return str(self.name)
        return name_of(self._function)

    def begin(self) -> None:
        """Have the loop start it."""
        if in_step_of(self.loop):
            self._begin()
        else:
            self._tell(self._begin)

    def abandon(self) -> None:
        """Its loop is closed: the task is left to the garbage collector."""
        task, self._task = self._task, None
        if task is not None:
            disown_task(task)

    def _tell(self, step: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(step)
        except RecursionError:
            raise
        except RuntimeError:
            # It is closed.
            ended_afar(self, (), LOOP_CLOSED)

    def task(self) -> asyncio.Task[Any] | None:
        """The task that runs it."""
        return self._task

    def _begin(self) -> None:
        function = self._function
        if self._fate or function is None:
            self.leave()
            return
        context = self._context
        assert context is not None, "it lives"
        task = self._task = start_task(self._live(function), self.loop, context, str(self))
        adopt_task(task, self)
        look_after(self.loop)

    async def _live(self, function: Callable[..., Any]) -> None:
        reason: object = NORMAL
        try:
            if not self._fate:
                await function(*self._args)
        except BaseException as error:
            # What it waited for was cancelled, as all tasks are before a loop is closed; or it was itself.
            cancelled = isinstance(error, asyncio.CancelledError) and not self._fate
            if cancelled and await soon_closing(self.loop, self) and not self._fate:
                reason = LOOP_CLOSED
            else:
                reason = reason_of(self, error)
        self.die(reason)
        task = self._task
        if task is not None:
            disown_task(task)
        self._task = None
        self.leave()
        # As above.
        reason = task = None
        del self

    def end(self, reason: object) -> None:
        if self.die(reason) and self._task is not None:
            self._tell(self._cut)

    def _now_a_straggler(self) -> None:
        if not self.loop.is_closed() and not is_step_of(self._task):
            straggles(self, SOON)

    def leave(self) -> None:
        super().leave()
        # Afterwards: who notes it as a straggler meanwhile comes before this, or sees that it has left.
        caught_up(self)

    def _cut(self) -> None:
        task = self._task
        # Before its first step it sees itself that it is dead; cancelled there, it would not even leave.
        if task is not None and has_begun(task):
            task.cancel()

    def _drop(self) -> None:
        super()._drop()
        self._function = None
        self._args = ()


def prepare(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    link: bool = False,
    monitor: bool = False,
    where: Where | None = None,
) -> tuple[SpawnedPid | CoroutinePid, Ref | None]:
    """Make a process that will run a function, linked or monitored before its first step; ``begin`` starts
    it.
    """
    check_alive()
    if not callable(function):
        raise TypeError(f"expected a callable to spawn, got: {function!r}")
    parent = acting() if link or monitor else current_if_any()
    kernel.ensure()
    pid: SpawnedPid | CoroutinePid
    if makes_coroutine(function):
        pid = CoroutinePid(function, args, parent, where)
    else:
        pid = SpawnedPid(function, args, parent)
    ref = None
    if link and parent is not None:
        tie(parent, pid)
    if monitor and parent is not None:
        ref = Ref(parent, pid)
        pid.add_monitor(ref)
    return pid, ref


def spawn(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    link: bool = False,
    monitor: bool = False,
    where: Where | None = None,
) -> tuple[Pid, Ref | None]:
    """Start a process that runs a function.

    Args:
        where: on which loop a coroutine function runs; see `home_loop`.
    """
    pid, ref = prepare(function, args, link=link, monitor=monitor, where=where)
    if telemetry._attached:
        telemetry.tell(STARTED, {}, {"pid": pid, "name": None, "kind": pid.kind})
    pid.begin()
    return pid, ref


def spawn_at(
    home: weakref.ref[asyncio.AbstractEventLoop] | None,
    function: Callable[..., Any],
    context: contextvars.Context,
) -> Pid:
    """Start a process that runs a coroutine function on a loop of somebody's, or on the runtime's.

    Args:
        home: that loop, None for the runtime's.
        function: the coroutine function, without arguments.
        context: its contextvars, in which nothing else runs.

    Raises:
        StartError: the loop is closed, or about to be.
    """
    if home is None:
        return context.run(spawn, function, (), where="runtime")[0]
    loop = home()
    if loop is None or not settle(loop):
        raise StartError(LOOP_CLOSED)
    make_home(context, loop)
    return context.run(spawn, function, ())[0]
