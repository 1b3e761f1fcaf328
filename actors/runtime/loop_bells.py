"""What coroutines wait for, kept by the event loop on which they run, and how a loop's end is noticed.

Whoever wakes a coroutine keeps something of it in a table: a claim in a lock's line, a callback of a future.
If that led to the asyncio future on which the task sleeps, it would lead on to the task, to all that the task
holds, and to the loop; and a loop that somebody drops would live in our tables for ever, with its tasks and
their slots. So the tables have a weak reference to what the loop owns, which has the futures. Then a task
that waits lives as long as its loop does, and no longer.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from .kernel import kernel
from .thread_state import runs_in_this_thread, task_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    class Sleeper(Protocol):
        """A wait that can be ended."""

        def recover(self) -> None:
            """See to it that it ends if it is over."""

        def end(self) -> None:
            """End it."""


LOOK = 1.0
"""Seconds between two looks at the loops that have been stopped."""

USUAL = 5.0
"""Seconds that most waits may last: what a call waits at most, if it does not say otherwise."""

NAME = "_resprout_bells"
"""The attribute of a loop."""


class Bells:
    """What the coroutines of one loop wait for. Belongs to the loop, so it may refer to that.

    Attributes:
        waiting: by whoever rings, the future that a task sleeps on.
        sleeping: the same for bells, each of which knows whether it has rung.
        steps: by a bell, the step that its task is about to take, and the context of that.
        alarms: the timers of waits that may last so long.
        usual: when waits end that may last as long as most, in that order; by this clock.
        alarm: the timer of these that is on its way.
        cut: the last run of the loop ended with an exception, as far as is known.
        nowhere: a context without values, so that a timer keeps none of whoever was the first to need it.
        make: makes a future to sleep on.
        ref: what our tables keep of it.
        keeper: what notices that the loop is about to be closed, for the servers that live on it; None while
            there are none.
        inhabited: processes live there, or were about to.
        over: the loop is closed, or about to be.
        looked: the loop has been looked at since it stopped.
        thread: in which the loop runs, while it does; None if that is not known.
        asked: it has been asked for that.
    """

    __slots__ = (
        "__weakref__",
        "alarm",
        "alarms",
        "asked",
        "cut",
        "inhabited",
        "keeper",
        "looked",
        "loop",
        "make",
        "nowhere",
        "over",
        "ref",
        "sleeping",
        "steps",
        "thread",
        "usual",
        "waiting",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.make = loop.create_future
        self.waiting: dict[object, asyncio.Future[None]] = {}
        self.sleeping: dict[Sleeper, asyncio.Future[None]] = {}
        self.steps: dict[Sleeper, tuple[Callable[[Any], object], Context]] = {}
        self.alarms: dict[Sleeper, asyncio.TimerHandle] = {}
        self.usual: dict[Sleeper, float] = {}
        self.alarm: asyncio.TimerHandle | None = None
        self.cut = True
        self.nowhere = Context()
        self.ref = weakref.ref(self)
        self.looked = False
        self.inhabited = False
        self.over = False
        self.thread: int | None = None
        self.asked = False
        self.keeper: AsyncGenerator[None, None] | None = None

    def end_after(self, seconds: float, sleeper: Sleeper) -> None:
        """End a wait when its time is over. All of the usual length share a timer: they end in the order in
        which they began, so the first one's will do.
        """
        if seconds != USUAL:
            self.alarms[sleeper] = self.loop.call_later(seconds, sleeper.end, context=self.nowhere)
            return
        self.usual[sleeper] = time.monotonic() + USUAL
        if self.alarm is None:
            self.alarm = self.loop.call_later(USUAL, self._end_usual, context=self.nowhere)

    def ended(self, sleeper: Sleeper) -> None:
        """The wait was over before its time."""
        self.usual.pop(sleeper, None)
        if self.alarms and (alarm := self.alarms.pop(sleeper, None)) is not None:
            alarm.cancel()

    def _end_usual(self) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
            self.alarm = None
        while True:
            if not self.usual:
                return
            sleeper, deadline = next(iter(self.usual.items()))
            left = deadline - time.monotonic()
            if left > 0:
                self.alarm = self.loop.call_later(left, self._end_usual, context=self.nowhere)
                return
            self.usual.pop(sleeper, None)
            sleeper.end()

    def recover(self) -> None:
        """See to what an interrupt has kept from being done, at whose callback the loop's last run ended. In
        a callback of the loop; may be repeated.
        """
        loop = self.loop
        for sleeper in list(self.sleeping):
            sleeper.recover()
        for sleeper, alarm in list(self.alarms.items()):
            if alarm.when() <= loop.time():
                loop.call_soon(sleeper.end)
        self._end_usual()
        for tell in when_recovering:
            tell(loop)

    def watch(self) -> None:
        """Notice when the loop is closed.

        Nothing that a loop calls then is public, so ``close`` is wrapped, on this one object; and so is
        ``run_forever``, which an exception leaves when an interrupt has hit a callback.
        """
        loop = self.loop
        close = loop.close

        def close_and_tell() -> None:
            try:
                close()
            finally:
                if loop.is_closed():
                    self.closed()

        run = loop.run_forever

        def run_and_recover() -> None:
            if self.cut:
                loop.call_soon(self.recover)
            self.cut = True
            self.thread = threading.get_ident()
            run()
            self.cut = False

        setattr(loop, "close", close_and_tell)  # noqa: B010  # mypy knows it as a method
        setattr(loop, "run_forever", run_and_recover)  # noqa: B010  # the same
        known[id(self)] = self.ref
        _look_soon()

    def closed(self) -> None:
        """The loop is closed: none of its tasks takes another step. May run anywhere, holding anything, as
        loops that were not closed close themselves in their finalizer; and may be repeated.
        """
        known.pop(id(self), None)
        for tell in when_closed:
            tell(self.ref)
        self.waiting.clear()
        self.sleeping.clear()
        self.steps.clear()
        self.usual.clear()
        self.alarms.clear()
        # Were cycles.
        for name in ("close", "run_forever", NAME):
            try:
                delattr(self.loop, name)
            except AttributeError:
                continue

    def look(self) -> None:
        """In the kernel thread: see to what no event tells."""
        loop = self.loop
        if loop.is_closed():
            # By a subclass's own way, for example.
            self.closed()
        elif not self.looked and not loop.is_running():
            try:
                loop.call_soon_threadsafe(self.runs_again)
            except RuntimeError:
                # Closed meanwhile: the next look will see.
                return
            # While it does not run, nothing more can happen to its tasks.
            self.looked = True
            for tell in when_stopped:
                tell(self.ref)

    def runs_again(self) -> None:
        """The loop runs, and may stop again."""
        self.looked = False


known: dict[int, weakref.ref[Bells]] = {}
"""The loops that are looked at."""
when_closed: list[Callable[[weakref.ref[Bells]], object]] = []
"""Who is told that a loop is closed; must be safe anywhere."""
when_stopped: list[Callable[[weakref.ref[Bells]], object]] = []
"""Who is told that a loop has stopped, some time afterwards; in the kernel thread."""
when_recovering: list[Callable[[asyncio.AbstractEventLoop], object]] = []
"""Who is told that the last run of a loop was cut off; in a callback of the next one."""
_made: dict[int, Bells] = {}
"""Those that are about to be a loop's attribute."""
_at_rest: list[bool] = [True]
"""One element while no look is on its way."""


