"""Servers whose callbacks are coroutine functions: they run on an event loop.

That is the loop in which they, or their tree, were started, or the runtime's own (see ``home_loop``). Each
has one task for life, which rests between two messages. Whoever calls an idle one from a task of the same
loop takes its first step there and then: a callback that need not wait has answered when that returns.
"""

from __future__ import annotations

import asyncio
import threading
import types
from asyncio import _get_running_loop
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..processes.ambient import ended_afar
from ..processes.death_notices import refuse_unhandled
from ..processes.pid import NO_INBOX, Pid
from ..runtime.loop import home_loop
from ..runtime.loop_bells import in_step_of
from ..runtime.resting import Rest, start_task, uncancel
from ..runtime.thread_state import adopt_task, disown_task, local, task_of
from ..vocabulary.errors import StartError
from ..vocabulary.messages import NOTHING
from ..vocabulary.reasons import LOOP_CLOSED, Crash
from .dispatch import Boot, checked
from .loop_ends import closing, look_after
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

    __slots__ = ("_at_once", "_budget", "_ending", "_rest", "_task", "loop")
    mailbox_late = True

    def __init__(self, actor: Callbacks, parent: Pid | None) -> None:
        self.loop = loop = home_loop(type(actor).loop)
        if loop.is_closed() or closing(loop):
            raise StartError(LOOP_CLOSED)
        self._task: asyncio.Task[None] | None = None
        self._rest = Rest(loop)
        self._budget = BUDGET
        self._at_once: Any = NOTHING
        self._ending: tuple[object, Any, object] | None = None
        super().__init__(actor, parent)

    def task(self) -> asyncio.Task[None] | None:
        """The task that runs it; None before its start and after its end."""
        return self._task

    @property
    def resting(self) -> bool:
        """Whether no callback of it is under way. On the thread of its loop."""
        return self._rest.step is not None

    # -- delivery ---------------------------------------------------------------

    def deliver(self, item: Any) -> None:
        inbox = self._inbox
        if inbox is NO_INBOX:
            if item.__class__ is Boot and self._run:
                # The first of all, known to nobody but its starter.
                self._at_once = item
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

    def at_once(self, item: Any) -> None:
        loop = self.loop
        state = local.state
        if not self._run or state.depth or _get_running_loop() is not loop or state.steps >= DEEPEST:
            self.deliver(item)
            return
        me = task_of(loop)
        if me is None or self._task is None:
            self.deliver(item)
            return
        try:
            del self._run[0]
        except IndexError:
            self.deliver(item)
            return
        # Others' messages that come meanwhile are not the sender's to pay for.
        self._budget = 1
        state.steps += 1
        try:
            self._admit_at_once(item)
        finally:
            try:
                self._rest.go_on_within(me)
            finally:
                state.steps -= 1

    def _admit_at_once(self, item: Any) -> None:
        """Leave it where the next turn begins; the run right is held."""
        if self._inbox or self._saved or self._suspended:
            self.deliver(item)
        else:
            self._at_once = item

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
        try:
            while True:
                # One turn.
                budget, self._budget = self._budget, BUDGET
                while True:
                    if not budget:
                        break
                    item, self._at_once = self._at_once, NOTHING
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
                        result = self.invoke(item)
                        if result.__class__ is CoroutineType or hasattr(result, "__await__"):
                            result = await result
                            if result is None:
                                result = checked(None)
                    except GeneratorExit:
                        # The task is destroyed: its loop is closed.
                        raise
                    except asyncio.CancelledError as error:
                        if self._fate:
                            break
                        uncancel(task)
                        if closing(self.loop):
                            self.finish(LOOP_CLOSED, item)
                        else:
                            self.unwound(item, error)
                    except BaseException as error:
                        self.unwound(item, error)
                    else:
                        if result is not None:
                            self.settle(item, result)
                    if self._ending is not None:
                        await self._end_in_order(*self._ending)
                    if self._fate:
                        break
                if self._fate:
                    break
                if not budget and self.has_work():
                    await _next_turn_of_the_loop()
                    continue
                run.append(True)
                if (self._fate or self.has_work()) and self._claim():
                    continue
                await rest
        except asyncio.CancelledError as error:
            self.die(LOOP_CLOSED if closing(self.loop) else Crash(error))
        finally:
            if task is not None:
                disown_task(task)
            self._task = None
        self.leave()

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

    def _meet_end(self) -> None:
        self._rest.go_on()
        self.give_up_waiting()

    def give_up_waiting(self) -> None:
        task = self._task
        if task is not None and not self.resting:
            task.cancel()


@types.coroutine
def _next_turn_of_the_loop() -> Generator[None, None, None]:
    yield


def _throw(error: BaseException) -> None:
    raise error
