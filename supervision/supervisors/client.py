"""What a running supervisor is asked, and what is asked in the same way of static and dynamic ones."""

from __future__ import annotations

from typing import Any, cast

from ...actors import GenServer, forbid_loop
from ...actors.engine import check_alive
from .values import ChildInfo, CountChildren, Counts, Refused, Request, Resize, WhichChildren


def ask(server: Any, request: Request | Resize) -> Any:
    """Sends a supervisor a request and waits for the answer, for as long as it takes to start or stop a
    child.

    Raises:
        ResproutError: It was refused; the error says why.
        ProcessExit: There is no such supervisor, or it ended meanwhile.
        BlockingInLoop: An event loop runs in this thread.
    """
    check_alive()
    what = f"a request to a supervisor ({type(request).__name__})"
    forbid_loop(what, "asyncio.to_thread(...)")
    answer = GenServer.call(server, request, timeout=None)
    if isinstance(answer, Refused):
        raise answer.error from None
    return answer


class SupervisorClient:
    """What `Supervisor` and `DynamicSupervisor` have in common for whoever uses them."""

    @staticmethod
    def which_children(supervisor: Any) -> list[ChildInfo]:
        """Lists the children in start order; the ids of dynamic ones are None."""
        return cast("list[ChildInfo]", ask(supervisor, WhichChildren()))

    @staticmethod
    def count_children(supervisor: Any) -> Counts:
        """Counts the children."""
        return cast("Counts", ask(supervisor, CountChildren()))

    @staticmethod
    def stop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """Stops a supervisor with all its children and waits for that.

        Args:
            supervisor: A Pid or a name.
            reason: Its exit reason; its children are told `"shutdown"`.
            timeout: Seconds; None means for ever.

        Raises:
            NoProcess: There is no such supervisor.
            CallTimeout: It takes longer; it goes on stopping.
        """
        GenServer.stop(supervisor, reason, timeout)

    @staticmethod
    async def astop(supervisor: Any, reason: object = "normal", timeout: float | None = None) -> None:
        """The form of `stop` for coroutines."""
        await GenServer.astop(supervisor, reason, timeout)
