"""Task: one computation in a process of its own, whose result somebody may want.

For state or for many requests use a GenServer; for throttled work ``throttle.execute``.

Semantics: Elixir's ``Task``. Differs from OTP: results are return values, exits are raised as
``ServerExit``, and a wait that is over raises ``CallTimeout`` and leaves the task running (in Elixir the
caller's exit takes it along).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Literal

from ..processes.ambient import ThreadPid
from ..processes.links import tie
from ..processes.mailbox import take_plain
from ..processes.offloaded import acting
from ..processes.pid import Pid
from ..runtime.future import Future
from ..runtime.loop import makes_coroutine
from ..runtime.parking import check_timeout, forbid_loop, need_loop
from ..runtime.thread_state import check_alive, current_if_any, runs_here
from ..vocabulary.child_spec import child_spec as make_child_spec
from ..vocabulary.errors import CallTimeout, ProcessExit, ResproutError, ServerExit
from ..vocabulary.messages import Down, Exited, Ref, TaskExit, TaskReply
from ..vocabulary.reasons import KILL, KILLED, SHUTDOWN, is_orderly
from .spawned import name_of, prepare
from .task_ends import Ends, await_until, deadline_of, wait_until
from .task_stream import CPUS, AsyncResults, StreamOptions, make_astream, make_stream


class NotOwner(ResproutError):
    """Only the process that started a task may await it."""


class TaskIgnored(ResproutError):
    """The task was let go with ``Task.ignore``: its result is dropped, so nobody can wait for it."""


class Task:
    """A running computation. Made by ``Task.async_`` and the functions of TaskSupervisor.

    The owner also gets the message ``(task.ref, result)``, or a Down of ``task.ref``, so that a GenServer
    may handle it in handle_info instead of waiting; awaiting removes both from the mailbox. In a coroutine:
    ``await task``.

    Attributes:
        pid: the process that computes; None for ``Task.completed``.
        ref: the owner's monitor of it.
        owner: who started it.
    """

    __slots__ = ("_ignored", "_result", "owner", "pid", "ref")

    def __init__(self, pid: Pid | None, ref: Ref, owner: Pid, result: Future[Any]) -> None:
        self.pid = pid
        self.ref = ref
        self.owner = owner
        self._result = result
        self._ignored = False

    def __repr__(self) -> str:
        return f"<Task {self.pid or 'completed'} of {self.owner}>"

    def done(self) -> bool:
        """Whether its result or its exit is known."""
        check_alive()
        return self._result.done()

    def __await__(self) -> Generator[Any, None, Any]:
        check_alive()
        _not_ignored(self)
        if not self._result.done():
            # Not the result itself: a wait that is cancelled ends the wait only.
            bell: Future[None] = Future()

            def ring(_: object) -> None:
                bell.try_set(None)

            self._result.add_done_callback(ring)
            try:
                yield from bell.__await__()
            finally:
                self._result.remove_done_callback(ring)
        return self._take()

    # -- starting ------------------------------------------------------------

    @staticmethod
    def async_(function: Callable[..., Any], *args: Any) -> Task:
        """Start a computation, linked to and owned by the current process.

        Args:
            function: runs on a thread of the pool; a coroutine function on the event loop in which this is
                called, or the tree of the caller was started, else on the runtime's.
            args: its arguments.

        Raises:
            StartError: that loop is closed.
        """
        return begin_task(function, args, link=True)

    @staticmethod
    def completed(value: Any) -> Task:
        """A task of the current process that has its result already, for code that needs a task in any case.

        Args:
            value: the result. It is in the mailbox, too, as of any task.

        Semantics: Elixir's ``Task.completed/1``; its pid is None.
        """
        owner = acting()
        ref = Ref(owner, None)
        result: Future[Any] = Future()
        _tell(None, ref, value, result)
        return Task(None, ref, owner, result)

    @staticmethod
    def start(function: Callable[..., Any], *args: Any) -> Pid:
        """Start a computation whose result nobody wants, linked to nobody."""
        pid, _ = prepare(function, args)
        work_for(pid, current_if_any())
        pid.begin()
        return pid

    @staticmethod
    def start_link(function: Callable[..., Any], *args: Any) -> Pid:
        """Like start, linked to the current process, as a child of a supervisor is."""
        return start_task(acting(), function, args)

    @staticmethod
    def child_spec(function: Callable[..., Any], *args: Any, **overrides: Any) -> Any:
        """The child spec of a task: temporary, as in Elixir."""
        fields = {
            "id": Task,
            "start": (Task.start_link, (function, *args)),
            "restart": "temporary",
            **overrides,
        }
        return make_child_spec(fields)

    # -- waiting -------------------------------------------------------------

    @staticmethod
    def await_(task: Task, timeout: float | None = 5.0) -> Any:
        """Wait for the result. In a coroutine: ``await task``, where a time to wait is given as for any
        other awaitable (``asyncio.wait_for(task, 5.0)``).

        Args:
            task: of the current process.
            timeout: seconds, None for ever.

        Raises:
            BlockingInLoop: it is not there yet and an event loop runs in this thread.
            CallTimeout: it did not come in time; the task goes on, and may be awaited again.
            ServerExit: the task ended without one.
            NotOwner: another process started it.
            TaskIgnored: it was let go.
        """
        _owned(task)
        # Also when there is nothing to wait for.
        check_timeout(timeout)
        _may_wait([task], "await_", "task")
        try:
            task._result.wait(timeout)
        except CallTimeout:
            raise CallTimeout(f"{task} gave no result within {timeout:g} s") from None
        return task._take()

    @staticmethod
    def await_many(tasks: Iterable[Task], timeout: float | None = 5.0) -> list[Any]:
        """Wait for all results. In a coroutine: ``asyncio.gather(*tasks)``.

        Args:
            tasks: of the current process, which is looked at before anything else.
            timeout: seconds for all of them together, None for ever.

        Returns:
            The results, in the order of the tasks.

        Raises:
            ServerExit: a task ended without one; raised as soon as that happens, however long others take.
            CallTimeout, NotOwner, TaskIgnored: as await_.
        """
        check_alive()
        tasks = list(tasks)
        for task in tasks:
            _owned(task)
        check_timeout(timeout)
        _may_wait(tasks, "await_many", "asyncio.gather(*tasks)")
        with Ends(tasks) as ends:
            deadline = deadline_of(timeout)
            for left in range(len(ends.waited_for), 0, -1):
                ended = ends.next(deadline)
                if ended is None:
                    raise CallTimeout(f"{left} of {len(tasks)} tasks gave no result within {timeout:g} s")
                if ended._result.exception(0.0) is not None:
                    ended._take()
        return [task._take() for task in tasks]

    @staticmethod
    def yield_(task: Task, timeout: float | None = 5.0) -> Any:
        """Wait for the result; None when it did not come in time (see ``task.done()`` for a result that is
        None).

        Raises:
            ServerExit: the task ended without a result.
            NotOwner, TaskIgnored: as await_.
        """
        _owned(task)
        check_timeout(timeout)
        if timeout != 0:
            _may_wait([task], "yield_", "Task.ayield_(task)")
        return task._take() if wait_until(task._result, deadline_of(timeout)) else None

    @staticmethod
    async def ayield_(task: Task, timeout: float | None = 5.0) -> Any:
        """The form of yield_ for coroutines."""
        _owned(task, beside=True)
        need_loop("Task.ayield_()")
        check_timeout(timeout)
        return task._take() if await await_until(task._result, deadline_of(timeout)) else None

    @staticmethod
    def yield_many(
        tasks: Iterable[Task],
        timeout: float | None = 5.0,
        *,
        on_timeout: Literal["nothing", "ignore", "kill_task"] = "nothing",
        limit: int | None = None,
    ) -> list[tuple[Task, Any]]:
        """Wait for several at once, and tell of each.

        Args:
            tasks: of the current process, which is looked at before anything else.
            timeout: seconds for all of them together, None for ever.
            on_timeout: what becomes of those that are not done when the time is over: ``"nothing"`` (they
                may be awaited again), ``"ignore"`` (see ``ignore``) or ``"kill_task"``.
            limit: how many to wait for; when that many are done the rest is left as it is, and nothing
                becomes of it. None waits for all.

        Returns:
            Pairs of task and result, ``TaskExit(reason)`` or None, in the order of the tasks.

        Semantics: Elixir's ``Task.yield_many/2``.
        """
        tasks = _several(tasks, timeout, on_timeout, limit)
        if timeout != 0:
            _may_wait(tasks, "yield_many", "Task.ayield_many(tasks)")
        deadline = deadline_of(timeout)
        done: set[Ref] = set()
        with Ends(tasks) as ends:
            wanted = len(ends.waited_for) if limit is None else min(limit, len(ends.waited_for))
            while True:
                if len(done) >= wanted or (ended := ends.next(deadline)) is None:
                    break
                done.add(ended.ref)
        return _outcomes(tasks, done, "nothing" if len(done) >= wanted else on_timeout)

    @staticmethod
    async def ayield_many(
        tasks: Iterable[Task],
        timeout: float | None = 5.0,
        *,
        on_timeout: Literal["nothing", "ignore", "kill_task"] = "nothing",
        limit: int | None = None,
    ) -> list[tuple[Task, Any]]:
        """The form of yield_many for coroutines."""
        tasks = _several(tasks, timeout, on_timeout, limit, beside=True)
        need_loop("Task.ayield_many()")
        deadline = deadline_of(timeout)
        done: set[Ref] = set()
        with Ends(tasks) as ends:
            wanted = len(ends.waited_for) if limit is None else min(limit, len(ends.waited_for))
            while True:
                if len(done) >= wanted or (ended := await ends.anext(deadline)) is None:
                    break
                done.add(ended.ref)
        if len(done) >= wanted or on_timeout != "kill_task":
            return _outcomes(tasks, done, "nothing" if len(done) >= wanted else on_timeout)
        return [(task, task._outcome() if task.ref in done else await _akill_late(task)) for task in tasks]

    @staticmethod
    def shutdown(task: Task, timeout: float | None = 5.0) -> Any:
        """End a task.

        Args:
            task: of the current process.
            timeout: seconds that it may take to end; then it is killed, with 0 at once.

        Returns:
            Its result if it had one; None if it ended because it was told to; else how it ended:
            ``TaskExit("normal")`` without a result, ``TaskExit("killed")`` when its time was over, or
            whatever it exited with that is no fault.

        Raises:
            ServerExit: it had crashed by itself.
            NotOwner, TaskIgnored: as await_.

        Semantics: Elixir's ``Task.shutdown/2``.
        """
        _owned(task)
        check_timeout(timeout)
        _tell_to_end(task, KILL if timeout == 0 else SHUTDOWN)
        # Most die of that at once.
        _may_wait([task], "shutdown", "Task.ashutdown(task)")
        if task.pid is not None and not wait_until(task._result, deadline_of(timeout or None)):
            task.pid.signal(task.owner, KILL, direct=True)
            task._result.wait()
        return _shut_down(task, timeout)

    @staticmethod
    async def ashutdown(task: Task, timeout: float | None = 5.0) -> Any:
        """The form of shutdown for coroutines. If it is cancelled, the task is killed at once."""
        _owned(task, beside=True)
        need_loop("Task.ashutdown()")
        check_timeout(timeout)
        _tell_to_end(task, KILL if timeout == 0 else SHUTDOWN)
        if task.pid is not None:
            try:
                in_time = await await_until(task._result, deadline_of(timeout or None))
            except BaseException:
                task._kill()
                raise
            if not in_time:
                task.pid.signal(task.owner, KILL, direct=True)
                # Unless it closes what it owns, that is at once.
                await await_until(task._result, None)
        return _shut_down(task, timeout)

    @staticmethod
    def ignore(task: Task) -> Any:
        """Let a task go on without its owner: unlinked, its result dropped, no message of it left or to come.

        Returns:
            The result if it is there already, else None.

        Raises:
            ServerExit: it had ended without one.
            NotOwner, TaskIgnored: as await_.
        """
        me = _owned(task)
        if task.pid is not None:
            me.remove_link(task.pid)
        if task.done():
            return task._take()
        task._ignored = True
        task._forget()
        return None

    def _outcome(self) -> Any:
        """The result of one that is done, or ``TaskExit(reason)``."""
        try:
            return self._take()
        except ProcessExit as error:
            return TaskExit(error.reason)

    def _let_go(self, *, take: bool = True) -> None:
        """Leave nothing of it with its owner: neither the link nor a message, nor one that is still to come.

        Args:
            take: False where the owner may be at its mailbox just now, as on another thread or inside the
                garbage collector. What is in there is then thrown away when its turn comes.
        """
        pid, owner = self.pid, self.owner
        if pid is not None and not owner.dead:
            if not take and owner.trap_exit and pid.dead and pid.id not in owner._links:
                # The link has told, or is about to.
                owner._own("_unlinked", set()).add(pid.id)
            owner.remove_link(pid)
            if take:
                take_plain(owner, lambda message: message.__class__ is Exited and message.pid is pid)
        self._forget(take=take)

    def _kill(self, *, take: bool = True) -> None:
        """End it at once, whoever asks, and leave nothing of it with its owner."""
        self._let_go(take=take)
        if self.pid is not None:
            self.pid.signal(self.owner, KILL, direct=True)

    def _take(self) -> Any:
        """The result, with what came into the owner's mailbox along with it taken out."""
        # A coroutine of the owner's thread may wait in the owner's place, as asyncio.gather does.
        told = self._forget(take=runs_here(self.owner))
        if told is not None:
            # Before its end: it may have been killed between telling the two.
            return told[1]
        try:
            return self._result.result(0.0)
        except ServerExit:
            # The link has ended an owner that is a thread: the error raised here is how it learns of that.
            if isinstance(self.owner, ThreadPid) and self.owner.dead:
                self.owner.meet_death()
            raise

    def _forget(self, *, take: bool = True) -> TaskReply | None:
        """Take its messages out of the owner's mailbox; the one with the result, if it was there."""
        ref, owner = self.ref, self.owner
        if owner.dead:
            return None
        if self.pid is not None:
            self.pid.remove_monitor(ref)
        told = None
        if take:
            take_plain(owner, lambda message: message.__class__ is Down and message.ref is ref)
            _, told = take_plain(owner, lambda message: message.__class__ is TaskReply and message[0] is ref)
        # What is on its way is thrown away on arrival. (Not before, or it would be thrown away here.)
        ref.flushed = True
        return told

    # -- streams -------------------------------------------------------------

    @staticmethod
    def async_stream(
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
        zip_input_on_exit: bool = False,
    ) -> Iterator[Any]:
        """Run ``function(item)`` for each item in a task of its own, at most max_concurrency at once, and
        yield the results.

        The iterable may be infinite: an item is taken only when there is room for its task, so never more
        than max_concurrency ahead of what the consumer has taken. Closing the iterator ends the tasks.
        Whatever happens, no task goes on after the end and no message of one is left in the mailbox.

        Args:
            iterable: the items.
            function: called with one item.
            max_concurrency: tasks at once; by default the number of processors.
            ordered: results in the order of the items; False yields each as it comes.
            timeout: seconds that one item may take, None for ever.
            on_timeout: ``"exit"`` raises CallTimeout; ``"kill_task"`` ends the task and yields
                ``TaskExit("timeout")``.
            zip_input_on_exit: whether a TaskExit has the pair of the item and the reason for its reason.

        Raises:
            ServerExit: a task crashed. (It is linked, as in Elixir.) For an owner that traps exits
                ``TaskExit(reason)`` is yielded instead, and the stream goes on.
            CallTimeout: an item took too long.
        """
        check_alive()
        options = StreamOptions(max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit)
        forbid_loop("Task.async_stream", "async for result in Task.astream(...): ...")
        return make_stream(iterable, function, options, begin_linked)

    @staticmethod
    def astream(
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: Literal["exit", "kill_task"] = "exit",
        zip_input_on_exit: bool = False,
    ) -> AsyncResults:
        """``async_stream`` for coroutines: ``async for result in Task.astream(urls, fetch): ...``.

        A coroutine function runs on the loop of the caller, so it may use what belongs to that; a plain one
        on threads. The tasks end with the loop: when a ``break`` or an exception leaves it, when it is
        cancelled, and with ``aclose()``. Those that are on this loop are cancelled then, so their ``finally``
        blocks run in its next turns.

        Args:
            iterable, function, max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit: as for
                ``async_stream``.

        Returns:
            An asynchronous iterator with ``aclose()``.

        Raises:
            ServerExit, CallTimeout: as ``async_stream``.
        """
        options = StreamOptions(max_concurrency, ordered, timeout, on_timeout, zip_input_on_exit)

        async def begin(function: Callable[..., Any], item: Any) -> Task:
            return begin_linked(function, item)

        return make_astream(iterable, function, options, begin)


