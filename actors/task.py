"""Task: one computation in a process of its own, whose result somebody may want.

For state or for many requests use a GenServer; for throttled work ``throttle.execute``.

Semantics: Elixir's ``Task``. Differs from OTP: results are return values, exits are raised as
``ServerExit``, and a wait that is over raises ``CallTimeout`` and leaves the task running (in Elixir the
caller's exit takes it along).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import attrs

from .context import ThreadPid, current
from .errors import CallTimeout, ProcessExit, ResproutError, ServerExit
from .future import Future
from .local import look
from .loop import makes_coroutine
from .mailbox import take_plain
from .messages import Down, Ref
from .pid import Pid
from .reasons import SHUTDOWN
from .spawned import prepare
from .waiting import check_timeout

CPUS = os.cpu_count() or 1


class NotOwner(ResproutError):
    """Only the process that started a task may await it."""


@attrs.frozen
class TaskExit:
    """What a stream yields in the place of a result that did not come: ``{:exit, reason}``."""

    reason: object


class Task:
    """A running computation. Made by ``Task.async_`` and the functions of TaskSupervisor.

    The owner also gets the message ``(task.ref, result)``, or a Down of ``task.ref``, so that a GenServer
    may handle it in handle_info instead of waiting; awaiting removes both from the mailbox. In a coroutine:
    ``await task``.

    Attributes:
        pid: the process that computes.
        ref: the owner's monitor of it.
        owner: who started it.
    """

    __slots__ = ("_result", "owner", "pid", "ref")

    def __init__(self, pid: Pid, ref: Ref, owner: Pid, result: Future[Any]) -> None:
        self.pid = pid
        self.ref = ref
        self.owner = owner
        self._result = result

    def __repr__(self) -> str:
        return f"<Task {self.pid} of {self.owner}>"

    def done(self) -> bool:
        """Whether its result or its exit is known."""
        look()
        return self._result.done()

    def __await__(self) -> Generator[Any, None, Any]:
        look()
        value = yield from self._result.__await__()
        self._forget()
        return value

    # -- starting ------------------------------------------------------------

    @staticmethod
    def async_(function: Callable[..., Any], *args: Any) -> Task:
        """Start a computation, linked to and owned by the current process.

        Args:
            function: runs on a thread of the pool, a coroutine function on the runtime's loop.
            args: its arguments.
        """
        return begin_task(function, args, link=True)

    @staticmethod
    def start(function: Callable[..., Any], *args: Any) -> Pid:
        """Start a computation whose result nobody wants, linked to nobody."""
        pid, _ = prepare(function, args)
        pid.begin()
        return pid

    @staticmethod
    def start_link(function: Callable[..., Any], *args: Any) -> Pid:
        """Like start, linked to the current process, as a child of a supervisor is."""
        pid, _ = prepare(function, args, link=True)
        pid.begin()
        return pid

    @staticmethod
    def child_spec(function: Callable[..., Any], *args: Any, **overrides: Any) -> Any:
        """The child spec of a task: temporary, as in Elixir."""
        from .child_spec import child_spec

        fields = {
            "id": Task,
            "start": (Task.start_link, (function, *args)),
            "restart": "temporary",
            **overrides,
        }
        return child_spec(fields)

    # -- waiting -------------------------------------------------------------

    @staticmethod
    def await_(task: Task, timeout: float | None = 5.0) -> Any:
        """Wait for the result.

        Raises:
            CallTimeout: it did not come in time; the task goes on, and may be awaited again.
            ServerExit: the task ended without one.
            NotOwner: another process started it.
        """
        _owned(task)
        try:
            task._result.wait(timeout)
        except CallTimeout:
            raise CallTimeout(f"{task} gave no result within {timeout:g} s") from None
        return task._take()

    @staticmethod
    def await_many(tasks: Iterable[Task], timeout: float | None = 5.0) -> list[Any]:
        """Wait for all results, in the order of the tasks, at most timeout seconds together; raises as
        await_.
        """
        look()
        check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        return [
            Task.await_(task, None if deadline is None else max(0.0, deadline - time.monotonic()))
            for task in tasks
        ]

    @staticmethod
    def yield_(task: Task, timeout: float | None = 5.0) -> Any:
        """Wait for the result; None when it did not come in time (see ``task.done()`` for a result that is
        None).

        Raises:
            ServerExit: the task ended without a result.
        """
        _owned(task)
        try:
            task._result.wait(timeout)
        except CallTimeout:
            return None
        return task._take()

    @staticmethod
    def yield_many(tasks: Iterable[Task], timeout: float | None = 5.0) -> list[tuple[Task, Any]]:
        """Wait for several; pairs of task and result, ``TaskExit(reason)`` or None, in the order of the
        tasks.
        """
        look()
        check_timeout(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        pairs: list[tuple[Task, Any]] = []
        for task in tasks:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                pairs.append((task, Task.yield_(task, left)))
            except ProcessExit as error:
                pairs.append((task, TaskExit(error.reason)))
        return pairs

    @staticmethod
    def shutdown(task: Task, timeout: float | None = 5.0) -> Any:
        """End a task; its result if it had one, else None. One that does not end in time (or with
        ``timeout=0``) is killed.

        Raises:
            ServerExit: it had crashed by itself.
        """
        me = _owned(task)
        me.remove_link(task.pid)
        if not task.done():
            task.pid.signal(me, "kill" if timeout == 0 else SHUTDOWN, direct=True)
            try:
                task._result.wait(timeout or None)
            except CallTimeout:
                task.pid.signal(me, "kill", direct=True)
                task._result.wait()
        try:
            return task._take()
        except ServerExit as error:
            if error.reason in (SHUTDOWN, "killed", "normal"):
                return None
            raise

    @staticmethod
    def ignore(task: Task) -> Any:
        """Let a task go on without its owner: unlinked, its result dropped. The result if it is there
        already, else None.
        """
        me = _owned(task)
        me.remove_link(task.pid)
        if task.done():
            return task._take()
        task._result.cancel()
        task._forget()
        return None

    def _take(self) -> Any:
        """The result, with what came into the owner's mailbox along with it taken out."""
        try:
            value = self._result.result(0.0)
        except ServerExit:
            # The link has ended an owner that is a thread: the error raised here is how it learns of that.
            if isinstance(self.owner, ThreadPid) and self.owner.dead:
                self.owner.meet_death()
            raise
        finally:
            self._forget()
        return value

    def _forget(self) -> None:
        ref = self.ref
        if self.owner.dead:
            return
        if not self.pid.remove_monitor(ref):
            # The Down may be on its way: it is thrown away on arrival.
            ref.flushed = True
        take_plain(self.owner, lambda message: isinstance(message, Down) and message.ref is ref)
        take_plain(
            self.owner, lambda message: type(message) is tuple and len(message) == 2 and message[0] is ref
        )

    # -- streams -------------------------------------------------------------

    @staticmethod
    def async_stream(
        iterable: Iterable[Any],
        function: Callable[..., Any],
        *,
        max_concurrency: int = CPUS,
        ordered: bool = True,
        timeout: float | None = 5.0,
        on_timeout: str = "exit",
    ) -> Iterator[Any]:
        """Run ``function(item)`` for each item in a task of its own, at most max_concurrency at once, and
        yield the results.

        The iterable may be infinite: an item is taken only when there is room for its task, so never more
        than max_concurrency ahead of what the consumer has taken. Closing the iterator ends the tasks.

        Args:
            iterable: the items.
            function: called with one item.
            max_concurrency: tasks at once; by default the number of processors.
            ordered: results in the order of the items; False yields each as it comes.
            timeout: seconds that one item may take, None for ever.
            on_timeout: ``"exit"`` raises CallTimeout; ``"kill_task"`` ends the task and yields
                ``TaskExit("timeout")``.

        Raises:
            ServerExit: a task crashed. (It is linked, as in Elixir.)
            CallTimeout: an item took too long.
        """
        return make_stream(
            iterable, function, max_concurrency, ordered, timeout, on_timeout, async_=begin_linked
        )


