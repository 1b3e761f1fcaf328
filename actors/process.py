"""The functions of processes: Elixir's ``Process``, with the names of ``:erlang`` where Elixir keeps them in
Kernel.

They act for the current process: an actor inside its callbacks, otherwise the thread or asyncio task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast, overload

import attrs

from .processes import ambient as context
from .processes import resources
from .processes.amonitor import Monitor
from .processes.death_waits import Deaths
from .processes.links import tie
from .processes.mailbox import System, take_plain
from .processes.names import names, remove_name, take_name
from .processes.offloaded import acting, owner
from .processes.pid import Pid, table
from .processes.resolving import nobody, not_a_pid, resolve
from .processes.resolving import whereis as _whereis
from .reports.stragglers import Straggler, stragglers
from .runtime.kernel import Alarm, kernel
from .runtime.parking import LoopBell, Waiter, check_timeout, forbid_loop, need_loop, park
from .runtime.thread_state import check_alive, dead_but_running
from .servers.dispatch import ServerPid
from .servers.inline import InlinePid
from .servers.runnable import RunnablePid
from .tasks.spawned import spawn as _spawn
from .vocabulary.errors import CallTimeout, NoProcess, ServerExit, no_process
from .vocabulary.messages import DONE, NOTHING, Done, Down, Ref
from .vocabulary.reasons import FORKED, NOPROC, NORMAL, Crash, ExitRequest

__all__ = [
    "Info",
    "Monitor",
    "Straggler",
    "Timer",
    "alive",
    "amonitor",
    "areceive",
    "asend",
    "callers",
    "cancel_timer",
    "current",
    "demonitor",
    "disown",
    "exit",
    "info",
    "inject",
    "link",
    "monitor",
    "own",
    "processes",
    "read_timer",
    "receive",
    "register",
    "registered",
    "send",
    "send_after",
    "send_interval",
    "sleep",
    "spawn",
    "spawn_link",
    "spawn_monitor",
    "stragglers",
    "trap_exit",
    "unlink",
    "unregister",
    "whereis",
]

T = TypeVar("T")


def current() -> Pid:
    """The Pid of whoever runs this code. On a thread of a pool (``asyncio.to_thread``, ``run_in_executor``,
    anyio's threads) that is the task, or the server with coroutines, that waits for the call.

    Raises:
        Killed: the code belongs to a process that is dead.
        ServerExit: this thread or task got an exit signal (once; it goes on as a new process).
    """
    me = context.current()
    return acting() if me.pooled else me


def spawn(function: Callable[..., Any], *args: Any) -> Pid:
    """Start a process that runs a function, and ends with it. (A coroutine function runs on the event loop in
    which this is called, or the tree of the caller was started, else on the runtime's.)

    Raises:
        StartError: that loop is closed.
    """
    return _spawn(function, args)[0]


def spawn_link(function: Callable[..., Any], *args: Any) -> Pid:
    """Like spawn, linked to the current process before its first step."""
    return _spawn(function, args, link=True)[0]


def spawn_monitor(function: Callable[..., Any], *args: Any) -> tuple[Pid, Ref]:
    """Like spawn, monitored by the current process before its first step."""
    pid, ref = _spawn(function, args, monitor=True)
    assert ref is not None
    return pid, ref


@overload
def exit(target: object, reason: object) -> None: ...
@overload
def exit(target: object) -> NoReturn: ...
def exit(target: object, reason: object = NOTHING) -> None:
    """``exit(pid, reason)`` sends an exit signal; ``exit(reason)`` ends the current process.

    The signal: ``"kill"`` cannot be trapped and makes the target exit with ``"killed"``; ``"normal"`` is
    ignored by others; anything else ends a process that does not trap exits, and is an ``Exited`` message
    for one that does.

    Semantics: Erlang ``exit/2`` and ``exit/1``.
    """
    check_alive()
    if reason is NOTHING:
        raise ExitRequest(target)
    sender = acting()
    pid = _whereis(target)
    if pid is not None:
        pid.signal(sender, reason, direct=True)


def link(other: object) -> None:
    """Tie the current process and another: the exit of one is an exit signal for the other.

    Args:
        other: a Pid or a name. Linking twice is one link; linking oneself does nothing.

    Raises:
        NoProcess: it is dead already, or nobody has that name. (A process that traps exits gets the message
            ``Exited(pid, "noproc")`` instead, if it is a Pid.)

    Semantics: Erlang ``link/1``.
    """
    check_alive()
    me = acting()
    pid = _not_stale(resolve(other))
    # The second look is for one that dies in between. One that traps exits may be told the true reason.
    if (not me.trap_exit and pid is not me and pid.dead) or not tie(me, pid):
        if not me.trap_exit:
            raise no_process(pid)
        me.signal(pid, NOPROC)


def callers() -> tuple[Pid, ...]:
    """On whose behalf the current process works: who started this task, on whose behalf that one works, and
    so on.

    Returns:
        The nearest first; empty in a process that is neither a task nor at work for ``throttle.execute``.

    Semantics: Elixir's ``$callers``, which Task keeps (as opposed to ``$ancestors``, who started whom).
    """
    check_alive()
    found: tuple[Pid, ...] = acting()._ties.get("callers", ())
    return found


def unlink(other: object) -> None:
    """Untie them; an Exited that is in the mailbox already stays."""
    check_alive()
    me = acting()
    pid = _whereis(other) if not isinstance(other, Pid) else other
    if pid is not None:
        me.remove_link(pid)


def monitor(server: object) -> Ref:
    """Be told once, with a ``Down(ref, pid, reason)`` message, when a process is dead; at once
    (``"noproc"``) when it is already.
    """
    check_alive()
    me = acting()
    if isinstance(server, Pid):
        pid: Pid | None = server
    else:
        pid = _whereis(server)
    ref = Ref(me, pid)
    if pid is None:
        me.deliver(Down(ref, None, "noproc"))
    else:
        _not_stale(pid).add_monitor(ref)
    return ref


def amonitor(server: object) -> Monitor:
    """Watch a process from a coroutine: ``down = await process.amonitor(server)`` returns when it is dead, at
    once (``"noproc"``) when it is already.

    The watch begins with the call, so nothing is missed before the ``await``; nothing of it comes into the
    mailbox. It ends with the death, when nobody refers to it any more, with ``stop()``, and with the block of
    ``async with process.amonitor(server) as monitor:``. An ``await`` that is cancelled ends that wait only;
    for a limited one use ``asyncio.timeout`` or ``asyncio.wait_for``.

    Args:
        server: a Pid or a name.

    Returns:
        The monitor: awaiting it, any number of times, gives the ``Down(ref, pid, reason)``.
    """
    check_alive()
    pid = server if isinstance(server, Pid) else _whereis(server)
    return Monitor(None if pid is None else _not_stale(pid))


def demonitor(ref: Ref, flush: bool = False) -> bool:
    """Stop a monitor.

    Args:
        ref: as monitor returned it.
        flush: also remove its Down from the mailbox, should it be there.

    Returns:
        False when it had fired.
    """
    check_alive()
    if not isinstance(ref, Ref):
        raise TypeError(f"expected ref as monitor returned it, got: {ref!r}")
    stopped = ref.target is not None and ref.target.remove_monitor(ref)
    if not stopped and flush:
        # It has fired, but whoever carries the death out may not have delivered it yet: then it is thrown
        # away on arrival.
        ref.flushed = True
        take_plain(acting(), lambda message: isinstance(message, Down) and message.ref is ref)
    return stopped


def send(server: object, message: object) -> None:
    """Put a message into a mailbox. To a dead process or an unknown local name: nothing happens.

    Differs from OTP: sending to an unknown *name* is no error either.
    """
    if dead_but_running:
        check_alive()
    if isinstance(server, Pid):
        server.send(message)
        return
    pid = _whereis(server)
    if pid is not None:
        pid.deliver(message)


def asend(server: object, message: object) -> Done:
    """The form of send for coroutines: an idle server of the same loop handles it at once, up to where its
    callback first waits. There is nothing to await, and whoever writes ``await`` gets None without a wait.
    """
    if dead_but_running:
        check_alive()
    pid = server if isinstance(server, Pid) else _whereis(server)
    if pid is not None:
        pid.send_at_once(message)
    return DONE


class Timer:
    """A message on its way; see send_after."""

    __slots__ = ("_alarm", "_clock", "_interval", "_message", "_server", "at")

    def __init__(self, server: object, message: object, delay: float, interval: float | None = None) -> None:
        self._server = server
        self._message = message
        self._interval = interval
        self._clock = clock = kernel.clock
        self.at = clock.now() + delay
        self._alarm: Alarm | None = None

    def start(self) -> None:
        """Set the alarm."""
        self._alarm = self._clock.at(self.at, self._fire)

    def _fire(self) -> None:
        pid = _whereis(self._server)
        if self._interval is not None:
            if pid is None and isinstance(self._server, Pid):
                return
            # From the planned time, so that a late firing does not shift the rest.
            self.at = max(self.at + self._interval, self._clock.now())
            self.start()
        if pid is not None:
            pid.deliver_from_afar(self._message)

    def cancel(self) -> float | None:
        """Stop it; the seconds that were left, None when it has fired."""
        check_alive()
        self._interval = None
        alarm = self._alarm
        if alarm is None or not alarm.cancel():
            return None
        return max(0.0, self.at - self._clock.now())

    def _left(self) -> float | None:
        """The seconds until it fires (again), None when it has fired or was cancelled."""
        alarm = self._alarm
        if alarm is None or not alarm.pending:
            return None
        return max(0.0, self.at - time.monotonic())


def send_after(server: object, message: object, delay: float) -> Timer:
    """Send a message later.

    Args:
        server: who gets it; a name is looked up when the time has come.
        message: anything.
        delay: seconds.
    """
    check_alive()
    _check_delay("delay", delay)
    _check_server(server)
    kernel.ensure()
    timer = Timer(server, message, delay)
    timer.start()
    return timer


def send_interval(server: object, message: object, interval: float) -> Timer:
    """Send a message again and again, every interval seconds, until the timer is cancelled or the Pid dead
    (``:timer.send_interval``).
    """
    check_alive()
    _check_delay("interval", interval)
    if interval <= 0:
        raise ValueError(f"expected interval to be more than 0 seconds, got: {interval!r}")
    _check_server(server)
    kernel.ensure()
    timer = Timer(server, message, interval, interval)
    timer.start()
    return timer


def cancel_timer(timer: Timer) -> float | None:
    """Stop a timer; the seconds that were left, None when it has fired."""
    check_alive()
    check_alive()
    if not isinstance(timer, Timer):
        raise TypeError(f"expected timer as send_after returned it, got: {timer!r}")
    return timer.cancel()


def read_timer(timer: Timer) -> float | None:
    """The seconds until a timer fires (an interval: fires next), None when it has fired or was cancelled.

    Semantics: Elixir's ``Process.read_timer/1``, in seconds; None for its ``false``.
    """
    check_alive()
    if not isinstance(timer, Timer):
        raise TypeError(f"expected timer as send_after returned it, got: {timer!r}")
    return timer._left()


def trap_exit(value: bool = True) -> bool:
    """Have exit signals come as ``Exited`` messages instead of dying of them; returns the former setting."""
    check_alive()
    me = acting()
    before, me.trap_exit = me.trap_exit, bool(value)
    return before


def own(thing: T, close: Callable[..., Any] | None = None) -> T:
    """Tie a thing to the current process: it is closed when that process ends, in whatever way.

    Use it for what would outlive a killed process: sockets, programs, clients, pools. What a ``with`` block
    can close is better off there as long as nobody kills the process.

    Args:
        thing: anything; held until the process ends or disowns it. The same thing again is still one, closed
            by the newest ``close``.
        close: what closes it, called without arguments or, if it needs one, with the thing; may be a
            coroutine function. By default the thing's own ``close``, ``aclose``, ``dispose``, ``__exit__`` or
            ``shutdown`` (inside an event loop ``aclose`` comes first); a socket is shut down first, so that
            who is blocked in its ``accept`` wakes; a program (``Popen``) is terminated, killed if it does not
            end, and waited for.

    Returns:
        The thing.

    Raises:
        TypeError: there is nothing to close it with; the error says what to give.
        Killed: the process is dead already; the thing is closed at once.

    Runs on a thread of the pool, or on the event loop in which ``own`` was called if the thing belongs to
    one; the newest first, one at a time, at once even if the process's own code is stuck. Links and monitors
    hear of the death after that, or when its time is over (the shutdown time of a supervised process, else
    5 seconds); then a warning names what has not closed. A close that raises is reported with the thing's
    name and keeps nothing else open.

    Semantics: Erlang's ports, which close when their owner terminates (Reference Manual, "Ports").
    Differs from OTP: closing takes time, so the death is told when it is over.

    Example:
        >>> import socket
        >>> listener = own(socket.create_server(("127.0.0.1", 0)))
        >>> info(current()).owned == (listener,)
        True
        >>> disown(listener)
        >>> listener.close()
    """
    return resources.own(thing, close)


def disown(thing: object) -> None:
    """Take a thing out of the current process's hands: its end does not close it any more.

    Args:
        thing: as it was given to ``own``.

    Raises:
        NotOwned: this process does not own it.
    """
    check_alive()
    resources.disown(thing)


def alive(pid: object) -> bool:
    """Whether a process lives."""
    check_alive()
    return _whereis(pid) is not None


def whereis(name: object) -> Pid | None:
    """The living process that has a name; None when there is none."""
    check_alive()
    return _whereis(name)


def register(pid: Pid, name: str) -> None:
    """Give a process a local name.

    Raises:
        AlreadyRegistered: the name is taken by a living process.
        NoProcess: pid is dead.
        ValueError: pid has a name already.
    """
    check_alive()
    if not isinstance(name, str):
        raise TypeError(f"expected name to be a str, got: {name!r}")
    if not isinstance(pid, Pid):
        not_a_pid(pid)
    if pid.dead:
        raise NoProcess(pid, pid)
    if isinstance(pid.name, str) and names.get(pid.name) is pid:
        raise ValueError(f"{pid} is registered as {pid.name!r} already")
    take_name(pid, name)


def unregister(name: str) -> None:
    """Take a local name away from the process that has it.

    Raises:
        NoProcess: nobody has it.
    """
    check_alive()
    pid = names.get(name)
    if pid is None or not remove_name(name, pid):
        raise nobody(name)
    pid.name = None


def registered() -> list[str]:
    """All local names."""
    check_alive()
    return [name for name, pid in list(names.items()) if not pid.dead]


def processes() -> list[Pid]:
    """All living processes, oldest first."""
    check_alive()
    return [pid for pid in list(table.values()) if not pid.dead]


def receive(matching: Callable[[Any], bool] | None = None, timeout: float | None = None) -> Any:
    """Take the oldest message that matches out of the current process's mailbox, waiting for one if need be.

    What does not match stays, in order. In a server's callback it sees sends, Down and Exited; calls and
    casts wait for their own callbacks.

    Args:
        matching: a predicate; None takes any message.
        timeout: seconds, None for ever, 0 to look only.

    Raises:
        CallTimeout: no such message came in time.
        ServerExit: this thread of a pool works for a task that has ended.
        BlockingInLoop: inside an event loop (where a wait would stop it), unless the message is there
        already; use ``areceive``.
    """
    check_alive()
    check_timeout(timeout)
    me = _receiver()
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        found, message = take_plain(me, matching)
        if found:
            # Not what was sent after the exit signal that has ended it meanwhile.
            if me._fate:
                _meet_death_of(me)
            return message
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise CallTimeout(f"no matching message within {timeout:g} s")
        if isinstance(me, InlinePid):
            raise RuntimeError(f"{me} promised not to block (blocking = False), so it cannot wait in receive")
        forbid_loop("process.receive", "process.areceive(...)")

        def register(waiter: Waiter) -> bool:
            # The death wakes what is parked: here for a task that this thread works for, too.
            me.receiver = me.parked = waiter
            return bool(me._inbox or me._fate)

        def unregister(waiter: Waiter) -> None:
            me.receiver = me.parked = None

        park(register, unregister, left)
        if me._fate:
            _meet_death_of(me)


def _receiver() -> Pid:
    """Whose mailbox is read here. Not a thread's whose task has ended: nobody would send anything there."""
    me = context.current()
    whose = owner(me) if me.pooled else me
    if whose is not me and whose.dead:
        reason = NORMAL if whose.exit_reason is None else whose.exit_reason
        raise ServerExit(reason, whose, "process.receive on a thread that works for it")
    return whose


def _meet_death_of(me: Pid) -> None:
    if me is not context.current():
        raise ServerExit(me.exit_reason, me, "process.receive on a thread that works for it")
    me.meet_death()


async def areceive(matching: Callable[[Any], bool] | None = None, timeout: float | None = None) -> Any:
    """The form of receive for coroutines: waits without blocking the loop.

    Args:
        matching: a predicate; None takes any message.
        timeout: seconds, None for ever.

    Raises:
        CallTimeout: no such message came in time.
    """
    check_alive()
    check_timeout(timeout)
    loop = need_loop("process.areceive()")
    me = context.current()
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        bell = LoopBell(loop)
        me.receiver = bell
        try:
            found, message = take_plain(me, matching)
            if found:
                if me._fate:
                    me.meet_death()
                return message
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not await bell.wait(left):
                raise CallTimeout(f"no matching message within {timeout:g} s")
        finally:
            me.receiver = None


def sleep(seconds: float) -> None:
    """Sleep, and be woken by one's own death (unlike ``time.sleep``, through which a killed process's
    handler sleeps on).

    Raises:
        Killed: the process died meanwhile.
        BlockingInLoop: inside an event loop.
    """
    check_alive()
    _check_delay("seconds", seconds)
    forbid_loop("process.sleep", "asyncio.sleep(seconds)")
    context.current()
    park(lambda waiter: False, lambda waiter: None, seconds)


@attrs.frozen
class Info:
    """What is known of a process: ``Process.info/1``.

    Attributes:
        pid, name, kind: who.
        status: ``"running"``, ``"runnable"`` (has messages and waits for its turn), ``"waiting"`` or
            ``"suspended"``.
        message_queue_len: messages that wait.
        links, monitors, monitored_by: Pids.
        trap_exit: whether it traps exits.
        parent: who started it.
        busy: whether its code runs right now, be it that it waits for something in there.
        owned: what it owns, the oldest first; closed when it ends.
    """

    pid: Pid
    name: object
    kind: str
    status: str
    message_queue_len: int
    links: tuple[Pid, ...]
    monitors: tuple[Pid | None, ...]
    monitored_by: tuple[Pid, ...]
    trap_exit: bool
    parent: Pid | None
    busy: bool
    owned: tuple[object, ...] = ()


def info(pid: Pid) -> Info | None:
    """Look at a process without asking it; None when it is dead."""
    check_alive()
    if not isinstance(pid, Pid):
        not_a_pid(pid)
    if pid.dead:
        return None
    return Info(
        pid=pid,
        name=pid.name,
        kind=pid.kind,
        status=status(pid),
        message_queue_len=pid.mailbox_length(),
        links=tuple(sorted(pid._links.copy().values())),
        monitors=tuple(ref.target for ref in list(pid._watching.values())),
        monitored_by=tuple(_who_watches(ref.watcher) for ref in list(pid._monitors.values())),
        trap_exit=pid.trap_exit,
        parent=pid.parent,
        busy=not pid._run,
        owned=resources.owned_by(pid),
    )


def _who_watches(watcher: Any) -> Pid:
    return watcher.pid if isinstance(watcher, Deaths) else cast("Pid", watcher)


def status(pid: Pid) -> str:
    """See Info.status."""
    if isinstance(pid, ServerPid):
        if pid._suspended:
            return "suspended"
        if pid.receiver is not None or pid.parked is not None:
            return "waiting"
        if not pid._run:
            return "running"
        return "runnable" if pid.has_work() else "waiting"
    return "waiting" if pid.receiver is not None or pid.parked is not None else "running"


class _Injected(System):
    """An exception to be raised inside a process."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def handle(self, pid: Any) -> Any:
        raise self.error


def inject(server: object, error: Exception) -> None:
    """Make a server crash as if one of its callbacks had raised, between two messages: for tests and chaos
    runs.

    A process that reads its own mailbox (a spawned function, a thread) cannot be interrupted; it gets an
    exit signal with the crash for a reason instead.
    """
    check_alive()
    if not isinstance(error, Exception):
        raise TypeError(f"expected error to be an Exception, got: {error!r}")
    pid = resolve(server)
    if isinstance(pid, RunnablePid):
        pid.deliver(_Injected(error))
    else:
        pid.signal(None, Crash(error), direct=True)


def _not_stale(pid: Pid) -> Pid:
    if pid.exit_reason is FORKED:
        raise no_process(pid)
    return pid


def _check_delay(what: str, delay: object) -> None:
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise TypeError(f"expected {what} to be a number of seconds, got: {delay!r}")
    if not delay >= 0:
        raise ValueError(f"expected {what} to be at least 0 seconds, got: {delay!r}")


def _check_server(server: object) -> None:
    if not isinstance(server, (Pid, str)):
        _whereis(server)