def begin_linked(function: Callable[..., Any], item: Any) -> Task:
    """Start the task of one item of a stream."""
    return begin_task(function, (item,), link=True)


def begin_task(
    function: Callable[..., Any], args: tuple[Any, ...], *, link: bool, owner: Pid | None = None
) -> Task:
    """Start a computation owned by the current process (or by owner, for a supervisor that starts it on
    somebody's behalf).
    """
    check_alive()
    if not callable(function):
        raise TypeError(f"expected a function, got: {function!r}")
    supervisor = None if owner is None else current_if_any()
    owner = acting() if owner is None else owner
    result: Future[Any] = Future()
    cell: list[tuple[Pid, Ref]] = []
    if makes_coroutine(function):

        async def compute_async(*args: Any) -> None:
            _tell(*cell[0], await function(*args), result)

        compute_async.__qualname__ = name_of(function)
        pid, _ = prepare(compute_async, args)
    else:

        def compute(*args: Any) -> None:
            _tell(*cell[0], function(*args), result)

        # By its own name it is in crash reports, not by that of what is around it.
        compute.__qualname__ = name_of(function)
        pid, _ = prepare(compute, args)
    ref = Ref(owner, pid)
    cell.append((pid, ref))
    work_for(pid, owner)
    pid.attach(_Ending(result))
    pid.add_monitor(ref)
    if link:
        tie(owner, pid)
    if supervisor is not None:
        # Before its first step, which may be its last.
        tie(supervisor, pid)
    pid.begin()
    return Task(pid, ref, owner, result)


