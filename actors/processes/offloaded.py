"""Threads of a pool that work for an asyncio task: which task has this code run there, and waits for it.

``asyncio.to_thread``, ``run_in_executor``, Starlette's ``run_in_threadpool`` and asgiref's ``sync_to_async``
run one request's code on several threads, and several requests' code on each. What such code takes belongs
to the task, which lasts as long as the request; the thread stays with its pool.

The pools say nothing of the task, but it can be found: the frame of the pool's ``run`` has the future that
is completed at the end, and whoever waits for a future is among its callbacks.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import functools
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import thread as executors
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from ..primitives.atomic import FREE_THREADED
from ..runtime.call_cycles import owner_of
from ..runtime.kernel import kernel
from ..runtime.resting import Rest
from ..runtime.thread_state import ASK, local
from .ambient import current, process_of

if TYPE_CHECKING:
    from .pid import Pid

DEEP = 8
"""How many frames may lie on top of that of ``run_in_executor``, which may just be starting a thread."""
FAR = 4
"""How many futures may wait for each other between the thread's and the task (``gather``, ``shield``)."""

NAPS = (0.0, 0.0, 0.0001, 0.001, 0.005, 0.02)
"""Seconds for which a thread that is faster than its caller lets that go on, one after the other."""
TURN = 0.1
"""Seconds for which it waits for a loop to come to the end of a step, which may wait for the thread."""
SHORT = 0.0001
"""What is enough where nothing tells that the call is a task's."""

_calls: dict[int, weakref.ref[Any]] = {}
"""The last call of each thread of a pool that has asked who owns what it takes, by its ident. Without a GIL,
where nobody may look into another thread's frames, it tells that an earlier one is over.
"""

_SUBMIT = (
    asyncio.BaseEventLoop.run_in_executor.__code__,
    # What is seen of uvloop's, which is no Python.
    executors.ThreadPoolExecutor.submit.__code__,
    asyncio.wrap_future.__code__,
)
_ITEM = executors._WorkItem.run.__code__
_GET = queue.Queue.get.__code__
_TO_THREAD = asyncio.to_thread.__code__
_ANYIO = "anyio._backends._asyncio"
_PASS_ON = {
    ("asyncio.futures", "_chain_future.<locals>._call_set_state"),
    ("asyncio.tasks", "gather.<locals>._done_callback"),
    ("asyncio.tasks", "shield.<locals>._inner_done_callback"),
    ("asyncio.tasks", "_release_waiter"),  # wait_for, before Python 3.12
}
"""What completes one future with another. (``asyncio.wait`` does not: it waits beside what it is given.)"""


def call() -> Any:
    """Return the future of the call that this thread of a pool is doing; None on other threads."""
    return _call_in(sys._getframe(1))


def _call_in(frame: FrameType | None, own: bool = True) -> Any:
    """Return the future of the call that a thread is doing, from its innermost frame."""
    thread = getattr(sys.modules.get(_ANYIO), "WorkerThread", None)
    worker: CodeType | None = getattr(getattr(thread, "run", None), "__code__", None)
    inner = None
    while frame is not None:
        if frame.f_code is _ITEM:
            return getattr(_local(frame, "self", own), "future", None)
        if frame.f_code is worker:
            # Older versions keep the last call while they wait for the next.
            return None if not own and _waits_for_calls(inner, frame) else _local(frame, "future", own)
        inner = frame
        frame = frame.f_back
    return None


def _waits_for_calls(inner: FrameType | None, worker: FrameType) -> bool:
    """Tell whether what anyio's worker has called is the ``get`` of its own queue."""
    if inner is None or inner.f_code is not _GET:
        return False
    return _local(inner, "self", False) is getattr(_local(worker, "self", False), "queue", None)


def owner(me: Pid) -> Pid:
    """Return the process that what is taken here should belong to: the task that this thread of a pool works
    for, or else the current process itself.

    Costs a walk of the stack. A task that was found once and has been cancelled meanwhile no longer waits for
    the call, which goes on all the same: what it takes then belongs to that task still, though it is dead.
    """
    if not me.pooled:
        return me
    future = call()
    if future is None:
        return me
    if FREE_THREADED:
        _calls[_thread.get_ident()] = weakref.ref(future)
    task = _waiter(future, FAR)
    if task is None or _only_passes_on(task):
        # Whoever waited for it may have been cancelled.
        served, pid = local.served
        if served() is future:
            return pid  # type: ignore[no-any-return]  # the storage knows no Pid
    if task is None:
        task = _waiting_for(future)
    pid = None if task is None else process_of(task)
    if pid is None:
        return me
    local.served = (weakref.ref(future), pid)
    return pid