def begin_linked(function: Callable[..., Any], item: Any) -> Task:
    """Start the task of one item of a stream."""
    return begin_task(function, (item,), link=True)


def begin_task(
    function: Callable[..., Any], args: tuple[Any, ...], *, link: bool, owner: Pid | None = None
) -> Task:
    """Start a computation owned by the current process (or by owner, for a supervisor that starts it on
    somebody's behalf).
    """
    look()
    if not callable(function):
        raise TypeError(f"expected a function, got: {function!r}")
    owner = current() if owner is None else owner
    result: Future[Any] = Future()
    cell: list[Ref] = []
    if makes_coroutine(function):

        async def compute_async(*args: Any) -> None:
            _tell(owner, cell[0], await function(*args), result)

        pid, _ = prepare(compute_async, args)
    else:

        def compute(*args: Any) -> None:
            _tell(owner, cell[0], function(*args), result)

        pid, _ = prepare(compute, args)
    ref = Ref(owner, pid)
    cell.append(ref)
    pid.attach(_Ending(result))
    pid.add_monitor(ref)
    if link:
        owner.add_link(pid)
    pid.begin()
    return Task(pid, ref, owner, result)


def _tell(owner: Pid, ref: Ref, value: Any, result: Future[Any]) -> None:
    # The message first, so that whoever has the result finds it in the mailbox and takes it out. (A bounded
    # mailbox takes it, too.)
    look()
    owner.deliver((ref, value))
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