def end_task(task: Task, *, take: bool) -> None:
    """End a task at once, whoever asks, and leave nothing of it with its owner.

    Args:
        take: whether it is the owner that asks.
    """
    task._kill(take=take)


def work_for(pid: Pid | None, caller: Pid | None) -> None:
    """Note on whose behalf a process works (see ``process.callers``)."""
    if pid is not None and caller is not None:
        pid._ties["callers"] = (caller, *caller._ties.get("callers", ()))


def start_task(caller: Pid, function: Callable[..., Any], args: tuple[Any, ...]) -> Pid:
    """Start a computation whose result nobody wants, linked to the current process, on behalf of caller."""
    pid, _ = prepare(function, args, link=True)
    work_for(pid, caller)
    pid.begin()
    return pid


def _tell(pid: Pid | None, ref: Ref, value: Any, result: Future[Any]) -> None:
    # What the dead computed is thrown away.
    if pid is not None and pid._fate:
        return
    # The message first, so that whoever has the result finds it in the mailbox and takes it out. (A bounded
    # mailbox takes it, too; one that nobody wants any more is thrown away there.)
    ref.watcher.deliver(TaskReply((ref, value)))
    result.try_set(value)


class _Ending:
    """Completes a task's result when its process dies without one."""

    __slots__ = ("_result",)

    def __init__(self, result: Future[Any]) -> None:
        self._result = result

    def owner_died(self, pid: Pid, reason: object) -> None:
        self._result.try_set_exception(ServerExit(reason, pid, "a task"))

    def owner_left(self, pid: Pid) -> None:
        """Nothing more: the result is settled at the logical death."""


