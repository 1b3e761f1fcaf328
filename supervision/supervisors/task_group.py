"""Groups of tasks and supervised children, which end with a block of code: structured concurrency."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import attrs

from ...actors import NoProcess, Pid, ServerExit, child_spec, need_loop
from ...actors.engine import (
    Deaths,
    check_alive,
    departed,
    hidden_task,
    see_through,
    watch_running_loop,
)
from .events import GaveUp
from .options import Strategy, SupervisorSpec
from .self_containment import above
from .server import Origin
from .snapshot import children_of
from .static_server import StaticServer
from .supervisor import Supervisor

T = TypeVar("T")


def task_group(
    *, strategy: Strategy = "one_for_one", max_restarts: int = 3, max_seconds: float = 5.0
) -> TaskGroup:
    """Makes a group of tasks and supervised children that end with its block:
    ``async with resprout.task_group() as group:``.

    For a part of a program that has servers for as long as it runs, in a program of coroutines. What shall
    outlive the block belongs under a supervisor; tasks without servers need asyncio's or anyio's groups only.

    The end of the block waits for the group's tasks, then stops the children in reverse order of their
    starts. A task that raises, an error in the block, or children that crash too often cancel the block and
    the other tasks, and stop the children in order; the block raises then. When the block is cancelled, its
    tasks are cancelled and awaited, the children stopped in order, and the cancellation goes on; cancelled
    once more meanwhile, the children are killed. Nothing outlives the block.

    Children with coroutines live on the loop of the block, those that are started anew as well.

    Args:
        strategy: Who is restarted with a child that has crashed, as for a `Supervisor`.
        max_restarts: How many restarts are fine ...
        max_seconds: ... within so many seconds. One more is an error of the group.

    Returns:
        The group, to be entered once.

    Raises:
        SpecError: An option is wrong.
        ExceptionGroup: From the block, as from one of `asyncio.TaskGroup`: all errors. On Python 3.10 the
            first error by itself. Children that crashed too often are a `ServerExit`, whose cause is the last
            of their errors.

    Example:
        ```python
        import asyncio

        async def main():
            async with task_group(strategy="one_for_all") as group:
                state = await group.start_child((Agent, lambda: 41))
                group.start_soon(Agent.aupdate, state, lambda number: number + 1)
            assert not state.alive

        asyncio.run(main())
        ```
    """
    spec = SupervisorSpec((), strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds)
    return TaskGroup(spec)


class TaskGroup:
    """See `task_group`, which makes one.

    Semantics: `asyncio.TaskGroup`, with OTP's supervisor(3) for the children.
    """

    def __init__(self, spec: SupervisorSpec) -> None:
        self._spec = spec
        self._host: asyncio.Task[Any] | None = None
        self._supervisor: Pid | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: list[BaseException] = []
        self._ids: dict[Any, int] = {}
        self._watch: _Watch | None = None
        self._gave_up: GaveUp | None = None
        self._aborting = False
        self._closed = False
        self._asked = False
        """Whether it has cancelled the block itself."""
        self._exiting = False

    def __repr__(self) -> str:
        state = "aborting" if self._aborting else "ended" if self._closed else "open"
        return f"<task_group {state}, {len(self._tasks)} tasks, {self._supervisor or 'not entered'}>"

    @property
    def supervisor(self) -> Pid | None:
        """The supervisor of the children; None before the block."""
        return self._supervisor

    # Starting -------------------------------------------------------------------------------------

    async def start_child(self, spec: object) -> Pid | None:
        """Starts a supervised child.

        Args:
            spec: Its spec, in any form; the id may be that of another child of the group.

        Returns:
            Its Pid; None if its start said that there is no process.

        Raises:
            StartError: It did not start.
            SpecError: The spec is wrong.
            RuntimeError: The group is not open, or about to end with an error.
        """
        self._check_open()
        read = child_spec(spec)
        number = self._ids[read.id] = self._ids.get(read.id, 0) + 1
        if number > 1:
            read = attrs.evolve(read, id=(read.id, number))
        return await Supervisor.astart_child(self._supervisor, read)

    def create_task(self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Starts a task of the group, as `asyncio.TaskGroup` does.

        Args:
            coroutine: What it runs.
            name: The name of the task.

        Raises:
            RuntimeError: The group is not open, or about to end with an error.
        """
        try:
            self._check_open()
        except BaseException:
            coroutine.close()
            raise
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any, name: object = None) -> None:
        """Starts a task of the group that calls a coroutine function, as anyio's groups do.

        Args:
            function: The coroutine function.
            args: Its arguments.
            name: The name of the task.
        """

        async def call() -> None:
            await function(*args)

        self.create_task(call(), name=None if name is None else str(name))

    def _check_open(self) -> None:
        check_alive()
        if self._host is None:
            raise RuntimeError("expected the group to be open: write `async with task_group() as group:`")
        if self._closed or self._aborting:
            what = "is about to end with an error" if not self._closed else "has ended"
            raise RuntimeError(f"expected the group to be open, but it {what}")

    # The block ------------------------------------------------------------------------------------

    async def __aenter__(self) -> TaskGroup:
        check_alive()
        if self._host is not None:
            raise RuntimeError("expected a new task_group() for each block, got: one that was entered")
        host = asyncio.current_task(need_loop("async with task_group()"))
        origin = Origin(TaskGroup, self, self._spec, above(TaskGroup, self._spec))
        self._supervisor = await _GroupServer.of(TaskGroup).astart(origin)
        self._host = host
        watch_running_loop()
        self._watch = _Watch(self)
        self._watch.watch(self._supervisor)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exiting = True
        host = self._host
        assert host is not None, "it was entered"
        if isinstance(error, GeneratorExit):
            # The block is thrown away, with its loop: nothing can be awaited any more.
            self._abort()
            self._hurry()
            return
        cancelled = error if isinstance(error, asyncio.CancelledError) else None
        if error is not None and cancelled is None:
            self._errors.append(error)
        if self._asked and _take_back_cancel(host):
            if cancelled is None:
                # It is on its way still.
                await _meet_cancel()
            # It was the group's own: what is raised is the error behind it.
            cancelled = None
        if error is not None:
            self._abort()
        ending = hidden_task(self._wind_up(), f"the end of {self!r}")
        cancelled = await see_through(ending, cancelled, self._hurry, self._abort)
        failed = ending.exception()
        if failed is not None:
            self._errors.append(failed)
        try:
            self._raise(cancelled, error)
        finally:
            # Their tracebacks have this frame.
            self._errors = []
            del error, cancelled, failed, host, ending

    def _raise(self, cancelled: asyncio.CancelledError | None, error: BaseException | None) -> None:
        """Raise what the block ends with, unless that is under way as it is."""
        for each in self._errors:
            if not isinstance(each, Exception):
                # Ctrl-C, say.
                if each is not error:
                    raise each
                return
        if self._errors:
            if sys.version_info >= (3, 11):
                raise BaseExceptionGroup(  # noqa: F821  # new in 3.11
                    "unhandled errors in a task_group", self._errors
                )
            if self._errors[0] is not error:
                raise self._errors[0]
        elif cancelled is not None and cancelled is not error:
            raise cancelled

    async def _wind_up(self) -> None:
        """Wait for the tasks, then stop the children in order."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._closed = True
        supervisor, watch = self._supervisor, self._watch
        assert supervisor is not None, "it was entered"
        assert watch is not None, "it was entered"
        below = _tree_of(supervisor)
        watch.stop(supervisor)
        try:
            await Supervisor.astop(supervisor, "shutdown")
        except (NoProcess, ServerExit):
            # It has given up, or was killed.
            pass
        for pid in below:
            await departed(pid)

    def _abort(self) -> None:
        if not self._aborting:
            self._aborting = True
            for task in self._tasks:
                task.cancel()

    def _hurry(self) -> None:
        """The block was cancelled once more: the tasks are told again, the children are killed."""
        for task in self._tasks:
            task.cancel()
        supervisor, watch = self._supervisor, self._watch
        if supervisor is not None and watch is not None:
            watch.stop(supervisor)
            for pid in _tree_of(supervisor):
                pid.signal(None, "kill", direct=True)

    # What happens meanwhile -----------------------------------------------------------------------

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)

    def _down(self, pid: Pid) -> None:
        """The supervisor has ended by itself."""
        if self._closed:
            return
        gave_up = self._gave_up
        if gave_up is None:
            self._failed(ServerExit(pid.exit_reason, pid, "a task_group"))
            return
        what = (
            f"a task_group, whose child {gave_up.id!r} crashed too often: more than {gave_up.max_restarts} "
            f"restarts in {gave_up.max_seconds:g} s"
        )
        error = ServerExit(pid.exit_reason, pid, what)
        error.__cause__ = getattr(gave_up.reason, "exception", None)
        self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._errors.append(error)
        host = self._host
        if not self._aborting and host is not None and not self._exiting and not host.done():
            self._asked = True
            host.cancel()
        self._abort()


class _GroupServer(StaticServer):
    """Tells its group why it gives up."""

    def _tell_gave_up(self, event: GaveUp) -> None:
        super()._tell_gave_up(event)
        self.origin.arg._gave_up = event


class _Watch(Deaths):
    """Has the death of the supervisor told to the group, on its loop."""

    __slots__ = ("_group", "_loop", "_ref")

    def __init__(self, group: TaskGroup) -> None:
        super().__init__()
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._ref: Any = None

    def watch(self, pid: Pid) -> Any:
        self._ref = super().watch(pid)
        return self._ref

    def stop(self, pid: Pid) -> None:
        """Watch no longer."""
        pid.remove_monitor(self._ref)

    def deliver(self, down: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(self._group._down, down.pid)
        except RecursionError:
            raise
        except RuntimeError:
            # The loop is closed, and the block with it.
            return


def _tree_of(pid: Pid) -> list[Pid]:
    """A process and all below it, asking nobody."""
    below = [child.pid for child in children_of(pid) if child.pid is not None]
    return [pid, *(each for child in below for each in _tree_of(child))]


def _take_back_cancel(task: asyncio.Task[Any]) -> bool:
    """Take back a cancellation of our own; False when there is another one besides."""
    if sys.version_info >= (3, 11):
        return task.uncancel() == 0
    return True


async def _meet_cancel() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return
