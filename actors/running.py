"""The three ways of being run: on a thread of the pool, on the sender's own thread, on the runtime's event
loop.

All three keep one rule, which is why a server handles one message at a time: the *run right* (a lock per
process, taken with a try-acquire by whoever delivers) belongs to one runner, who gives it up and then looks
again, so that what was delivered between its last look and the release is not left lying.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import _get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn, cast

from .bridge import ActorStop
from .call import Call
from .context import adopt_task, current, disown_task, peek
from .errors import BlockingInLoop, CallTimeout, Killed, NoProcess, SelfCall, ServerExit, StartError
from .future import Future
from .kernel import kernel
from .local import ThreadState, local
from .loop import runtime_loop
from .mailbox import Cast
from .messages import NOTHING, Stop
from .pid import ExitSignal, Pid, pay_owed
from .reasons import Crash
from .server import Boot, ExitRequest, ServerPid, checked
from .stragglers import caught_up, straggles
from .waiting import check_timeout, forbid_loop

if TYPE_CHECKING:
    from .genserver import GenServer
    from .pool import Worker

BUDGET = 256
"""Messages that one turn handles before somebody else gets a chance."""
DEEPEST = 30
"""Calls from drain to drain on one thread's stack, before the next goes to the pool."""


def begin_call(pid: Pid, message: object) -> Call:
    """Check that the caller may wait for pid, and make the request.

    Raises:
        NoProcess, SelfCall, Killed.
    """
    caller = current()
    if caller is pid:
        raise SelfCall(
            f"{pid} calls itself and would wait for its own answer; call a function instead, or cast"
        )
    if pid._fate:
        raise NoProcess(pid, pid)
    return Call(message, pid, caller)


class RunnablePid(ServerPid):
    """What the three have in common: the client side."""

    __slots__ = ()

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        """Send a request and wait for its answer.

        Args:
            message: what handle_call gets.
            timeout: seconds, None for ever; 5.0 as in Elixir.

        Raises:
            CallTimeout: no answer in time; a late one is dropped.
            NoProcess: the process was dead already.
            ServerExit: it died before it answered.
            SelfCall: it is the caller itself.
            BlockingInLoop: inside an event loop, unless the server runs on the sender's thread.
        """
        if timeout.__class__ is not float or timeout < 0.0:
            check_timeout(timeout)
        if _get_running_loop() is not None:
            raise BlockingInLoop(
                f"a call to {self} would block the running event loop; "
                f"use `await GenServer.acall(server, message)` instead"
            )
        call = begin_call(self, message)
        self.deliver(call)
        if not call._box:
            call.wait_for_answer(timeout)
        return call.result()

    def cast(self, message: object) -> None:
        """Send a request without waiting; a dead process gets nothing and nobody is told, as in Erlang."""
        if (me := peek()) is not None and me._fate:
            me.meet_death()
        self.deliver(Cast(message))

    def request(self, message: object) -> Call:
        """Send a request; the answer comes in the future."""
        caller = current()
        call = Call(message, self, caller)
        self.deliver(call)
        if not call._box:
            call.promise()
        return call

    # -- Pykka's words ---------------------------------------------------------

    def ask_later(self, message: object) -> Call:
        """``ask(block=False)``: a dead process's future holds the ActorDeadError."""
        if self._fate:
            failed = Call(message, self, None)
            failed.answer_error(NoProcess(self, self))
            return failed
        return self.request(message)

    def stop_future(self) -> Future[bool]:
        """``stop(block=False)``."""
        stopped: Future[bool] = Future()
        asked = self.ask_later(ActorStop())
        asked.add_done_callback(lambda call: stopped.try_set(not isinstance(call.exception(), NoProcess)))
        return stopped

    def stop_later(self, timeout: float | None) -> bool:
        """``stop()``; returns when it is dead."""
        if current() is self:
            self.ask_later(ActorStop())
            return True
        return self.stop_future().result(timeout)

    def put_envelope(self, message: object, reply_to: Any) -> None:
        """Deliver an envelope of Pykka's, made by code that goes round ``ask`` and ``tell``."""
        if reply_to is None:
            self.deliver(Cast(message))
            return

        def copy(call: Any) -> None:
            error = call.exception()
            if error is None:
                reply_to.set(call.result())
            else:
                reply_to.set_exception((type(error), error, error.__traceback__))

        self.request(message).add_done_callback(copy)


