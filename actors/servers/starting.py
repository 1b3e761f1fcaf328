"""How a server is started: make the process, run its init in it, tell the starter."""

from __future__ import annotations

import contextvars
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, cast

from ..processes.names import check_name
from ..processes.offloaded import acting
from ..processes.pid import Pid, table
from ..processes.resources import still_closing
from ..runtime.call import Call
from ..runtime.call_cycles import DEVELOPMENT, note, suspects
from ..runtime.kernel import kernel
from ..runtime.loop import make_home
from ..runtime.parking import check_timeout, forbid_loop, need_loop
from ..runtime.thread_state import current_if_any, dead_but_running, task_of
from ..vocabulary.errors import CallTimeout, ServerExit, StartError
from ..vocabulary.pykka_types import ActorBase
from ..vocabulary.reasons import SHUTDOWN
from .bounded import make_bounded
from .dispatch import Boot, BootCall, request_stop
from .inline import InlinePid
from .on_loop import LoopPid
from .pooled import PooledPid
from .runnable import RunnablePid

if TYPE_CHECKING:
    import asyncio

    from .callbacks import Callbacks


def start_server(
    actor: Callbacks, arg: object, name: object, timeout: float | None, *, link: bool
) -> Pid | None:
    """Start a server and wait until its init is through.

    Raises:
        StartError, AlreadyStarted, BlockingInLoop; TypeError and what else is wrong with the name.
    """
    kind = type(actor)
    way = way_of(kind)
    if way is not InlinePid:
        form = "astart_link" if link else "astart"
        forbid_loop(f"starting {kind.__name__}", f"{kind.__name__}.{form}(...)")
    if name is not None and name.__class__ is not str:
        check_name(name)
    loop = _get_running_loop()
    pid = prepare(actor, way, timeout, loop, link=link)
    boot = send_boot(pid, arg, name, loop, link=link)
    if not boot._box:
        try:
            boot.wait(timeout)
        except CallTimeout:
            give_up_start(pid)
            if still_closing(pid):
                boot.wait(None)  # for a time that is limited: until that is closed
            raise StartError("timeout") from None
    return booted(boot)


async def astart_server(
    actor: Callbacks, arg: object, name: object, timeout: float | None, *, link: bool
) -> Pid | None:
    """Start a server from a coroutine and await the end of its init. If the coroutine is cancelled meanwhile,
    nothing of the server is left: it is killed in its init, as when its time is over, or stopped after it.

    Raises:
        StartError, AlreadyStarted; TypeError and what else is wrong with the name.
    """
    if name is not None and name.__class__ is not str:
        check_name(name)
    loop = _get_running_loop()
    if loop is None or task_of(loop) is None:
        need_loop(f"{type(actor).__name__}.astart{'_link' if link else ''}()")
    pid = prepare(actor, way_of(type(actor)), timeout, loop, link=link)
    boot = send_boot(pid, arg, name, loop, link=link)
    try:
        in_time = await boot.wait_async(timeout)
    except BaseException:
        if not boot._box:
            give_up_start(pid)
        elif not pid._fate:
            if pid.parent is not None:
                pid.remove_link(pid.parent)
            request_stop(pid, SHUTDOWN, None, waits=False)
        raise
    if not in_time:
        give_up_start(pid)
        if still_closing(pid):
            await boot.wait_async(None)
        raise StartError("timeout")
    return booted(boot)


def give_up_start(pid: Pid) -> None:
    """Kill a server whose init takes too long, as OTP does."""
    if pid.parent is not None:
        pid.remove_link(pid.parent)
    pid.signal(None, "kill", direct=True)


def booted(boot: Call) -> Pid | None:
    """What the start returns: the Pid, None for IGNORE, or its error."""
    value, error = boot._box[0]
    if error is None and not dead_but_running:
        return cast("Pid | None", value)
    try:
        return cast("Pid | None", boot.result())
    except ServerExit as error:
        if error.pid is not boot.server:
            # What it asked for its name has died.
            raise
        # It was killed while its init ran.
        raise StartError(error.reason) from None


def prepare(
    actor: Callbacks,
    way: type[RunnablePid],
    timeout: float | None,
    loop: asyncio.AbstractEventLoop | None,
    *,
    link: bool,
) -> RunnablePid:
    """Make the process, in a thread in which that loop runs."""
    if timeout is not None:
        check_timeout(timeout)
    parent = acting(loop) if link else None
    kernel.ensure()
    kind = type(actor)
    pid: RunnablePid
    if kind.__init__ is not _PLAIN and hasattr(actor, "_pid"):
        pid = cast("RunnablePid", actor._pid)
        pid.parent = parent
        if not pid._fate:
            table[pid.id] = pid
            if pid._fate:
                # Somebody who was given it has killed it, just now.
                table.pop(pid.id, None)
    else:
        pid = way(actor, parent) if kind.mailbox is None else make_bounded(way, kind.mailbox, actor, parent)
        pid.starter = current_if_any(loop)
        actor._pid = pid
    pid.trap_exit = kind.trap_exit
    pid._context = context = contextvars.copy_context()
    if loop is not None and way is not LoopPid:
        make_home(context, loop)
    return pid


_PLAIN = ActorBase.__init__


def early_pid(actor: Callbacks) -> Pid:
    """The Pid of a server whose ``__init__`` runs. What it is sent waits for its start, as the run right is
    taken; until then nobody keeps it, so that one whose ``__init__`` raises leaves nothing behind.
    """
    kind = type(actor)
    way = way_of(kind)
    pid = way(actor, None) if kind.mailbox is None else make_bounded(way, kind.mailbox, actor, None)
    pid.starter = current_if_any()
    actor._pid = pid
    del table[pid.id], pid._run[0]
    return pid


def way_of(kind: type[Callbacks]) -> type[RunnablePid]:
    """How servers of a class are run."""
    if kind._way is not None:
        return cast("type[RunnablePid]", kind._way)
    if kind.is_async():
        return LoopPid
    return PooledPid if kind.blocking else InlinePid


def send_boot(
    pid: RunnablePid, arg: object, name: object, loop: asyncio.AbstractEventLoop | None, *, link: bool
) -> Call:
    """Send a process its first item, in a thread in which that loop runs; the answer is the start's."""
    starter = pid.starter
    answer = BootCall(pid, starter)
    if DEVELOPMENT and starter is not None:
        note(starter, pid, answer)
    boot = Boot(answer, arg, name, pid.parent if link else None)
    if pid._run and isinstance(pid, InlinePid):
        pid.boot_here(boot, loop)
    else:
        if isinstance(pid, LoopPid):
            suspects[pid.id] = pid
        if pid._run:
            pid.deliver(boot)
        else:
            _send_late(pid, boot)
    if not answer._box:
        answer.promise()
    return answer


def _send_late(pid: RunnablePid, boot: Boot) -> None:
    """Send it to a process whose Pid has been about since its ``__init__``: before what others have sent."""
    pid.mailbox().appendleft(boot)
    pid._run.append(True)
    pid._schedule()
