"""How a server is started: make the process, run its init in it, tell the starter."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, cast

from .bounded import make_bounded
from .call import Call
from .context import current
from .errors import CallTimeout, ServerExit, StartError
from .inline import InlinePid
from .kernel import kernel
from .local import peek
from .on_loop import LoopPid
from .pid import Pid
from .pooled import PooledPid
from .resources import still_closing
from .runnable import RunnablePid
from .server import Boot, BootCall
from .waiting import check_timeout, forbid_loop

if TYPE_CHECKING:
    from .genserver import GenServer


def start_server(
    actor: GenServer, arg: object, name: object, timeout: float | None, *, link: bool
) -> Pid | None:
    """Start a server and wait until its init is through.

    Raises:
        StartError, AlreadyStarted, BlockingInLoop.
    """
    kind = type(actor)
    if kind.blocking or kind.is_async():
        forbid_loop(f"starting {kind.__name__}", f"{kind.__name__}.astart_link(...)")
    pid = prepare(actor, timeout, link=link)
    boot = send_boot(pid, arg, name, link=link)
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
    actor: GenServer, arg: object, name: object, timeout: float | None, *, link: bool
) -> Pid | None:
    """Start a server from a coroutine and await the end of its init.

    Raises:
        StartError, AlreadyStarted.
    """
    pid = prepare(actor, timeout, link=link)
    boot = send_boot(pid, arg, name, link=link)
    if not await boot.wait_async(timeout):
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
    try:
        return cast("Pid | None", boot.result())
    except ServerExit as error:
        # It was killed while its init ran.
        raise StartError(error.reason) from None


def prepare(actor: GenServer, timeout: float | None, *, link: bool) -> RunnablePid:
    """Make the process."""
    if timeout is not None:
        check_timeout(timeout)
    parent = current() if link else None
    kernel.ensure()
    kind = type(actor)
    way = _way_of(kind)
    if kind.mailbox is None:
        pid: RunnablePid = way(actor, parent)
    else:
        pid = make_bounded(way, kind.mailbox, actor, parent)
    actor._pid = pid
    pid.trap_exit = kind.trap_exit
    pid._context = contextvars.copy_context()
    return pid


def _way_of(kind: type[GenServer]) -> type[RunnablePid]:
    """How servers of a class are run."""
    if kind.is_async():
        return LoopPid
    return PooledPid if kind.blocking else InlinePid


def send_boot(pid: RunnablePid, arg: object, name: object, *, link: bool) -> Call:
    """Send a process its first item; the answer is the start's."""
    answer = BootCall(pid, peek())
    boot = Boot(answer, arg, name, pid.parent if link else None)
    if isinstance(pid, InlinePid):
        pid.boot_here(boot)
    else:
        pid.deliver(boot)
    if not answer._box:
        answer.promise()
    return answer