def _owned(task: Task, *, beside: bool = False) -> Pid:
    """Refuse others than the owner.

    Args:
        beside: a coroutine beside it, on the owner's loop, may wait in its place, such as that of
            ``asyncio.wait_for``.
    """
    check_alive()
    if not isinstance(task, Task):
        raise TypeError(f"expected a Task, got: {task!r}")
    me = acting()
    if me is not task.owner and not (beside and runs_here(task.owner)):
        raise NotOwner(f"{task} can be awaited by its owner only, not by {me}")
    _not_ignored(task)
    return me


def _not_ignored(task: Task) -> None:
    if task._ignored:
        raise TaskIgnored(f"{task} was let go with Task.ignore, so nobody can wait for it or shut it down")


def _may_wait(tasks: list[Task], what: str, instead: str) -> None:
    """Refuse to wait for tasks where that would stop an event loop."""
    if not all(task._result.done() for task in tasks):
        forbid_loop(f"Task.{what}", instead)


def _several(
    tasks: Iterable[Task], timeout: object, on_timeout: str, limit: object, *, beside: bool = False
) -> list[Task]:
    """The arguments of yield_many."""
    check_alive()
    tasks = list(tasks)
    for task in tasks:
        _owned(task, beside=beside)
    check_timeout(timeout)
    if on_timeout not in _LATE:
        raise ValueError(
            f"expected on_timeout to be one of {', '.join(map(repr, _LATE))}, got: {on_timeout!r}"
        )
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"expected limit to be a positive integer or None, got: {limit!r}")
    return tasks


