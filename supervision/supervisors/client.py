"""What a running supervisor is asked, and what is asked in the same way of static and dynamic ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from ...actors import ChildSpec, GenServer, Pid, ProcessExit, child_spec, forbid_loop, process
from ...actors.engine import ask_or_undo, check_alive
from .values import (
    ChildInfo,
    CountChildren,
    Counts,
    Refused,
    Request,
    Resize,
    StartChild,
    WhichChildren,
)


def blocks(form: str) -> None:
    """Refuses a form that waits, as in `blocks("Supervisor.stop")`, inside an event loop: the form for
    coroutines has the same name with an `a` in front.
    """
    check_alive()
    kind, _, name = form.rpartition(".")
    forbid_loop(form, f"{kind}.a{name}(...)")


def ask(server: Any, request: Request | Resize, form: str) -> Any:
    """Sends a supervisor a request and waits for the answer, for as long as it takes to start or stop a
    child.

    Args:
        server: A Pid or a name.
        request: What is asked.
        form: The function that the user has called.

    Raises:
        ResproutError: It was refused; the error says why.
        ProcessExit: There is no such supervisor, or it ended meanwhile.
        BlockingInLoop: An event loop runs in this thread.
    """
    blocks(form)
    return _answered(GenServer.call(server, request, timeout=None))


async def aask(server: Any, request: Request | Resize) -> Any:
    """The form of `ask` for coroutines; cancelled, it leaves the supervisor to do what it was asked for."""
    check_alive()
    return _answered(await GenServer.acall(server, request, timeout=None))


async def astart(
    server: Any, spec: object, takes_back: Callable[[Any, ChildSpec, Pid | None], object]
) -> Any:
    """Has a supervisor start a child for a coroutine.

    Args:
        server: A Pid or a name.
        spec: Its spec, in any form.
        takes_back: Called with the supervisor, the spec and what has started, in a process of its own, when
            the coroutine was cancelled meanwhile.
    """
    check_alive()
    read = child_spec(spec)

    def undo(started: Any) -> None:
        if not isinstance(started, Refused):
            process.spawn(takes_back, server, read, started)

    return _answered(await ask_or_undo(server, StartChild(read), undo))


def call_quietly(server: Any, *requests: Request) -> None:
    """Asks for what nobody waits for, one after another; a supervisor that is gone need not be asked."""
    try:
        for request in requests:
            GenServer.call(server, request, timeout=None)
    except ProcessExit:
        return


def _answered(answer: Any) -> Any:
    if isinstance(answer, Refused):
        raise answer.error from None
    return answer


class SupervisorClient:
    """What `Supervisor` and `DynamicSupervisor` have in common for whoever uses them."""

    @classmethod
    def which_children(cls, supervisor: Any) -> list[ChildInfo]:
        """Lists the children in start order; the ids of dynamic ones are None."""
        return cast("list[ChildInfo]", ask(supervisor, WhichChildren(), f"{cls.__name__}.which_children"))

    @staticmethod
    async def awhich_children(supervisor: Any) -> list[ChildInfo]:
        """The form of `which_children` for coroutines."""
        return cast("list[ChildInfo]", await aask(supervisor, WhichChildren()))

    @classmethod
    def count_children(cls, supervisor: Any) -> Counts:
        """Counts the children."""
        return cast("Counts", ask(supervisor, CountChildren(), f"{cls.__name__}.count_children"))

    @staticmethod
    async def acount_children(supervisor: Any) -> Counts:
        """The form of `count_children` for coroutines."""
        return cast("Counts", await aask(supervisor, CountChildren()))

    @classmethod
    def stop(cls, supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """Stops a supervisor with all its children and waits for that.

        Args:
            supervisor: A Pid or a name.
            reason: Its exit reason; its children are told `"shutdown"`.
            timeout: Seconds; None means for ever.

        Raises:
            NoProcess: There is no such supervisor.
            CallTimeout: It takes longer; it goes on stopping.
        """
        blocks(f"{cls.__name__}.stop")
        GenServer.stop(supervisor, reason, timeout)

    @staticmethod
    async def astop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """The form of `stop` for coroutines."""
        await GenServer.astop(supervisor, reason, timeout)