class PooledPid(RunnablePid):
    """Borrows a thread of the pool while it has something to do, so its callbacks may block for as long as
    they like.
    """

    __slots__ = ()

    def _kick(self) -> None:
        kernel.pool.submit(self)

    def run(self, worker: Worker) -> None:
        """Be run by a thread of the pool; the run right is held."""
        before = local.state.process
        local.state.process = self
        try:
            context = self._context
            while True:
                more = context.run(self.turn, BUDGET) if context is not None else False
                if self._fate:
                    self.leave()
                    return
                if more:
                    kernel.pool.submit(self)
                    return
                # Offered before the right is given up: whoever was answered and calls again finds this
                # thread idle.
                worker.pool.park(worker)
                self._run.release()
                if not (self._fate or self.has_work()) or not self._run.acquire(False):
                    return
                if not worker.pool.unpark(worker):
                    # Somebody has given this thread other work; this process goes to another one.
                    kernel.pool.submit(self)
                    return
        finally:
            local.state.process = before

    def drain(self) -> None:
        """The owed kind of running: hand it on."""
        kernel.pool.submit(self)

    def _now_a_straggler(self) -> None:
        # Its own code that has just died by itself is on its way out; somebody else's signal makes a
        # straggler.
        if local.state.process is not self:
            straggles(self)

    def leave(self) -> None:
        caught_up(self)
        super().leave()


class InlinePid(RunnablePid):
    """Runs on the thread of whoever sends to it, so its callbacks must never block. It dies between two
    messages.
    """

    __slots__ = ()

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        # The shortest way from question to answer; every step that can be left out, is.
        if timeout.__class__ is not float or timeout < 0.0:
            check_timeout(timeout)
        st = local.state
        caller = st.process
        if (
            caller is None
            or caller is self
            or caller._fate
            or self._fate
            or _get_running_loop() is not st.loop
        ):
            call = begin_call(self, message)
        else:
            call = Call(message, self, caller)
        self._inbox.append(call)
        if self._fate:
            self._flush()
        else:
            if self._run.acquire(False):
                if st.depth >= DEEPEST:
                    kernel.pool.submit(self)
                else:
                    self.drain()
            elif st.owed and self in st.owed:
                # This thread itself holds the right and would do the drain later: now is better than never.
                st.owed.remove(self)
                self.drain()
            if not st.depth:
                if st.owed:
                    pay_owed()
                if st.interrupt is not None:
                    _raise_interrupt(st)
        if not call._box:
            if _get_running_loop() is not None:
                # Another thread runs it right now; it never blocks, so the wait is short. Only a NoReply can
                # make it long.
                return self._wait_in_loop(call, timeout)
            call.wait_for_answer(timeout)
        value, error = call._box[0]
        if error is not None:
            raise error
        return value

    call.__doc__ = RunnablePid.call.__doc__

    def _wait_in_loop(self, call: Call, timeout: float | None) -> Any:
        call.promise()
        if not call._box and not self._inbox_soon_empty(call):
            call.cancel()
            raise BlockingInLoop(
                f"{self} did not answer at once, and waiting would block the running event loop; "
                f"use `await GenServer.acall(server, message)` instead"
            )
        return call.result()

    def _inbox_soon_empty(self, call: Call) -> bool:
        """Wait for the thread that drains this process right now, which does so without blocking."""
        from .waiting import Waiter

        waiter = Waiter()
        call._callbacks.append(waiter)
        return bool(call._box) or waiter.wait(0.1) or bool(call._box)

    def _kick(self) -> None:
        st = local.state
        if st.depth:
            # Inside another drain: owed until that one ends, so that chains of sends do not recurse.
            if st.owed is None:
                st.owed = deque()
            st.owed.append(self)
            return
        self.drain()
        if st.owed:
            pay_owed()
        if st.interrupt is not None:
            _raise_interrupt(st)

    def run(self, worker: Worker) -> None:
        """The pool goes on with what a sender did not have to do to the end."""
        self.drain()
        if local.state.owed:
            pay_owed()

    def drain(self) -> None:
        """Run on this thread; the run right is held."""
        st = local.state
        before, before_loop = st.process, st.loop
        st.process = self
        st.loop = _get_running_loop()
        st.depth += 1
        held = True
        try:
            while True:
                context = self._context
                more = context.run(self.turn, BUDGET) if context is not None else False
                if self._fate:
                    self.leave()
                    return
                if more:
                    kernel.pool.submit(self)
                    return
                held = False
                self._run.release()
                if not (self._inbox or self._urgent or self._fate) or not self._run.acquire(False):
                    return
                held = True
        except BaseException:
            # An interrupt between two callbacks: the process goes on elsewhere, the interrupt here.
            if held or self._run.acquire(False):
                kernel.pool.submit(self)
            raise
        finally:
            st.process = before
            st.loop = before_loop
            st.depth -= 1

    def deliver_from_afar(self, item: Any) -> None:
        self._inbox.append(item)
        if self._fate:
            self._flush()
        elif self._run.acquire(False):
            kernel.pool.submit(self)

    def end(self, reason: object) -> None:
        """Die between two messages: whoever holds the run right carries it out."""
        self._own("_urgent", []).append(ExitSignal(reason))
        if self._run.acquire(False):
            self._kick()

    def _after_death(self) -> None:
        # The runner is this very thread, in turn(); it leaves when the turn ends.
        if self._run.acquire(False):
            self.leave()


