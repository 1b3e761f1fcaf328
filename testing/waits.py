"""Waiting for what a test has set off, instead of sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ..actors import (
    CallTimeout,
    Down,
    NoProcess,
    NotFound,
    Pid,
    ProcessExit,
    ResproutError,
    StartError,
    forbid_loop,
    need_loop,
    process,
)
from ..actors.engine import Deaths, check_alive, check_timeout, nobody
from .history import Place, histories, is_child, last_dead, place

T = TypeVar("T")
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.01


class InjectedCrash(ResproutError):
    """What a process crashes of that a test has crashed."""


class NotInTime(ResproutError, AssertionError):
    """What a test has waited for did not come."""


def crash(server: object, error: Exception | None = None) -> Pid:
    """Makes a process crash, as if one of its callbacks had raised, between two messages.

    It does not wait: `await_down` and `await_restart` do.

    Args:
        server: A Pid, a name or a Via.
        error: What it raises; an `InjectedCrash` by default.

    Returns:
        The process that crashes.

    Raises:
        NoProcess: There is no such process.
    """
    check_alive()
    pid = server if isinstance(server, Pid) else process.whereis(server)
    if pid is None or pid.dead:
        raise nobody(server)
    histories[-1].note(pid)
    if isinstance(server, str):
        histories[-1].dead[server] = pid
    process.inject(pid, InjectedCrash("crashed by the test") if error is None else error)
    return pid


def await_down(server: object, timeout: float = 5.0) -> object:
    """Waits until a process is dead.

    Args:
        server: A Pid, or a name or Via: then whoever has it now.
        timeout: Seconds.

    Returns:
        Its exit reason, also if it was dead already.

    Raises:
        NoProcess: Nobody has that name.
        NotInTime: It lives on.
        BlockingInLoop: In an event loop; there, `await aawait_down(...)`.
    """
    check_alive()
    check_timeout(timeout)
    forbid_loop("testing.await_down", "testing.aawait_down(...)")
    pid = _named(server)
    deaths = Deaths()
    ref = deaths.watch(pid)
    if deaths.take(timeout) is None:
        pid.remove_monitor(ref)
        raise _lives_on(pid, timeout)
    return pid.exit_reason


async def aawait_down(server: object, timeout: float = 5.0) -> object:
    """The form of `await_down` for coroutines."""
    check_alive()
    need_loop("testing.aawait_down()")
    check_timeout(timeout)
    pid = _named(server)
    ref = process.monitor(pid)
    try:
        await process.areceive(lambda message: isinstance(message, Down) and message.ref is ref, timeout)
    except CallTimeout:
        raise _lives_on(pid, timeout) from None
    finally:
        process.demonitor(ref, flush=True)
    return pid.exit_reason


def await_restart(server: object, timeout: float = 5.0) -> Pid:
    """Waits until another process has come in the place of one, and has started.

    Args:
        server: A name: waits for the successor of the last process that is known to have died with it
            (in a region everyone who does is known, elsewhere those that `crash` has crashed); if none is, of
            the one that has it now. Or the Pid of a child of a supervisor, dead or about to die.
        timeout: Seconds.

    Returns:
        The new process.

    Raises:
        ValueError: Nobody knows whose child the process was.
        NotInTime: None has come.
        BlockingInLoop: In an event loop; there, `await aawait_restart(...)`.
    """
    check_alive()
    check_timeout(timeout)
    forbid_loop("testing.await_restart", "testing.aawait_restart(...)")
    successor = _Successor(server)
    return _poll(successor.look, timeout, successor.error)


async def aawait_restart(server: object, timeout: float = 5.0) -> Pid:
    """The form of `await_restart` for coroutines."""
    check_alive()
    need_loop("testing.aawait_restart()")
    check_timeout(timeout)
    successor = _Successor(server)
    return await _apoll(successor.look, timeout, successor.error)


def eventually(check: Callable[[], T], timeout: float = 5.0) -> T:
    """Calls a check again and again until it is fulfilled.

    Use it for what can't be awaited: a process's state, a file, another program. For deaths and restarts
    there are `await_down` and `await_restart`, and `quiesce` for the end of everything.

    Args:
        check: Fulfilled when it returns something true. An AssertionError means not yet, and so does a
            process that is just not there or answers late.
        timeout: Seconds of real time.

    Returns:
        What the check has returned.

    Raises:
        NotInTime: It was not fulfilled in time; the message says how it failed last.
        BlockingInLoop: In an event loop; there, `await aeventually(...)`.
    """
    check_alive()
    check_timeout(timeout)
    forbid_loop("testing.eventually", "testing.aeventually(...)")
    attempt = _Attempt(check)
    return _poll(attempt.look, timeout, attempt.error)


async def aeventually(check: Callable[[], T | Awaitable[T]], timeout: float = 5.0) -> T:
    """The form of `eventually` for coroutines; the check may be a coroutine function."""
    check_alive()
    need_loop("testing.aeventually()")
    check_timeout(timeout)
    attempt: _Attempt[Any] = _Attempt(check)
    pauses = _pauses(time.monotonic() + timeout, partial(attempt.error, timeout))
    while True:
        made = attempt.look()
        if made is not None and isinstance(made[0], Awaitable):
            made = await attempt.alook(made[0])
        if made is not None:
            value: T = made[0]
            return value
        await asyncio.sleep(next(pauses))


def _named(server: object) -> Pid:
    pid = server if isinstance(server, Pid) else process.whereis(server)
    if pid is None and isinstance(server, str):
        # It may have died just before.
        pid = last_dead(server)
    if pid is None:
        raise nobody(server)
    return pid


def _lives_on(pid: Pid, timeout: float) -> NotInTime:
    return NotInTime(f"expected {pid} to end within {timeout:g} s, but it is alive")


class _Successor:
    """Looks for the process that has come after another one."""

    def __init__(self, server: object) -> None:
        self._server = server
        self._place: Place | None = None
        if isinstance(server, Pid):
            self._before: Pid | None = server
            self._place = place(server)
            if self._place is None and not isinstance(server.name, str):
                raise ValueError(
                    f"expected the name of a process, or a child of a supervisor, got: {server}, and nobody "
                    "knows whose child it was; wait for it inside `testing.isolated()`, or crash it by "
                    "`testing.crash`"
                )
        else:
            self._before = (last_dead(server) if isinstance(server, str) else None) or process.whereis(server)
            if self._before is not None:
                self._place = place(self._before)

    def look(self) -> tuple[Pid] | None:
        """The successor, if it has started."""
        before = self._before
        if not isinstance(self._server, Pid):
            found = process.whereis(self._server)
        elif self._place is not None:
            found = self._place.holder()
        else:
            found = process.whereis(str(self._server.name))
        if found is None or found is before or (before is not None and found < before):
            return None
        # A name is taken before init is through; a supervisor lists who has started.
        if is_child(found) and place(found) is None:
            return None
        return (found,) if found.alive else None

    def error(self, timeout: float) -> NotInTime:
        """What to raise when none has come."""
        before = self._before
        state = "nobody had that name" if before is None else f"{before} is alive"
        if before is not None and before.dead:
            state = f"{before} ended ({before.exit_reason!r}) and none has come"
        return NotInTime(f"expected {self._server!s} to be started again within {timeout:g} s, but {state}")


class _Attempt(Generic[T]):
    """A check, and how it failed last."""

    def __init__(self, check: Callable[[], T]) -> None:
        if not callable(check):
            raise TypeError(f"expected check to be callable, got: {check!r}")
        self._check = check
        self._last: object = None
        self._cause: BaseException | None = None

    def look(self) -> tuple[T] | None:
        """What it returned, if that is true."""
        me = process.current()
        try:
            return self._judge(self._check())
        except (AssertionError, ProcessExit, CallTimeout, NotFound, StartError) as error:
            self._failed(me, error)
            return None

    async def alook(self, made: Awaitable[T]) -> tuple[T] | None:
        """The same of a coroutine."""
        me = process.current()
        try:
            return self._judge(await made)
        except (AssertionError, ProcessExit, CallTimeout, NotFound, StartError) as error:
            self._failed(me, error)
            return None

    def _judge(self, value: T) -> tuple[T] | None:
        self._last, self._cause = value, None
        return (value,) if value else None

    def _failed(self, me: Pid, error: BaseException) -> None:
        if isinstance(error, ProcessExit) and not isinstance(error, NoProcess) and error.pid is me:
            # An exit signal to the test itself.
            raise error
        self._last, self._cause = None, error

    def error(self, timeout: float) -> NotInTime:
        """What to raise in the end."""
        if self._cause is not None:
            how = f"it raised {type(self._cause).__name__}: {self._cause}"
        else:
            how = f"it returned {self._last!r}"
            if self._last is None:
                how += " (a check of assertions returns True at its end)"
        error = NotInTime(f"expected the check to be fulfilled within {timeout:g} s, but at last {how}")
        error.__cause__ = self._cause
        return error


def _pauses(deadline: float, error: Callable[[], NotInTime]) -> Iterator[float]:
    """How long to wait before one more look; raises when it is too late for that."""
    pause = _FIRST_PAUSE
    while time.monotonic() < deadline:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE)
    raise error()


def _poll(look: Callable[[], tuple[T] | None], timeout: float, error: Callable[[float], NotInTime]) -> T:
    pauses = _pauses(time.monotonic() + timeout, partial(error, timeout))
    while (found := look()) is None:
        process.sleep(next(pauses))
    return found[0]


async def _apoll(
    look: Callable[[], tuple[T] | None], timeout: float, error: Callable[[float], NotInTime]
) -> T:
    pauses = _pauses(time.monotonic() + timeout, partial(error, timeout))
    while (found := look()) is None:
        await asyncio.sleep(next(pauses))
    return found[0]