def bells_of(loop: asyncio.AbstractEventLoop) -> Bells:
    """Return the bells of a loop, made when it has none."""
    try:
        return loop._resprout_bells  # type: ignore[attr-defined,no-any-return]  # ours
    except AttributeError:
        pass
    # A signal handler or finalizer on top of this may do the same: they agree on one.
    fresh = Bells(loop)
    bells = _made.setdefault(id(loop), fresh)
    try:
        bells = getattr(loop, NAME, bells)
        # Not through the loop's dict: whoever asks for that makes every attribute of the loop slower.
        setattr(loop, NAME, bells)
    finally:
        if _made.get(id(loop)) is fresh:
            del _made[id(loop)]
    if bells is fresh:
        bells.watch()
    return bells


def in_step_of(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a step of one of the loop's tasks is under way here, so that the loop looks at once after
    it for what is ready.

    That the loop runs in this thread does not say so: a signal handler or a finalizer may run here while the
    loop goes to sleep, or sleeps, and what it puts there would wait for somebody else to wake the loop.
    """
    return task_of(loop) is not None and runs_in_this_thread(loop)


def finish(bell: asyncio.Future[None]) -> None:
    """Ring it, unless it has rung."""
    if not bell.done():
        bell.set_result(None)


def begin_anew() -> None:
    """After a fork: the look that was on its way is the parent's."""
    _at_rest[:] = [True]
    if known:
        _look_soon()


def _look_soon() -> None:
    try:
        _at_rest.pop()
    except IndexError:
        return
    kernel.at(time.monotonic() + LOOK, _look)


def _look() -> None:
    try:
        for key, ref in known.copy().items():
            bells = ref()
            if bells is None:
                known.pop(key, None)
            else:
                bells.look()
    finally:
        _at_rest[:] = [True]
        # In this order: who comes in between begins a look itself.
        if known:
            _look_soon()
