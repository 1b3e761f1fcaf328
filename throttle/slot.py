"""A block of code that runs with a slot of a lock: ``with slot(...)`` and ``async with slot(...)``."""

from __future__ import annotations

import functools
from asyncio import _get_running_loop
from typing import TYPE_CHECKING

from ..actors import forbid_loop, need_loop
from ..actors.engine import TaskPid, check_alive, current, dead_but_running, local
from .acquire import ONE, ZERO, check_request
from .ledger.holds import Hold
from .ledger.values import Grant, OnKill, check_on_kill
from .lock.callers import GRANTED, TaskCaller
from .lock.flow import (
    check_within,
    in_use_elsewhere,
    keep_for_flow,
    leave,
    look_again,
    nest,
    nest_within,
    open_ones,
    opened,
)
from .lock.lock_steps import watched
from .lock.orphans import forsake
from .lock.table import cores, table
from .lock.waiting import give_up, queue_up, queue_up_async

if TYPE_CHECKING:
    from types import TracebackType

    from ..actors import Pid
    from .lock.lock_core import LockCore


class slot:  # noqa: N801  # used as a function: with slot("name"):
    """A block that runs with a slot of a lock, and gives it back however it ends.

    ``with slot(name) as grant:`` in threads and actors, ``async with slot(name) as grant:`` in coroutines.
    Make one for each block.

    Args:
        name: the lock.
        timeout: seconds to wait at most, None for ever.
        priority: higher goes first.
        weight: how many slots to take.
        within: a grant of the same lock that this block works in, whoever holds it: nested, also where that
            cannot be seen from the flow of control (code that another thread or task runs for the holder).
        on_kill: whether the slot of a killed actor whose handler goes on comes back when that has left
            (``"hold"``) or at once (``"release"``; then more than num_slots may be at work for a while).

    Raises:
        LockNotFound, CallTimeout, QueueFull, BlockingInLoop, ValueError: on entering, as ``acquire``.
        NotHeld: on entering, the grant that it is to be ``within`` is over.

    The holder is the flow of control (see docs/throttle.md, "Under your framework"): a block is nested in
    another of the same lock, and uses no further slots, if it is opened while that is open in the same flow.
    The grant belongs to this object: its end frees that grant, on whatever thread, also when the garbage
    collector closes a generator with the block in it. A slot comes back as well when the process ends that
    opened the block; where a pool's thread opened it for an asyncio task, when the task has ended. And when
    both this object and the grant are collected: an interrupt that comes before the first bytecode of
    ``__exit__`` costs no slot.
    """

    _refused = ("with throttle.slot(...)", "async with throttle.slot(...): ...")
    """What would block an event loop, and what to write there."""
    __slots__ = ("_again", "_hold", "_kill", "_name", "_outer", "_priority", "_timeout", "_weight", "_within")

    def __init__(
        self,
        name: str,
        timeout: float | None = None,
        priority: int = 0,
        weight: int = 1,
        on_kill: OnKill = "hold",
        within: Grant | None = None,
    ) -> None:
        self._name = name
        self._timeout = timeout
        self._priority = priority
        self._weight = weight
        self._kill = False if on_kill == "hold" else check_on_kill(on_kill)
        self._within = None if within is None else check_within(name, within)
        self._hold: Hold | None = None
        self._again = 0
        """How often it was entered once more, and not left."""
        self._outer: Hold | None = None

    def __enter__(self) -> Grant:
        if dead_but_running:
            check_alive()
        if _get_running_loop() is not None:
            forbid_loop(*self._refused)
        core = self._open()
        # As in acquire.
        here = local.state
        me = here.process
        if me is None or me._fate:
            me = current()
        outer = opened.get()
        if outer is not None and outer.depth <= 0:
            outer = open_ones(outer.outer)
        hold = None
        try:
            if outer is not None or self._within is not None or me.id in core.ledger.holders or me.pooled:
                hold = self._nest(core, me)
            if hold is None:
                hold = core.take(me, self._weight, self._kill)
                if hold is None:
                    again = functools.partial(look_again, core, me, self._weight) if me.pooled else None
                    hold = queue_up(
                        core, me, here, self._timeout, self._priority, self._weight, self._kill, look=again
                    )
                if me.pooled and hold.opener is None:
                    keep_for_flow(hold, me)
            if hold.depth == 1:
                hold.outer = self._outer = outer
                opened.set(hold)
            if self._hold is not None:
                self._again += 1
            self._hold = hold
            return hold
        except BaseException:
            if hold is not None:
                core.give_back(hold)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # No look at the current process: it may be dead (its slot comes back when it has left, unless this
        # does it now), and a thread that got an exit signal is another process by now.
        hold = self._hold
        if hold is not None:
            depth = hold.depth
            if depth > 0:
                try:
                    if error is not None:
                        hold.core.ledger.judge(hold, error)
                    hold.core.give_back(hold)
                except BaseException:
                    try:
                        if hold.depth == depth:
                            # An interrupt came before it had begun.
                            hold.core.give_back(hold)
                    finally:
                        if hold.depth < depth:
                            self._left()
                    raise
            # Before anything is called, behind which an interrupt could come: it is given back once.
            if self._again:
                self._again -= 1
            else:
                self._hold = None
            if hold.depth <= 0 and (self._outer is not None or hold.key < 0):
                leave(hold)

    def __del__(self) -> None:
        try:
            hold = self._hold
        except AttributeError:
            # It was never made: its arguments were refused.
            return
        if hold is not None and hold.depth > 0:
            forsake(hold, 1 + self._again)

    async def __aenter__(self) -> Grant:
        # _open(), written out.
        if dead_but_running:
            check_alive()
        core = cores.get(self._name)
        if (
            core is None
            or self._weight is not ONE
            or self._priority is not ZERO
            or self._timeout is not None
            or self._hold is not None
        ):
            core = self._open()
        me = current()
        if me.__class__ is not TaskPid:
            # A server's task, or none: what no task of asyncio's is would nest in whatever its thread has.
            need_loop("async with throttle.slot()")
        ledger = core.ledger
        hold = None
        if self._within is not None or ((outer := opened.get()) is not None and open_ones(outer) is not None):
            hold = self._nest(core, me)
        if hold is None and (
            not ledger.queue.size
            or not ledger.simple
            or me.id in ledger.holders
            or me.id not in core.attached
            or watched
        ):
            # Otherwise it would return None. A task is one flow: what it has under its id, it nests in.
            hold = core.take(me, self._weight, self._kill)
        if hold is None:
            claim = TaskCaller(self._name, me, self._priority, self._weight, self._kill)
            claim.core = core
            if self._timeout is None and not self._kill:
                # What queue_up_async() does, for most tasks, without two more coroutines on the way.
                try:
                    core.join(claim)
                    if claim.answer is None:
                        await claim.bell
                except BaseException:
                    give_up(core, claim)
                    raise
            if claim.answer is GRANTED:
                hold = claim
            else:
                hold = await queue_up_async(core, me, claim, self._timeout)
        # First: if an interrupt comes behind one of the calls, it comes back with this object.
        if self._hold is not None:
            self._again += 1
        self._hold = hold
        if hold.key < 0 and hold.depth == 1:
            hold.outer = self._outer = open_ones(opened.get())
            opened.set(hold)
        return hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _left(self) -> None:
        """The block is left, or one round of it."""
        if self._again:
            self._again -= 1
        else:
            self._hold = None

    def _open(self) -> LockCore:
        core = cores.get(self._name)
        if core is None:
            core = table.find(self._name)
        if self._weight is not ONE or self._timeout is not None or self._priority is not ZERO:
            check_request(core, self._timeout, self._priority, self._weight)
        hold = self._hold
        if hold is not None and hold.depth <= 0:
            # Released by hand: another round.
            self._hold = None
            self._again = 0
        elif hold is not None and in_use_elsewhere(hold):
            raise RuntimeError(
                f"this slot of lock {self._name!r} is in use by {hold.pid}; make one for each block, "
                f"as in `with slot({self._name!r}):`"
            )
        return core

    def _nest(self, core: LockCore, me: Pid) -> Hold | None:
        """Nest in what is held already, if anything is."""
        if self._within is None:
            return nest(core, me, self._weight)
        return nest_within(self._within, me, self._weight)
