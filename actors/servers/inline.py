"""Servers that never block: they run on the thread of whoever sends to them, with no thread hop.

The idea is flat combining, and GCD's dispatch_sync. A drain is bounded, then handed to the pool; drains that
come up inside a drain are owed and done after it, so chains do not recurse.
"""

from __future__ import annotations

import contextvars
import time
from asyncio import _get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Any

from ..primitives.atomic import copied
from ..processes.resources import still_closing
from ..reports import telemetry
from ..runtime.call import Call
from ..runtime.call_cycles import check, suspects
from ..runtime.deferred_drains import run_deferred_drains
from ..runtime.kernel import kernel
from ..runtime.parking import Waiter, check_timeout
from ..runtime.thread_state import ThreadState, local
from ..vocabulary.errors import BlockingInLoop
from ..vocabulary.messages import NOTHING, ExitSignal, Ok, Reply
from ..vocabulary.pykka_types import PYKKA_MESSAGES
from ..vocabulary.reasons import Crash
from .dispatch import Boot, StopRequest, checked
from .runnable import BUDGET, RunnablePid, begin_call

if TYPE_CHECKING:
    import asyncio

    from ..processes.pid import Pid
    from ..runtime.pool import Worker
    from .callbacks import Callbacks

DEEPEST = 30
"""Calls from drain to drain on one thread's stack, before the next goes to the pool."""


