"""What the three ways of being run have in common: the client side of a server.

The ways are: on a thread of the pool (pooled.py), on the sender's own thread (inline.py), on the runtime's
event loop (on_loop.py).
All keep one rule, which is why a server handles one message at a time: the *run right* (a lock per process,
taken with a try-acquire by whoever delivers) belongs to one runner, who gives it up and then looks again, so
that what was delivered between its last look and the release is not left lying.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any

from ..primitives.atomic import FREE_THREADED, increase
from ..processes.ambient import current
from ..processes.mailbox import Cast
from ..processes.offloaded import works_for
from ..processes.pid import Pid
from ..runtime.call import Call
from ..runtime.call_cycles import begin, suspects
from ..runtime.future import Future
from ..runtime.kernel import kernel
from ..runtime.parking import check_timeout
from ..runtime.thread_state import check_alive, dead_but_running
from ..vocabulary.errors import BlockingInLoop, SelfCall, no_process
from ..vocabulary.pykka_types import ActorStop
from ..vocabulary.reasons import FORKED, NORMAL
from .dispatch import ServerPid, request_stop

if TYPE_CHECKING:
    import asyncio

BUDGET = 256
"""Messages that one turn handles before somebody else gets a chance."""


def begin_call(pid: Pid, message: object) -> Call:
    """Check that the caller may wait for pid, and make the request.

    Raises:
        NoProcess, SelfCall, CallCycle, Killed.
    """
    caller = current()
    if is_itself(caller, pid):
        how = "" if caller is pid else ", on a thread for which it waits,"
        raise SelfCall(
            f"{pid} calls itself{how} and would wait for its own answer; call a function instead, or cast"
        )
    if pid._fate:
        raise no_process(pid)
    call = Call(message, pid, caller)
    if caller.starter is not None or suspects:
        begin(caller, pid, call)
    return call


def is_itself(caller: Pid, pid: Pid) -> bool:
    """Whether a wait of the caller's for a server is one of the server's own: it is the server, or a thread
    of a pool for which a callback of the server waits.
    """
    if caller is pid:
        return True
    return caller.pooled and not pid._run and isinstance(pid, RunnablePid) and works_for(pid.task())


class RunnablePid(ServerPid):
    """What the three have in common: the client side."""

    __slots__ = ()

    def task(self) -> asyncio.Task[None] | None:
        """The task that runs it, if one does."""
        return None

    def deliver(self, item: Any) -> None:
        self._inbox.append(item)
        if self._fate:
            self._flush()
        elif self._run:
            self._schedule()
        elif self.receiver is not None:
            self._wake_receiver()

    def at_once(self, item: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Deliver from a coroutine that may wait for what comes of it: where it can be had without a wait, it
        is there on return.

        Args:
            item: for the mailbox.
            loop: the one that runs in this thread, where that is known.
        """
        self.deliver(item)

    def _schedule(self) -> None:
        """Take the run right and hand it to the one who will run this; if it is taken, its taker looks
        again.
        """
        try:
            del self._run[0]
        except IndexError:
            return
        try:
            self._pending = True
            self._submit()
        except BaseException:
            # An interrupt: whether it was submitted cannot be known, so it is again. `begin` lets only one
            # of the two run.
            kernel.post(self._submit)
            raise

    def _submit(self) -> None:
        """Have it run soon, elsewhere."""
        raise NotImplementedError

    def _begin_run(self) -> bool:
        """Whether this run is the one that has the right, not the second submission of an interrupted
        first.
        """
        if FREE_THREADED:
            # The two may come at the same time. (True is one more than False.)
            return increase(self, "_pending", -1, above=False)
        pending, self._pending = self._pending, False
        return pending

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
            CallCycle: it waits for the caller, whom it has started.
            BlockingInLoop: inside an event loop, unless the server runs on the sender's thread.
        """
        if dead_but_running:
            check_alive()
        if timeout.__class__ is not float or not timeout >= 0.0:
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
        return call.take()

    def cast(self, message: object) -> None:
        """Send a request without waiting; a dead process gets nothing and nobody is told, as in Erlang."""
        if dead_but_running:
            check_alive()
        if self._fate and self._fate[0] is FORKED:
            raise no_process(self)
        self.deliver(Cast(message))

    def request(self, message: object) -> Call:
        """Send a request; the answer comes in the future."""
        if dead_but_running:
            check_alive()
        caller = current()
        call = Call(message, self, caller)
        if self._fate:
            call.answer_error(no_process(self))
            return call
        self.deliver(call)
        if not call._box:
            call.promise()
        return call

    def ask_at_once(self, message: object, caller: Pid, loop: asyncio.AbstractEventLoop | None) -> Call:
        call = Call(message, self, caller)
        self.at_once(call, loop)
        if not call._box:
            call.promise()
        return call

    def cast_at_once(self, message: object) -> None:
        if self._fate and self._fate[0] is FORKED:
            raise no_process(self)
        self.at_once(Cast(message))

    def send_at_once(self, message: object) -> None:
        if self._fate and self._fate[0] is FORKED:
            raise no_process(self)
        self.at_once(message)

    # -- Pykka's words ---------------------------------------------------------

    def ask_later(self, message: object) -> Call:
        """``ask(block=False)``: a dead process's future holds the ActorDeadError. The answer to a stop is the
        death, whoever asks for it.
        """
        if dead_but_running:
            check_alive()
        if message.__class__ is ActorStop and not self._fate:
            return request_stop(self, NORMAL, current(), waits=False)
        return self.request(message)

    def stop_future(self) -> Future[bool]:
        """``stop(block=False)``; completed when it is dead, its name free and closed what it owned."""
        if dead_but_running:
            check_alive()
        stopped: Future[bool] = Future()
        self._stop(stopped, waits=False)
        return stopped

    def _stop(self, stopped: Future[bool], *, waits: bool) -> None:
        if self._fate:
            stopped.set(False)
        else:
            asked = request_stop(self, NORMAL, current(), waits=waits)
            asked.add_done_callback(lambda _: stopped.try_set(True))

    def stop_later(self, timeout: float | None) -> bool:
        """``stop()``; returns when it is dead."""
        if dead_but_running:
            check_alive()
        waits = current() is not self
        stopped: Future[bool] = Future()
        self._stop(stopped, waits=waits)
        return stopped.result(timeout) if waits else True

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

        self.ask_later(message).add_done_callback(copy)