def acting(loop: asyncio.AbstractEventLoop | None = ASK) -> Pid:
    """Return the process as which this code acts: on a thread of a pool the task that waits for its call,
    while that lives; everywhere else the current process.

    Args:
        loop: as for ``current_if_any``.

    What is linked, monitored or owned here is so by what lasts as long as the work. The thread goes on with
    other people's calls, which would meet the exit signals and find the messages.

    Raises:
        Killed: the code belongs to a process that is dead.
        ServerExit: this thread or task got an exit signal (once; then it goes on as a new process).
    """
    me = current(loop)
    if not me.pooled:
        return me
    whose = owner(me)
    return me if whose.dead else whose


def works_for(task: asyncio.Task[Any] | None) -> bool:
    """Whether this thread of a pool does a call for which that task waits this moment. Asked before each call
    to a busy server, so patient only where its loop may be about to wait for this.
    """
    future = call()
    if task is None or future is None:
        return False
    loop = task.get_loop()
    submitting = _submitting(loop)
    found = _waiter(future, FAR)
    if found is None and (submitting or _loop_of(future) is loop):
        found = _waiting_for(future)
    return found is task


def _submitting(loop: asyncio.AbstractEventLoop | None = None) -> bool:
    """Tell whether some loop, or that one, is just handing a call to a pool: it may be this one.

    A pool's first threads are started, and begin, before ``run_in_executor`` has made the future of its loop.
    """
    if FREE_THREADED:
        # Into other threads' frames nobody may look there, so it is waited for.
        return True
    frames = sys._current_frames()
    # This function's own would refer to itself.
    del frames[_thread.get_ident()]
    its_thread = getattr(loop, "_thread_id", None)
    for top in frames.values() if its_thread is None else [frames.get(its_thread)]:
        frame: FrameType | None = top
        for _ in range(DEEP):
            if frame is None:
                break
            if frame.f_code in _SUBMIT:
                return True
            frame = frame.f_back
    return False


def _local(frame: FrameType, name: str, own: bool) -> Any:
    """Read a local variable of a frame, of this thread if it is its ``own``."""
    found = frame.f_locals
    value = found.get(name)
    if own and sys.version_info < (3, 13):
        # A copy that the frame keeps, and with it the call's context, for as long as it runs. (What another
        # thread's frame keeps may be in use by its debugger.)
        found.clear()
    return value


def _waiting_for(future: Any) -> asyncio.Task[Any] | None:
    """Find the task that waits for a future.

    The thread may be faster than the task, which has not come to its ``await`` yet: it is let go on. What
    nobody waits for then is done for nobody that could be known, and is not looked at so patiently again.
    """
    naps = NAPS if local.alone() is not future else ()
    awaits_turn = True
    for nap in (*naps, None):
        # Before it is looked for: what is submitted by then is found.
        submitting = nap is not None and nap > SHORT and _submitting()
        task = _waiter(future, FAR)
        if task is not None or nap is None:
            break
        if nap > SHORT:
            loop = _loop_of(future)
            if loop is None and not submitting:
                # By code that is no task, most likely.
                break
            if loop is not None and awaits_turn:
                # Where many threads want to run, the caller's has its turn much later.
                awaits_turn = False
                _await_turn(loop)
                continue
        time.sleep(nap)
    if task is None:
        local.alone = weakref.ref(future)
    return task


def _loop_of(future: Any) -> asyncio.AbstractEventLoop | None:
    """The loop that has a call made, if it has come to know of that."""
    if asyncio.isfuture(future):
        return future.get_loop()
    for callback in _callbacks(future):
        for other in _futures_in(callback):
            return other.get_loop()  # type: ignore[no-any-return]  # it is a future
    return None


