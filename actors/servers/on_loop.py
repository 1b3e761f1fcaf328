"""Servers whose callbacks are coroutine functions: they run on an event loop.

That is the loop in which they, or their tree, were started, or the runtime's own (see ``home_loop``). Each
has one task for life, which rests between two messages. Whoever calls an idle one from a task of the same
loop takes its first step there and then: a callback that need not wait has answered when that returns.
"""

from __future__ import annotations

import asyncio
import threading
import types
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..processes.ambient import ended_afar
from ..processes.death_notices import refuse_unhandled
from ..processes.pid import NO_INBOX, Pid
from ..reports.stragglers import SOON, caught_up, straggles
from ..runtime.call import Call
from ..runtime.loop import home_loop
from ..runtime.loop_bells import in_step_of
from ..runtime.resting import (
    BUSY,
    NOT_WAITING,
    RESTS,
    STEPS,
    WAITS,
    Outcome,
    Rest,
    has_begun,
    rest_of,
    start_task,
    uncancel,
)
from ..runtime.thread_state import (
    adopt_task,
    disown_task,
    is_step_of,
    local,
    runs_in_this_thread,
    task_of,
)
from ..vocabulary.errors import StartError
from ..vocabulary.messages import NOTHING
from ..vocabulary.reasons import LOOP_CLOSED, Crash
from .dispatch import Boot, Interrupted, checked
from .loop_ends import closing, look_after, settle, soon_closing
from .runnable import BUDGET, RunnablePid

if TYPE_CHECKING:
    from collections.abc import Generator

    from .callbacks import Callbacks

DEEPEST = 30
"""Steps inside steps on one thread's stack, before the next is left to the loop."""


