"""Servers whose callbacks are coroutine functions: they run on the runtime's event loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import TYPE_CHECKING, Any

from ..processes.death_notices import refuse_unhandled
from ..processes.pid import Pid
from ..runtime.loop import runtime_loop
from ..runtime.loop_bells import in_step_of
from ..runtime.thread_state import adopt_task, disown_task
from ..vocabulary.messages import NOTHING
from ..vocabulary.reasons import Crash
from .dispatch import checked
from .runnable import RunnablePid

if TYPE_CHECKING:
    from .callbacks import Callbacks


class LoopPid(RunnablePid):
    """Runs on the runtime's event loop, as a task while it has something to do: its callbacks may be
    coroutine functions.
    """

    __slots__ = ("_ending", "_task")

    def __init__(self, actor: Callbacks, parent: Pid | None) -> None:
        self._task: asyncio.Task[None] | None = None
        self._ending: tuple[object, Any, object] | None = None
        super().__init__(actor, parent)

    def _submit(self) -> None:
        loop = runtime_loop()
        if in_step_of(loop):
            loop.call_soon(self._begin, context=self._context)
        else:
            loop.call_soon_threadsafe(self._begin, context=self._context)

    def _begin(self) -> None:
        if not self._begin_run():
            return
        loop = asyncio.get_running_loop()
        if sys.version_info >= (3, 11):
            task = loop.create_task(self._live(), name=str(self), context=self._context)
        else:
            task = loop.create_task(self._live(), name=str(self))
        self._task = task
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
                if sys.version_info < (3, 11):
                    # Before 3.11 a task copies its context: keep what the callbacks have set for the next
                    # turn.
                    self._context = contextvars.copy_context()
                self._run.append(True)
                if not (self._fate or self.has_work()) or not self._claim():
                    return
        except asyncio.CancelledError as error:
            self.die(Crash(error))
        finally:
            if task is not None:
                disown_task(task)
            self._task = None
        self.leave()

    async def _turn_async(self) -> None:
        while self.has_work() and not self._fate:
            item = self.next_item()
            if item is NOTHING:
                return
            self.taken(item)
            if self._fate:
                # As in ServerPid.turn.
                refuse_unhandled(self, item)
                return
            try:
                result = self.invoke(item)
                if hasattr(result, "__await__"):
                    result = await result
                    result = checked(result)
            except asyncio.CancelledError as error:
                if self._fate:
                    return
                self.unwound(item, error)
            except BaseException as error:
                self.unwound(item, error)
            else:
                if result is not None:
                    self.settle(item, result)
            if self._ending is not None:
                await self._end_in_order(*self._ending)

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
        if self.die(reason):
            task = self._task
            if task is not None:
                runtime_loop().call_soon_threadsafe(task.cancel)
