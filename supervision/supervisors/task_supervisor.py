"""Task supervisors: where computations run that nobody wants to lose sight of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

from ...actors import (
    ChildSpec,
    Pid,
    RestartType,
    StreamOptions,
    Task,
    begin_task,
    child_spec,
    forbid_loop,
    make_stream,
    process,
    start_task,
)
from ...actors.engine import AsyncResults, check_alive, end_task, make_astream
from .child_options import read_options
from .client import aask, blocks
from .dynamic_server import DynamicSupervisorServer
from .dynamic_supervisor import DynamicSupervisor
from .options import DynamicSpec
from .self_containment import above
from .server import Origin
from .values import StartChild

_OPTIONS: Final = ("max_children", "max_restarts", "max_seconds")
_CPUS: Final = os.cpu_count() or 1


class TaskSupervisor:
    """Runs tasks as its children, so that they are stopped with the tree and can be listed.

    For tasks that outlive the function which starts them, or whose crash must not take their owner along
    (`async_nolink`). For a result that is awaited at once `Task.async_` will do.

    A task that was started with `async_` or `async_nolink` belongs to its caller, as with `Task.async_`.

        ```python
        TaskSupervisor.start_link("tasks")
        task = TaskSupervisor.async_nolink("tasks", sum, [1, 2, 3])
        assert Task.await_(task) == 6
        TaskSupervisor.stop("tasks")
        ```

    Semantics: Elixir's Task.Supervisor.
    """

    @classmethod
    def start_link(
        cls,
        name: Any = None,
        max_children: int | None = None,
        *,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
    ) -> Pid:
        """Starts a supervisor without tasks, linked to the current process.

        Args:
            name: A name for it: a str or a `Via`.
            max_children: How many tasks there may be at once; None means any number.
            max_restarts: The restart intensity, for tasks that `start_child` was told to restart.
            max_seconds: Its window in seconds.

        Raises:
            SpecError: An option is wrong. Nothing was started.
            AlreadyStarted: The name is taken.
        """
        check_alive()
        spec = DynamicSpec(max_children=max_children, max_restarts=max_restarts, max_seconds=max_seconds)
        origin = Origin(cls, None, spec, above(cls, spec))
        pid: Pid = DynamicSupervisorServer.launch(origin, name=name)
        return pid

    @classmethod
    async def astart_link(
        cls,
        name: Any = None,
        max_children: int | None = None,
        *,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
    ) -> Pid:
        """The form of `start_link` for coroutines. Coroutine functions then run on this event loop."""
        check_alive()
        spec = DynamicSpec(max_children=max_children, max_restarts=max_restarts, max_seconds=max_seconds)
        origin = Origin(cls, None, spec, above(cls, spec))
        pid: Pid = await DynamicSupervisorServer.alaunch(origin, name=name)
        return pid

    @classmethod
    def child_spec(cls, options: Any = None, /, **more: Any) -> ChildSpec:
        """The spec of a task supervisor as a child of another supervisor.

        Args:
            options: A mapping of what `start_link` takes, so that
                `(TaskSupervisor, {"name": "tasks", "max_children": 2})` is a child; or just the name.
            more: The same, as keyword arguments, and fields of the spec. What both have (`max_restarts`,
                `max_seconds`) is for `start_link`. The id is the `name`, if one is given.

        Raises:
            SpecError: An option is unknown or wrong; the message names it.
        """
        if not isinstance(options, (Mapping, type(None))):
            options = {"name": options}
        given = read_options(cls.__name__, options, more, ("name", *_OPTIONS))
        DynamicSpec(**given.only(_OPTIONS))
        return given.spec(cls.start_link)

    @staticmethod
    def async_(supervisor: Any, function: Callable[..., Any], *args: Any, shutdown: Any = None) -> Task:
        """Starts a task that is linked to the caller: if it crashes, so does the caller, and the reverse.

        Args:
            supervisor: A Pid or a name.
            function: What it runs.
            args: What that is called with.
            shutdown: Its shutdown time, 5.0 seconds by default.

        Raises:
            MaxChildren: There are too many tasks already.
        """
        blocks("TaskSupervisor.async_")
        return _start(supervisor, function, args, shutdown, link=True)

    @staticmethod
    async def aasync_(
        supervisor: Any, function: Callable[..., Any], *args: Any, shutdown: Any = None
    ) -> Task:
        """The form of `async_` for coroutines: the task, when it has started. If it is cancelled, the task is
        killed. A coroutine function runs on the loop in which the supervisor, or its tree, was started.
        """
        return await _astart(supervisor, function, args, shutdown, link=True)

    @staticmethod
    def async_nolink(supervisor: Any, function: Callable[..., Any], *args: Any, shutdown: Any = None) -> Task:
        """Starts a task whose crash the caller only sees when it awaits it, or as a `Down` message.

        Args, Raises: as `async_`.
        """
        blocks("TaskSupervisor.async_nolink")
        return _start(supervisor, function, args, shutdown, link=False)

    @staticmethod
    async def aasync_nolink(
        supervisor: Any, function: Callable[..., Any], *args: Any, shutdown: Any = None
    ) -> Task:
        """The form of `async_nolink` for coroutines; see `aasync_`."""
        return await _astart(supervisor, function, args, shutdown, link=False)

    @staticmethod
    def start_child(
        supervisor: Any,
        function: Callable[..., Any],
        *args: Any,
        restart: RestartType = "temporary",
        shutdown: Any = None,
    ) -> Pid | None:
        """Starts a task whose result nobody wants.

        Args:
            supervisor: A Pid or a name.
            function: What it runs.
            args: What that is called with.
            restart: `"temporary"` (the default), `"transient"` or `"permanent"`.
            shutdown: Its shutdown time, 5.0 seconds by default.

        Raises:
            MaxChildren: There are too many tasks already.
        """
        blocks("TaskSupervisor.start_child")
        return DynamicSupervisor.start_child(supervisor, _child(function, args, restart, shutdown))

    @staticmethod
    async def astart_child(
        supervisor: Any,
        function: Callable[..., Any],
        *args: Any,
        restart: RestartType = "temporary",
        shutdown: Any = None,
    ) -> Pid | None:
        """The form of `start_child` for coroutines. If it is cancelled, the task is stopped again."""
        spec = _child(function, args, restart, shutdown)
        return await DynamicSupervisor.astart_child(supervisor, spec)

    @staticmethod
    def terminate_child(supervisor: Any, pid: Pid) -> None:
        """Stops a task.

        Raises:
            NotFound: That is not a task of it.
        """
        blocks("TaskSupervisor.terminate_child")
        DynamicSupervisor.terminate_child(supervisor, pid)

    @staticmethod
    async def aterminate_child(supervisor: Any, pid: Pid) -> None:
        """The form of `terminate_child` for coroutines."""
        await DynamicSupervisor.aterminate_child(supervisor, pid)

    @staticmethod
    def children(supervisor: Any) -> list[Pid]:
        """The Pids of all tasks that run."""
        blocks("TaskSupervisor.children")
        infos = DynamicSupervisor.which_children(supervisor)
        return [info.pid for info in infos if isinstance(info.pid, Pid)]

    @staticmethod
    async def achildren(supervisor: Any) -> list[Pid]:
        """The form of `children` for coroutines."""
        infos = await DynamicSupervisor.awhich_children(supervisor)
        return [info.pid for info in infos if isinstance(info.pid, Pid)]

    @staticmethod
    def async_stream(
        supervisor: Any,
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = _CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
        zip_input_on_exit: bool = False,
        shutdown: Any = None,
    ) -> Iterator[Any]:
        """`Task.async_stream` with tasks of the supervisor; the options are the same, and `shutdown` is the
        shutdown time of each task.
        """
        options = StreamOptions(max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit)
        check_alive()
        forbid_loop("TaskSupervisor.async_stream", "async for result in TaskSupervisor.astream(...): ...")
        return _stream(supervisor, iterable, function, options, shutdown)

    @staticmethod
    def astream(
        supervisor: Any,
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = _CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
        zip_input_on_exit: bool = False,
        shutdown: Any = None,
    ) -> AsyncResults:
        """`Task.astream` with tasks of the supervisor; see `aasync_` for the loop on which they run."""
        options = StreamOptions(max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit)
        return _astream(supervisor, iterable, function, options, shutdown)

    @staticmethod
    def async_stream_nolink(
        supervisor: Any,
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = _CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
        zip_input_on_exit: bool = False,
        shutdown: Any = None,
    ) -> Iterator[Any]:
        """`async_stream` that goes on when a task crashes, and yields `TaskExit(reason)` in its place."""
        options = StreamOptions(
            max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit, tolerant=True
        )
        check_alive()
        forbid_loop(
            "TaskSupervisor.async_stream_nolink",
            "async for result in TaskSupervisor.astream_nolink(...): ...",
        )
        return _stream(supervisor, iterable, function, options, shutdown)

    @staticmethod
    def astream_nolink(
        supervisor: Any,
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = _CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
        zip_input_on_exit: bool = False,
        shutdown: Any = None,
    ) -> AsyncResults:
        """`astream` that goes on when a task crashes, and yields `TaskExit(reason)` in its place."""
        options = StreamOptions(
            max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit, tolerant=True
        )
        return _astream(supervisor, iterable, function, options, shutdown)

    @staticmethod
    def stop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """Stops a task supervisor with all its tasks and waits for that; see `Supervisor.stop`."""
        blocks("TaskSupervisor.stop")
        DynamicSupervisor.stop(supervisor, reason, timeout)

    @staticmethod
    async def astop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """The form of `stop` for coroutines."""
        await DynamicSupervisor.astop(supervisor, reason, timeout)


def _stream(
    supervisor: Any,
    iterable: Iterable[Any],
    function: Callable[..., Any],
    options: StreamOptions,
    shutdown: Any,
) -> Iterator[Any]:
    def begin(function: Callable[..., Any], item: Any) -> Task:
        return _start(supervisor, function, (item,), shutdown, link=not options.tolerant)

    return make_stream(iterable, function, options, begin)


def _astream(
    supervisor: Any,
    iterable: Iterable[Any],
    function: Callable[..., Any],
    options: StreamOptions,
    shutdown: Any,
) -> AsyncResults:
    async def begin(function: Callable[..., Any], item: Any) -> Task:
        return await _astart(supervisor, function, (item,), shutdown, link=not options.tolerant)

    return make_astream(iterable, function, options, begin)


def _child(
    function: Callable[..., Any], args: tuple[Any, ...], restart: RestartType, shutdown: Any
) -> dict[str, Any]:
    # Runs in the supervisor; the task works for who asked for it, also when it is started again.
    start = (start_task, (process.current(), function, args))
    return {"id": Task, "start": start, "restart": restart, "shutdown": shutdown}


def _start(
    supervisor: Any, function: Callable[..., Any], args: tuple[Any, ...], shutdown: Any, *, link: bool
) -> Task:
    owner = process.current()
    made: list[Task] = []

    def start() -> Pid | None:
        # Runs in the supervisor, which links the task to itself; the result goes to the owner.
        made.append(begin_task(function, args, link=link, owner=owner))
        return made[0].pid

    spec = {"id": Task, "start": (start, ()), "restart": "temporary", "shutdown": shutdown}
    DynamicSupervisor.start_child(supervisor, spec)
    return made[0]


async def _astart(
    supervisor: Any, function: Callable[..., Any], args: tuple[Any, ...], shutdown: Any, *, link: bool
) -> Task:
    owner = process.current()
    made: list[Task] = []
    given_up: list[None] = []

    def start() -> Pid | None:
        # Runs in the supervisor.
        if given_up:
            return None
        made.append(begin_task(function, args, link=link, owner=owner))
        if given_up:
            end_task(made[0], take=False)
        return made[0].pid

    spec = {"id": Task, "start": (start, ()), "restart": "temporary", "shutdown": shutdown}
    try:
        await aask(supervisor, StartChild(child_spec(spec)))
    except BaseException:
        given_up.append(None)
        if made:
            end_task(made[0], take=True)
        raise
    return made[0]
