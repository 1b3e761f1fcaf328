"""Requests of coroutines whose outcome must not be lost when the coroutine is cancelled while it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..processes.ambient import current
from ..processes.resolving import resolve
from ..runtime.call_cycles import begin, check
from ..runtime.parking import LoopBell, need_loop
from ..runtime.thread_state import check_alive
from ..vocabulary.errors import SelfCall, no_process


async def ask_or_undo(server: Any, message: object, undo: Callable[[Any], object]) -> Any:
    """Call a server from a coroutine, without a time limit. If the coroutine is cancelled, the server may
    have done what it was asked for, or be about to: then its answer goes to somebody who undoes that.

    Args:
        server: a Pid or a name.
        message: the request.
        undo: called with the answer when nobody waits for it any more, in the thread that gives it, so it
            must not wait. Not for an error.

    Raises:
        NoProcess, ServerExit, SelfCall, CallCycle: as ``GenServer.acall``.
    """
    check_alive()
    loop = need_loop("this form for coroutines")
    pid, caller = resolve(server), current()
    if pid._fate:
        raise no_process(pid)
    if pid is caller:
        raise SelfCall(f"{pid} calls itself and would wait for its own answer")
    check(caller, pid)
    call = pid.request(message)
    if not call._box:
        bell = LoopBell(loop)
        call.add_done_callback(bell)
        try:
            begin(caller, pid, call)
            await bell
        except BaseException:
            call.remove_done_callback(bell)
            call.add_done_callback(lambda late: _given(late, undo))
            raise
    return call.take()


def _given(late: Any, undo: Callable[[Any], object]) -> None:
    answer, error = late._box[0]
    if error is None:
        undo(answer)