def _raise_interrupt(st: ThreadState) -> None:
    """Raise the interrupt that hit a callback, now that no callback is cut by it."""
    interrupt, st.interrupt = st.interrupt, None
    if interrupt is not None:
        raise interrupt


class LoopPid(RunnablePid):
    """Runs on the runtime's event loop, as a task while it has something to do: its callbacks may be
    coroutine functions.
    """

    __slots__ = ("_task",)

    def __init__(self, actor: GenServer, parent: Pid | None) -> None:
        super().__init__(actor, parent)
        self._task: asyncio.Task[None] | None = None

    def _kick(self) -> None:
        loop = runtime_loop()
        if _get_running_loop() is loop:
            loop.call_soon(self._begin, context=self._context)
        else:
            loop.call_soon_threadsafe(self._begin, context=self._context)

    def _begin(self) -> None:
        task = self._task = asyncio.get_running_loop().create_task(self._live(), name=str(self))
        adopt_task(task, self)

    def task(self) -> asyncio.Task[None] | None:
        """The task that runs it now; None while it is idle."""
        return self._task

    async def _live(self) -> None:
        task = self._task
        try:
            while True:
                await self._turn_async()
                if self._fate:
                    break
                self._run.release()
                if not (self._fate or self.has_work()) or not self._run.acquire(False):
                    return
        except asyncio.CancelledError:
            if not self._fate:
                self.die("cancelled")
        finally:
            if task is not None:
                disown_task(task)
            self._task = None
        self.leave()

    async def _turn_async(self) -> None:
        while self.has_work() and not self._fate:
            if self._saved or self._suspended:
                item = self._next_of_saved()
                if item is NOTHING:
                    return
            else:
                item = self._inbox.popleft()
            try:
                result = self.invoke(item)
                if hasattr(result, "__await__"):
                    result = await result
                    result = checked(result)
            except asyncio.CancelledError as error:
                if self._fate:
                    return
                await self._unwound_async(item, error)
            except BaseException as error:
                await self._unwound_async(item, error)
            else:
                if isinstance(result, Stop) and not isinstance(item, Boot):
                    self.state = result.state
                    await self._finish_async(result.reason, item, result.reply)
                elif result is not None:
                    self.settle(item, result)

    async def _unwound_async(self, item: Any, error: BaseException) -> None:
        if isinstance(error, Killed):
            return
        reason = error.reason if isinstance(error, ExitRequest) else Crash(error)
        if isinstance(item, Boot):
            self.fail_boot(item, reason)
        else:
            await self._finish_async(reason, item)

    async def _finish_async(self, reason: object, item: Any, reply: object = NOTHING) -> None:
        if self._fate:
            return
        try:
            done: Any = self.actor.terminate(reason, self.state)
            if hasattr(done, "__await__"):
                await done
        except BaseException as error:
            reason = self.terminate_raised(error, reason)
        if reply is not NOTHING and isinstance(item, Call):
            item.answer(reply)
        self.report(reason, item)
        self.die(reason)

    def end(self, reason: object) -> None:
        """Die at once; the task is cancelled, and the process has left when it has ended."""
        if self.die(reason):
            task = self._task
            if task is not None:
                runtime_loop().call_soon_threadsafe(task.cancel)