def _owned(task: Task) -> Pid:
    look()
    if not isinstance(task, Task):
        raise TypeError(f"expected a Task, got: {task!r}")
    me = current()
    if me is not task.owner:
        raise NotOwner(f"{task} can be awaited by its owner only, not by {me}")
    return me


def make_stream(
    iterable: Iterable[Any],
    function: Callable[..., Any],
    max_concurrency: int,
    ordered: bool,
    timeout: float | None,
    on_timeout: str,
    async_: Callable[[Callable[..., Any], Any], Task],
) -> Iterator[Any]:
    """Check the arguments now, not at the first next, and make the stream."""
    look()
    if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int) or max_concurrency < 1:
        raise ValueError(f"expected max_concurrency to be a positive integer, got: {max_concurrency!r}")
    if on_timeout not in ("exit", "kill_task"):
        raise ValueError(f"expected on_timeout to be 'exit' or 'kill_task', got: {on_timeout!r}")
    if not callable(function):
        raise TypeError(f"expected a function, got: {function!r}")
    check_timeout(timeout)
    return _Stream(iter(iterable), function, max_concurrency, ordered, timeout, on_timeout, async_).results()


class _Stream:
    """The state of one async_stream."""

    def __init__(
        self,
        items: Iterator[Any],
        function: Callable[..., Any],
        room: int,
        ordered: bool,
        timeout: float | None,
        on_timeout: str,
        async_: Callable[[Callable[..., Any], Any], Task],
    ) -> None:
        self._items = items
        self._function = function
        self._room = room
        self._ordered = ordered
        self._timeout = timeout
        self._on_timeout = on_timeout
        self._async = async_
        self._tasks: deque[tuple[Task, float | None]] = deque()
        self._more = True

    def results(self) -> Iterator[Any]:
        try:
            while True:
                self._fill()
                if not self._tasks:
                    return
                yield self._next()
        finally:
            for task, _ in self._tasks:
                Task.shutdown(task, 0)

    def _fill(self) -> None:
        while self._more and len(self._tasks) < self._room:
            try:
                item = next(self._items)
            except StopIteration:
                self._more = False
                return
            deadline = None if self._timeout is None else time.monotonic() + self._timeout
            self._tasks.append((self._async(self._function, item), deadline))

    def _next(self) -> Any:
        """The next result: of the oldest task or, unordered, of the first that is done."""
        look()
        if self._ordered:
            task, deadline = self._tasks[0]
            _wait_until(task._result, deadline)
            index = 0
        else:
            index = self._first_done()
        task, _ = self._tasks[index]
        if not task.done():
            del self._tasks[index]
            return self._too_late(task)
        del self._tasks[index]
        return task._take()

    def _first_done(self) -> int:
        bell: Future[None] = Future()

        def ring(_: object) -> None:
            bell.try_set(None)

        for task, _ in self._tasks:
            task._result.add_done_callback(ring)
        # Tasks have the same timeout, so the oldest is the first whose time is over.
        _wait_until(bell, self._tasks[0][1])
        for task, _ in self._tasks:
            task._result.remove_done_callback(ring)
        return next((index for index, (task, _) in enumerate(self._tasks) if task.done()), 0)

    def _too_late(self, task: Task) -> Any:
        try:
            Task.shutdown(task, 0)
        except ServerExit:
            pass
        if self._on_timeout == "kill_task":
            return TaskExit("timeout")
        raise CallTimeout(f"an item of the stream took more than {self._timeout:g} s")


def _wait_until(future: Future[Any], deadline: float | None) -> None:
    try:
        future.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except CallTimeout:
        return