def _outcomes(tasks: list[Task], done: set[Ref], on_timeout: str) -> list[tuple[Task, Any]]:
    late = _LATE[on_timeout]
    return [(task, task._outcome() if task.ref in done else late(task)) for task in tasks]


def _tell_to_end(task: Task, reason: str) -> None:
    pid = task.pid
    if pid is not None:
        task.owner.remove_link(pid)
        if not task.done():
            pid.signal(task.owner, reason, direct=True)


def _shut_down(task: Task, timeout: float | None) -> Any:
    """What a task that has been told to end has to say."""
    try:
        return task._take()
    except ServerExit as error:
        reason = error.reason
        if reason == (KILLED if timeout == 0 else SHUTDOWN):
            return None
        if is_orderly(reason) or reason == KILLED:
            return TaskExit(reason)
        raise


def _leave(task: Task) -> None:
    """Let a task that is late go on as it is."""


def _kill_late(task: Task) -> Any:
    try:
        return Task.shutdown(task, 0)
    except ServerExit as error:
        return TaskExit(error.reason)


async def _akill_late(task: Task) -> Any:
    try:
        return await Task.ashutdown(task, 0)
    except ServerExit as error:
        return TaskExit(error.reason)


def _ignore_late(task: Task) -> Any:
    try:
        return Task.ignore(task)
    except ServerExit as error:
        return TaskExit(error.reason)


_LATE: dict[str, Callable[[Task], Any]] = {
    "nothing": _leave,
    "ignore": _ignore_late,
    "kill_task": _kill_late,
}