class InlinePid(RunnablePid):
    """Runs on the thread of whoever sends to it, so its callbacks must never block. It dies between two
    messages.
    """

    __slots__ = ("plain",)

    def __init__(self, actor: Callbacks, parent: Pid | None) -> None:
        self.plain = False
        """Whether a call may go straight to the callback; False until init is through. Written by who has
        the run right.
        """
        super().__init__(actor, parent)

    def boot_here(self, boot: Boot, loop: asyncio.AbstractEventLoop | None) -> None:
        """Run init on this thread, in which that loop runs, even inside another drain, as the starter waits
        for it.

        Nobody knows this process yet, so the run right is free; who finds it by its name meanwhile waits in
        its mailbox.
        """
        st = local.state
        before, before_loop = st.process, st.loop
        context = self._context
        assert context is not None
        held = False
        try:
            del self._run[0]
            held = True
            st.process, st.loop, st.depth = self, loop, st.depth + 1
            try:
                result = context.run(self.boot, boot)
                if (
                    result.__class__ is Ok
                    and result.timeout is None
                    and result.continue_with is NOTHING
                    and not telemetry._attached
                ):
                    self.state = result.state
                    self.starter = None
                    boot.answer._box.append((self, None))
                elif result is not None:
                    context.run(self.settle, boot, result)
            except BaseException as error:
                context.run(self.unwound, boot, error)
            if not self._fate:
                self.plain = not (self._saved or self._tick or self._suspended)
        finally:
            if held:
                st.process, st.loop, st.depth = before, before_loop, st.depth - 1
                self._run.append(True)
        # What receive passed over in the callback is in _saved.
        if self._inbox or self._saved or self._urgent or self._fate:
            self.drain()
        if not st.depth and (st.deferred or st.interrupt is not None):
            self._after_drain(st)

    def call(self, message: object, timeout: float | None = 5.0) -> Any:
        # The shortest way from question to answer; every step that can be left out, is.
        if timeout.__class__ is not float or not timeout >= 0.0:
            check_timeout(timeout)
        st = local.state
        caller = st.process
        loop = _get_running_loop()
        if caller is None or caller is self or caller._fate or self._fate or loop is not st.loop:
            call = begin_call(self, message)
        else:
            call = Call(message, self, caller)
        if (
            not self.plain
            or self._inbox
            # Our own exit signal, say, which comes before the call.
            or self._urgent
            or message.__class__ in PYKKA_MESSAGES
            or st.depth >= DEEPEST
        ):
            return self._call_in_turn(call, st, timeout)
        before, before_loop = st.process, st.loop
        held = False
        try:
            try:
                try:
                    del self._run[0]
                    held = True
                except IndexError:
                    return self._call_in_turn(call, st, timeout)
                # Nobody is before us and the right is ours: the callback runs without a look at the mailbox.
                # (A message of our own that was sent before this one would be in the mailbox; others' have no
                # order with it.)
                st.process, st.loop, st.depth = self, loop, st.depth + 1
                self.handled += 1
                context = self._context
                try:
                    result = context.run(self.actor.handle_call, message, call, self.state)  # type: ignore[union-attr]  # it lives
                    if (
                        result.__class__ is Reply
                        and result.timeout is None
                        and result.continue_with is NOTHING
                    ):
                        self.state = result.state
                        call._box.append((result.value, None))
                        if call._callbacks:
                            call._call_back()
                    else:
                        context.run(self.settle, call, checked(result))  # type: ignore[union-attr]  # it lives
                except BaseException as error:
                    context.run(self.unwound, call, error)  # type: ignore[union-attr]  # it lives
                if not self._fate:
                    self.plain = not (self._saved or self._tick or self._suspended or self.tracer)
            finally:
                if held:
                    st.process, st.loop, st.depth = before, before_loop, st.depth - 1
                    self._run.append(True)
            # What receive passed over in the callback is in _saved.
            if self._inbox or self._saved or self._urgent or self._fate:
                self.drain()
        except BaseException:
            # An interrupt, maybe before the last look.
            self._look_elsewhere()
            raise
        if not st.depth and (st.deferred or st.interrupt is not None):
            self._after_drain(st)
        return self._answer(call, timeout)

    def stop_here(self, reason: object) -> bool:
        # As in call, where nobody is before us: a quarter of the price of a whole life.
        st = local.state
        if not self.plain or self._inbox or self._urgent or st.depth or suspects:
            return False
        before, before_loop = st.process, st.loop
        held = False
        try:
            try:
                del self._run[0]
                held = True
            except IndexError:
                return False
            st.process, st.loop, st.depth = self, None, 1
            self._context.run(self.finish, reason, StopRequest(reason))  # type: ignore[union-attr]  # it lives
            self.leave()
            # The right of the dead is never given back.
            held = False
        finally:
            st.process, st.loop, st.depth = before, before_loop, 0
            if held:
                # An interrupt.
                self._run.append(True)
                kernel.pool.submit(self)
        if st.deferred or st.interrupt is not None:
            self._after_drain(st)
        return not still_closing(self)

    def _call_in_turn(self, call: Call, st: ThreadState, timeout: float | None) -> Any:
        """Call through the mailbox: somebody is before us, or the server is in a special state."""
        caller = call.pid
        if caller is not None and caller.starter is not None:
            check(caller, self)
        self._inbox.append(call)
        if self._fate:
            self._flush()
        elif st.depth >= DEEPEST:
            kernel.pool.submit(self)
        else:
            self.drain()
        if not st.depth and (st.deferred or st.interrupt is not None):
            self._after_drain(st)
        return self._answer(call, timeout)

    def _answer(self, call: Call, timeout: float | None) -> Any:
        if not call._box:
            if _get_running_loop() is not None:
                self._wait_in_loop(call, timeout)
            else:
                call.wait_for_answer(timeout)
        return call.take()

    call.__doc__ = RunnablePid.call.__doc__

    def _wait_in_loop(self, call: Call, timeout: float | None) -> None:
        """Another thread runs the server right now, which never blocks: wait for that, but not for a later
        reply.
        """
        call.promise()
        deadline = None if timeout is None else time.monotonic() + timeout
        waiter = Waiter()
        call._callbacks.append(waiter)
        while not call._box and (not self._run or any(each is call for each in copied(self._inbox))):
            left = 0.01 if deadline is None else min(0.01, deadline - time.monotonic())
            if left <= 0:
                break
            waiter.wait(left)
        if not call._box and call.cancel():
            raise BlockingInLoop(
                f"{self} did not answer at once, and waiting would block the running event loop; "
                f"use `await GenServer.acall(server, message)` instead"
            )

    @staticmethod
    def _after_drain(st: ThreadState) -> None:
        """In no drain any more: do what is owed, raise what was kept back."""
        if st.deferred:
            run_deferred_drains()
        if st.interrupt is not None:
            interrupt, st.interrupt = st.interrupt, None
            raise interrupt

    def _look_elsewhere(self) -> None:
        """What has come while somebody had the run right is their concern: if they were cut off before they
        looked, another thread does it.
        """
        if self._inbox or self._saved or self._urgent or self._fate:
            kernel.pool.submit(self)

    def _schedule(self) -> None:
        st = local.state
        if not st.depth:
            self.drain()
            if st.deferred or st.interrupt is not None:
                self._after_drain(st)
            return
        # Inside another drain: owed until that one ends, so that chains of sends do not recurse.
        if st.deferred is None:
            st.deferred = deque()
        st.deferred.append(self)

    def run(self, worker: Worker) -> None:
        """The pool goes on with what a sender did not have to do to the end."""
        self.drain()
        if local.state.deferred:
            run_deferred_drains()

    def drain(self) -> None:
        """Run on this thread until there is nothing to do, at most BUDGET messages; if somebody else runs
        it, that one does.

        The run right is taken, noted and given back without a call in between that an interrupt could come
        behind.
        """
        st = local.state
        before, before_loop = st.process, st.loop
        loop = _get_running_loop()
        until = self.handled + BUDGET
        held = False
        try:
            while True:
                if not self._run:
                    return
                try:
                    del self._run[0]
                    held = True
                except IndexError:
                    return
                st.process, st.loop, st.depth = self, loop, st.depth + 1
                context = self._context
                if context is None:
                    # Its start was cut by an interrupt, and somebody wants to end what is left of it.
                    context = self._context = contextvars.copy_context()
                more = context.run(self.turn, max(1, until - self.handled))
                if self._fate:
                    self.leave()
                    # The right of the dead is never given back.
                    held = False
                    st.process, st.loop, st.depth = before, before_loop, st.depth - 1
                    return
                self.plain = not (self._saved or self._tick or self._suspended or self.tracer)
                st.process, st.loop, st.depth = before, before_loop, st.depth - 1
                # Not by a call, behind which an interrupt could come before it is noted.
                self._run += (True,)
                held = False
                if more or self.handled >= until:
                    if self.has_work():
                        kernel.pool.submit(self)
                    return
                if not (self._inbox or self._urgent or self._fate):
                    return
        except Exception as fault:
            # Not a callback's, those are caught where they are called: better dead than never running again.
            if held:
                self.die(Crash(fault))
            raise
        except BaseException:
            if not held:
                self._look_elsewhere()
            raise
        finally:
            if held:
                # An interrupt between two callbacks: the process goes on elsewhere, the interrupt here.
                st.process, st.loop, st.depth = before, before_loop, st.depth - 1
                self._run.append(True)
                kernel.pool.submit(self)

    def deliver_from_afar(self, item: Any) -> None:
        self._inbox.append(item)
        if self._fate:
            self._flush()
        elif self._run:
            kernel.pool.submit(self)

    def end(self, reason: object) -> None:
        """Die between two messages: whoever holds the run right carries it out."""
        self._own("_urgent", []).append(ExitSignal(reason))
        if self._run:
            self._schedule()