def start_server(
    actor: GenServer, arg: object, name: object, timeout: float | None, *, link: bool
) -> Pid | None:
    """Start a server and wait until its init is through.

    Raises:
        StartError, AlreadyStarted, BlockingInLoop.
    """
    kind = type(actor)
    if kind.blocking or kind.is_async():
        forbid_loop(f"starting {kind.__name__}", f"{kind.__name__}.astart_link(...)")
    boot, pid = launch(actor, arg, name, timeout, link=link)
    if not boot._box:
        try:
            boot.wait(timeout)
        except CallTimeout:
            give_up_start(pid)
    return booted(boot)


async def astart_server(
    actor: GenServer, arg: object, name: object, timeout: float | None, *, link: bool
) -> Pid | None:
    """Start a server from a coroutine and await the end of its init.

    Raises:
        StartError, AlreadyStarted.
    """
    boot, pid = launch(actor, arg, name, timeout, link=link)
    if not await boot.wait_async(timeout):
        give_up_start(pid)
    return booted(boot)


def give_up_start(pid: Pid) -> NoReturn:
    """Kill a server whose init takes too long, as OTP does."""
    if pid.parent is not None:
        pid.remove_link(pid.parent)
    pid.signal(None, "kill", direct=True)
    raise StartError("timeout")


def booted(boot: Call) -> Pid | None:
    """What the start returns: the Pid, None for IGNORE, or its error."""
    try:
        return cast("Pid | None", boot.result())
    except ServerExit as error:
        # It was killed while its init ran.
        raise StartError(error.reason) from None


def launch(
    actor: GenServer, arg: object, name: object, timeout: float | None, *, link: bool
) -> tuple[Call, RunnablePid]:
    """Make the process and send it its boot item."""
    check_timeout(timeout)
    parent = current() if link else peek()
    kernel.ensure()
    kind = type(actor)
    way = LoopPid if kind.is_async() else PooledPid if kind.blocking else InlinePid
    if kind.mailbox is None:
        pid: RunnablePid = way(actor, parent)
    else:
        from .bounded import make_bounded

        pid = make_bounded(way, kind.mailbox, actor, parent)
    actor._pid = pid
    pid.trap_exit = kind.trap_exit
    if not link:
        pid.parent = None
    pid._context = contextvars.copy_context()
    answer = Call("init", pid, parent)
    answer.promise()
    boot = Boot(answer, arg, name, parent if link else None)
    if isinstance(pid, InlinePid):
        # Even inside another drain: the starter waits for it.
        pid._inbox.append(boot)
        pid._run.acquire()
        pid.drain()
    else:
        pid.deliver(boot)
    return answer, pid
