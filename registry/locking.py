"""`Registry.lock` and `Registry.alock`: a function runs while no other process does so under the same key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from ..actors import CallTimeout, Pid, forbid_loop, need_loop
from ..actors.engine import LoopBell, check_alive, check_timeout, current, dead_but_running
from .lock_queues import Ticket
from .owner import owner_here
from .table import Table, find

T = TypeVar("T")


class KeyLocking:
    """What `Registry` has to lock a key; the queues are in ``lock_queues``."""

    @staticmethod
    def lock(registry: str | Pid, key: Hashable, fn: Callable[[], T], timeout: float | None = None) -> T:
        """Call a function while no other process does so under the same lock key.

        The lock keys have nothing to do with the registered ones. Waiters come in order. The lock is free
        when the function returns or raises, or when its process has ended; that of a killed process when
        its code has left. Nested in the same process it runs at once. For limits above one, priorities or
        weights use `throttle`.

        Args:
            registry: its name.
            key: what is locked.
            fn: runs in the caller.
            timeout: seconds to wait for the lock; None for ever.

        Raises:
            CallTimeout: the lock was not free in time.
            BlockingInLoop: inside an event loop; use `alock`.
        """
        if dead_but_running:
            check_alive()
        forbid_loop("Registry.lock", "Registry.alock(...)")
        check_timeout(timeout)
        table = find(registry)
        ticket = _ticket(table, key)
        if ticket is None:
            return fn()
        try:
            ticket.pid.attach(ticket)
            table.locks.enter(ticket)
            ticket.granted.result(timeout)
            return fn()
        finally:
            try:
                ticket.give_back()
            except BaseException as cut:
                ticket.give_back_later(cut)

    @staticmethod
    async def alock(
        registry: str | Pid, key: Hashable, fn: Callable[[], Awaitable[T]], timeout: float | None = None
    ) -> T:
        """`lock` for coroutines: waits without blocking the loop, and awaits `fn()`.

        A cancellation is never lost: one that comes together with the grant gives the lock on, and is raised.
        """
        if dead_but_running:
            check_alive()
        check_timeout(timeout)
        loop = need_loop("Registry.alock()")
        table = find(registry)
        ticket = _ticket(table, key)
        if ticket is None:
            return await fn()
        try:
            ticket.pid.attach(ticket)
            table.locks.enter(ticket)
            await _granted(ticket, timeout, loop)
            return await fn()
        finally:
            try:
                ticket.give_back()
            except BaseException as cut:
                ticket.give_back_later(cut)


def _ticket(table: Table, key: Any) -> Ticket | None:
    """A place in the queue of a lock for the current process; None when that holds it already, or the task
    does that this thread of a pool works for.
    """
    me = current()
    ident = table.locks.keyring.take(key)
    holder = table.locks.holder(ident)
    if holder is not None and (holder is me or (me.pooled and holder is owner_here())):
        return None
    return Ticket(table.locks, ident, me)


async def _granted(ticket: Ticket, timeout: float | None, loop: asyncio.AbstractEventLoop) -> None:
    # Not with asyncio.wait_for, which before Python 3.12 swallows a cancellation that comes with the result.
    granted = ticket.granted
    if not granted.done():
        bell = LoopBell(loop)
        granted.add_done_callback(bell)
        if not await bell.wait(timeout) and not granted.done():
            raise CallTimeout(f"the lock was not free within {timeout:g} s")
    granted.result()