class LoopPid(RunnablePid):
    """Runs on an event loop, in a task of its own: its callbacks may be coroutine functions.

    Invariant: while the run right is free and the task is there, the task rests.
    """

    __slots__ = ("_begun", "_budget", "_ending", "_first", "_rest", "_task", "loop")
    mailbox_late = True
    in_order = False
    """Whether everything goes through the mailbox, as where that counts what it admits."""

    def __init__(self, actor: Callbacks, parent: Pid | None) -> None:
        self.loop = loop = home_loop(type(actor).loop)
        if not settle(loop):
            raise StartError(LOOP_CLOSED)
        self._task: asyncio.Task[None] | None = None
        self._rest = Rest(loop)
        self._budget = BUDGET
        self._first: Any = NOTHING
        """The first item of all, which needs no mailbox."""
        self._begun: tuple[Any, Any, object, BaseException | None] | None = None
        """A message that has been begun, what of its handling is to be awaited, and how (see rest_of)."""
        self._ending: tuple[object, Any, object] | None = None
        super().__init__(actor, parent)

    def task(self) -> asyncio.Task[None] | None:
        """The task that runs it; None before its start and after its end."""
        return self._task

    @property
    def resting(self) -> bool:
        """Whether no callback of it is under way. On the thread of its loop."""
        return self._rest.step is not None

    @property
    def begun(self) -> Any:
        """The coroutine of a callback that has taken its first step and waits, which the task is to await."""
        return None if self._begun is None else self._begun[1]

    # -- delivery ---------------------------------------------------------------

    def deliver(self, item: Any) -> None:
        inbox = self._inbox
        if inbox is NO_INBOX:
            if item.__class__ is Boot and self._run:
                # The first of all, known to nobody but its starter.
                self._first = item
                self._schedule()
                return
            inbox = self.mailbox()
        inbox.append(item)
        if self._fate:
            self._flush()
        elif self._run:
            self._schedule()
        elif self.receiver is not None:
            self._wake_receiver()

    # -- being run -------------------------------------------------------------

    def at_once(self, item: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        run, task, home, state = self._run, self._task, self.loop, local.state
        if (
            not run
            or task is None
            or state.depth
            or state.steps >= DEEPEST
            or state.at_once >= BUDGET
            or (me := task_of(home)) is None
            or (loop is not home and (loop is not None or not runs_in_this_thread(home)))
        ):
            self.deliver(item)
            return
        state.at_once += 1
        state.steps += 1
        try:
            if self._inbox or self._saved or self._suspended or self._fate or self.in_order:
                done = self._take_turn_within(me, item)
            else:
                # A message of our own that was sent before this one would be in the mailbox; others' have no
                # order with it.
                done = self._rest.act_within(me, task, self.begin_item, item, run) is not BUSY
            if not done:
                self.deliver(item)
        finally:
            state.steps -= 1
            if run and (self._inbox or self._saved or self._urgent or self._fate or self._begun is not None):
                self._schedule()

    def _take_turn_within(self, me: asyncio.Task[Any], item: Any) -> bool:
        """Have its task take a turn now, as there is more to it than this one message; False when somebody
        else has the run right.
        """
        if not self._claim():
            return False
        # Others' messages that come meanwhile are not the sender's to pay for.
        self._budget = 1
        try:
            self.deliver(item)
        finally:
            self._rest.go_on_within(me)
        return True

    def begin_item(self, item: Any) -> Outcome:
        """Handle a message as far as that goes without a wait."""
        if self._fate:
            # As in ServerPid.turn.
            refuse_unhandled(self, item)
            return STEPS
        try:
            result = self.invoke(item)
            if result.__class__ is CoroutineType:
                try:
                    waits = result.send(None)
                except StopIteration as end:
                    result = checked(end.value)
                else:
                    if self._rest.wait_for(waits):
                        self._begun = (item, result, NOT_WAITING, None)
                        return WAITS
                    self._begun = (item, result, waits, None)
                    return STEPS
            elif hasattr(result, "__await__"):
                self._begun = (item, result, NOT_WAITING, None)
                return STEPS
        except BaseException as error:
            self._raised(item, error)
        else:
            if result is not None:
                try:
                    self.settle(item, result)
                except BaseException as fault:
                    self._broken(item, fault)
        return STEPS if self._ending is not None or self._fate else RESTS

    def _raised(self, item: Any, error: BaseException) -> None:
        """A callback ended in an exception, or in a cancellation of its task."""
        if not isinstance(error, asyncio.CancelledError):
            self.unwound(item, error)
        elif not self._fate:
            uncancel(self._task)
            if not closing(self.loop):
                self.unwound(item, error)
            elif item.__class__ is Boot:
                self.fail_boot(item, LOOP_CLOSED)
            else:
                self.finish(LOOP_CLOSED, item)

    def _broken(self, item: Any, fault: BaseException) -> None:
        """What a callback returned could not be carried out: better dead than never running again."""
        if isinstance(fault, KeyboardInterrupt):
            # As if it had come a moment before, in the callback.
            self.unwound(item, fault)
            return
        reason = Crash(fault)
        self.report(reason, item)
        self.die(reason)
        if not isinstance(fault, Exception):
            raise fault

    def _submit(self) -> None:
        loop = self.loop
        if in_step_of(loop):
            loop.call_soon(self._begin)
            return
        try:
            loop.call_soon_threadsafe(self._begin)
        except RecursionError:
            raise
        except RuntimeError:
            # It is closed.
            ended_afar(self, (), LOOP_CLOSED)

    def _begin(self) -> None:
        local.state.at_once = 0
        if not self._begin_run():
            return
        if self._task is not None:
            self._rest.go_on()
            return
        context = self._context
        if self._fate or context is None:
            self.leave()
            return
        self._task = task = start_task(self._live(), self.loop, context, str(self))
        adopt_task(task, self)
        look_after(self.loop)

    async def _live(self) -> None:
        task, rest, run = self._task, self._rest, self._run
        item: Any = NOTHING
        try:
            while True:
                # One turn.
                budget, self._budget = self._budget, BUDGET
                while True:
                    begun, self._begun = self._begun, None
                    if begun is not None:
                        item, result, waits, thrown = begun
                        if result.__class__ is CoroutineType:
                            result = rest_of(result, waits, thrown)
                    else:
                        if self._ending is not None:
                            await self._end_in_order(*self._ending)
                        if self._fate or not budget:
                            break
                        item, self._first = self._first, NOTHING
                        if item is NOTHING:
                            item = self.next_item()
                            if item is NOTHING:
                                break
                        budget -= 1
                        self.taken(item)
                        if self._fate:
                            # As in ServerPid.turn.
                            refuse_unhandled(self, item)
                            break
                    try:
                        if begun is None:
                            result = self.invoke(item)
                        if (
                            begun is not None
                            or result.__class__ is CoroutineType
                            or hasattr(result, "__await__")
                        ):
                            result = await result
                            if result is None:
                                result = checked(None)
                    except BaseException as error:
                        if isinstance(error, GeneratorExit) and task_of(self.loop) is not task:
                            # The task is destroyed: its loop is closed.
                            raise
                        self._raised(item, error)
                    else:
                        if result is not None:
                            try:
                                self.settle(item, result)
                            except BaseException as fault:
                                self._broken(item, fault)
                if self._fate:
                    break
                if not budget and self.has_work():
                    try:
                        await _next_turn_of_the_loop()
                    except asyncio.CancelledError:
                        if not (self._fate or closing(self.loop)):
                            raise
                        # No callback waits that could give up.
                        uncancel(task)
                    continue
                run.append(True)
                if (self._fate or self.has_work()) and self._claim():
                    continue
                try:
                    while True:
                        await rest
                        if not run or self._fate:
                            # Whoever had it go on has the run right; a cancellation that was taken back
                            # has not.
                            break
                except asyncio.CancelledError as error:
                    if self._begun is None:
                        raise
                    item, result, waits, _ = self._begun
                    self._begun = (item, result, waits, error)
        except asyncio.CancelledError as error:
            self.die(LOOP_CLOSED if closing(self.loop) else Crash(error))
        except GeneratorExit:
            # The task is destroyed, as above.
            if self._begun is not None:
                self._begun[1].close()
            raise
        except BaseException as fault:
            # Not a callback's.
            self._cut_off(item, fault)
            raise
        finally:
            if task is not None:
                disown_task(task)
            self._task = None
        self.leave()

    def _cut_off(self, item: Any, fault: BaseException) -> None:
        """The runtime's own code was cut off between two callbacks. By an interrupt, which is for whoever
        runs the loop: the server goes on in another task, and the message at hand counts as handled. Else
        better dead than never running again.
        """
        if self._fate or not isinstance(fault, KeyboardInterrupt):
            if self._begun is not None:
                self._begun[1].close()
            self.die(Crash(fault))
            self.leave()
            return
        if item.__class__ is Call:
            item.answer_error(Interrupted(f"{self} was interrupted by Ctrl-C before it answered"))
        self._claim()
        self._pending = True
        self.loop.call_soon(self._begin)

    def recover(self) -> None:
        """See to what an interrupt has kept from being done. In a callback of its loop; may be repeated."""
        self._begin()
        task = self._task
        if task is None:
            return
        if self._rest.is_lost_to(task):
            # Another one goes on in its place.
            task.get_coro().close()
            self._claim()
            self._pending = True
            self._begin()
        elif not self._run:
            self._rest.go_on()
            self._rest.recover()

    def keep_back(self, error: KeyboardInterrupt) -> bool:
        """Have whoever runs the loop get an interrupt of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return False
        self.loop.call_soon(_throw, error)
        return True

    def abandon(self) -> None:
        """Its loop is closed: the task, and what waits in it, is left to the garbage collector."""
        task, self._task = self._task, None
        if task is not None:
            disown_task(task)

    # -- its end -----------------------------------------------------------------

    def finish(self, reason: object, item: Any, reply: object = NOTHING) -> None:
        """The callbacks are through; terminate may be a coroutine function, so the turn awaits the rest."""
        self._ending = (reason, item, reply)

    async def _end_in_order(self, reason: object, item: Any, reply: object) -> None:
        if self._fate:
            return
        if reason.__class__ is Crash and isinstance(reason.exception, asyncio.CancelledError):
            # What a callback waits for was cancelled, as all tasks are before a loop is closed.
            if await soon_closing(self.loop, self):
                reason = LOOP_CLOSED
            if self._fate:
                return
        try:
            done: Any = self.actor.terminate(reason, self.state)
            if hasattr(done, "__await__"):
                await done
        except BaseException as error:
            reason = self.terminate_raised(error, reason)
        if reply is not NOTHING:
            self.respond(item, reply)
        self.report(reason, item)
        self.die(reason)

    def end(self, reason: object) -> None:
        """Die at once; the task is cancelled, and the process has left when it has ended."""
        if self.die(reason) and self._task is not None:
            # A closed loop runs nothing that could be cancelled.
            try:
                self.loop.call_soon_threadsafe(self._meet_end)
            except RecursionError:
                raise
            except RuntimeError:
                pass

    def _now_a_straggler(self) -> None:
        # Most meet their cancellation in the next turn of their loop; one that is closed runs nothing more.
        if not self.loop.is_closed() and not is_step_of(self._task):
            straggles(self, SOON)

    def leave(self) -> None:
        super().leave()
        # Afterwards: who notes it as a straggler meanwhile comes before this, or sees that it has left.
        caught_up(self)

    def _meet_end(self) -> None:
        self._rest.go_on()
        self.give_up_waiting()

    def give_up_waiting(self) -> None:
        task = self._task
        if task is None or self.resting or (self._ending is not None and not self._fate):
            # Its terminate has its time.
            return
        if not has_begun(task):
            # It sees to its end from its first step on, which comes before this.
            self.loop.call_soon(self.give_up_waiting)
            return
        task.cancel()


@types.coroutine
def _next_turn_of_the_loop() -> Generator[None, None, None]:
    yield


def _throw(error: BaseException) -> None:
    raise error