def _await_turn(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the step of a loop is over in which a call was begun, and with that the ``await`` of it."""
    turn = _thread.allocate_lock()
    turn.acquire()
    try:
        loop.call_soon_threadsafe(turn.release)
    except RuntimeError:
        return  # It is closed.
    turn.acquire(timeout=TURN)


def _waiter(future: Any, far: int) -> asyncio.Task[Any] | None:
    for callback in _callbacks(future):
        waiter = getattr(callback, "__self__", None)
        if isinstance(waiter, Rest):
            # In the place of its task.
            waiter = waiter.task
        if isinstance(waiter, asyncio.Task):
            return _maker(waiter, far) or waiter
        if (task := _waits_behind(callback, future, far)) is not None:
            return task
    return None


def _waits_behind(callback: Any, future: Any, far: int) -> asyncio.Task[Any] | None:
    """Find the task that waits for a future which a callback of another one completes."""
    for other in _futures_in(callback):
        if far and other is not future and (task := _waiter(other, far - 1)) is not None:
            return task
    return None


def _only_passes_on(task: asyncio.Task[Any]) -> bool:
    """Tell whether ``asyncio.to_thread``, or anyio's, is all that a task does."""
    code = getattr(task.get_coro(), "cr_code", None)
    anyios = getattr(sys.modules.get("anyio.to_thread"), "run_sync", None)
    return code is not None and (code is _TO_THREAD or code is getattr(anyios, "__code__", None))


def _maker(task: asyncio.Task[Any], far: int) -> asyncio.Task[Any] | None:
    """Find the task that has given ``to_thread(...)`` to ``gather``, ``shield`` or, before Python 3.12,
    ``wait_for``, which have made a task of that. Whoever awaits a task itself knows it for another one.
    """
    if not _only_passes_on(task):
        return None
    for callback in _callbacks(task):
        if (found := _waits_behind(callback, task, far)) is not None:
            return found
    return None


def _callbacks(future: Any) -> list[Any]:
    """What is called when a future ends: of asyncio's (with contexts) and of concurrent.futures'."""
    if asyncio.isfuture(future):
        return [callback for callback, _ in list(getattr(future, "_callbacks", None) or ())]
    return list(getattr(future, "_done_callbacks", ()))


def _futures_in(callback: Any) -> list[Any]:
    """The futures to which a callback of asyncio's passes an outcome on: it closes over them, or is given
    them. A task does not wait by that: from 3.14 on, ``shield`` notes there who has called it.
    """
    function = getattr(callback, "func", callback)
    if (getattr(function, "__module__", None), getattr(function, "__qualname__", None)) not in _PASS_ON:
        return []
    found = list(callback.args) if isinstance(callback, functools.partial) else []
    for cell in getattr(callback, "__closure__", None) or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:
            continue
    return [each for each in found if asyncio.isfuture(each) and not isinstance(each, asyncio.Task)]


class Stay:
    """Lasts as long as one call on a pool's thread, since only that call's context refers to it; unless
    somebody keeps that, such as a traceback of the task that was cancelled.
    """

    __slots__ = ("__weakref__", "_ident", "call", "owner", "thread")

    def __init__(self, owner: Pid, thread: Pid, call: weakref.ref[Any]) -> None:
        self.owner = owner
        self.thread = thread
        self.call = call
        self._ident = _thread.get_ident()

    def goes_on(self) -> bool:
        """Tell whether the thread is doing that call. Looks at the stacks of all threads."""
        future = self.call()
        if FREE_THREADED:
            # Into its frames nobody may look.
            return future is not None and (not future.done() or (future.cancelled() and self._is_busy()))
        return future is not None and _call_in(sys._current_frames().get(self._ident), False) is future

    def _is_busy(self) -> bool:
        """Tell whether the thread does any call, and none that is known to be another one. Only anyio's
        cancels what a thread goes on with.
        """
        last = _calls.get(self._ident)
        if last is not None and last() is not self.call():
            return False
        thread = threading._active.get(self._ident)  # type: ignore[attr-defined]  # there is no public way
        calls = getattr(thread, "queue", None)
        return thread is not None and (calls is None or calls.unfinished_tasks > 0)


_stay: contextvars.ContextVar[Stay | None] = contextvars.ContextVar("resprout.stay", default=None)


LOOK = 0.1
"""Seconds between two looks at whether a call whose owner has ended is over."""


class Leaving(weakref.ref[Stay]):
    """Knows whether a call on a pool's thread goes on, and has something done when it is over."""

    __slots__ = ("_followed", "_left")
    _followed: bool
    _left: Callable[[Leaving], object]

    @property
    def over(self) -> bool:
        here = self()
        return here is None or not here.goes_on()

    def follow(self) -> None:
        """The end of the call is all that something waits for: have it looked for, too."""
        if not self._followed:
            self._followed = True
            kernel.at(time.monotonic() + LOOK, self._look)

    def _look(self) -> None:
        if self.over:
            self._left(self)
        else:
            kernel.at(time.monotonic() + LOOK, self._look)


def stay(owner: Pid, thread: Pid, left: Callable[[Leaving], object]) -> Leaving:
    """Note that this call works for ``owner``, and have ``left`` called when the call is over.

    Where a pool runs its calls in copies of their callers' contexts, that is when the call's copy is gone;
    where it does not, it is when the thread does another such call, or ends. Whoever needs to know for
    certain asks it to ``follow``.

    Args:
        left: may be called anywhere, even in a finalizer, so it only appends and returns.
    """
    future = call()
    here = _stay.get()
    if here is None or here.owner is not owner or here.thread is not thread or here.call() is not future:
        here = Stay(owner, thread, weakref.ref(future))
        _stay.set(here)
    leaving = Leaving(here, left)
    leaving._followed = False
    leaving._left = left
    return leaving


owner_of.append(owner)
