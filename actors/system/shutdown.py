"""The ends of an interpreter: its exit, where trees are stopped in order, and a fork, whose child starts
with nothing.

At exit no thread can be started (3.12 forbids it), so whoever waits helps to run what is in the backlog.
Pool, kernel and loop threads are daemons: the interpreter never waits for them.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Callable

from ..process import demonitor, monitor, receive
from ..processes import names, resources
from ..processes.ambient import current
from ..processes.pid import Pid, table
from ..reports import crash_reports as reports
from ..reports import stragglers
from ..runtime import forked, loop
from ..runtime import loop_bells as bells
from ..runtime.closers import closers
from ..runtime.kernel import kernel
from ..runtime.thread_state import dead_but_running, local, tasks
from ..servers.dispatch import StopRequest
from ..vocabulary.errors import CallTimeout, ProcessExit
from ..vocabulary.messages import Down, Ref
from ..vocabulary.reasons import FORKED, SHUTDOWN

logger = logging.getLogger("resprout")
AT_EXIT = 10.0
"""Seconds that all trees together have to stop when the interpreter exits."""
_trees: list[Pid] = []


def at_exit(pid: Pid, *, last: bool = False) -> None:
    """Have a tree stopped in order when the interpreter exits; the last one registered is stopped first.

    Args:
        last: stop it after all others, which need it to stop in order.
    """
    others = [each for each in _trees if each.alive and each is not pid]
    _trees[:] = [pid, *others] if last else [*others, pid]


def stop_trees() -> None:
    """Stop every registered tree, the last one first, as its parent would."""

    def down_of(ref: Ref) -> Callable[[object], bool]:
        return lambda message: isinstance(message, Down) and message.ref is ref

    deadline = time.monotonic() + AT_EXIT
    while _trees:
        pid = _trees.pop()
        if pid.dead:
            continue
        ref = monitor(pid)
        pid.deliver(StopRequest(SHUTDOWN))
        try:
            receive(down_of(ref), max(0.0, deadline - time.monotonic()))
        except CallTimeout:
            demonitor(ref, flush=True)
            pid.signal(None, "kill", direct=True)
        except ProcessExit:
            continue


def end_interpreter() -> None:
    """Stop every tree in order and close what is owned, as the interpreter ends; safe to be repeated."""
    kernel.exiting = True
    try:
        if _trees:
            current()
            stop_trees()
    except Exception:
        logger.exception("not every tree was stopped in order when the interpreter exited")
    try:
        resources.close_all(time.monotonic() + AT_EXIT)
    except Exception:
        logger.exception("not everything that processes own was closed when the interpreter exited")
    reports.tell_held()


atexit.register(end_interpreter)


def _after_fork_in_child() -> None:
    """The child has one thread: none of the runtime's, and no process but that thread."""
    for each in list(table.values()):
        # Their code runs in the parent; here they are dead, and say why.
        each.flag(FORKED)
        each._run.clear()
    table.clear()
    tasks.clear()
    dead_but_running.clear()
    _trees.clear()
    stragglers.begin_anew()
    reports.forget_held()
    forked.remember("process", names.names)
    names.reset_names()
    resources._estates.clear()
    closers.reset()
    kernel.reset()
    bells.begin_anew()
    loop.forget_loop()
    local.state.__init__()  # type: ignore[misc]  # begin anew in place


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
