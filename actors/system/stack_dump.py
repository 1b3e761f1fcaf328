"""What every process is doing right now, for somebody who looks at a program that hangs.

It asks nobody and waits for nothing: no message is sent, no lock is taken that a stuck thread may hold
(neither a buffer of ``sys.stderr`` nor a mailbox of Pykka's), and the text is written by a thread of its own,
in case nobody reads it. So it may be called from a signal handler, whatever that interrupts.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from ..primitives.atomic import FREE_THREADED, frames
from ..process import status
from ..processes.ambient import ThreadPid
from ..processes.foreign import stand_in_of
from ..processes.pid import Pid, table
from ..reports.stragglers import straggling, task_frames
from ..servers.inline import InlinePid
from ..servers.on_loop import LoopPid
from ..servers.pooled import PooledPid
from ..tasks.spawned import SpawnedPid
from ..vocabulary.pykka_types import ACTOR_LOOP

__all__ = ["dump_processes", "processes_as_text", "stack_of"]

_STDERR = 2
_RUNNERS: frozenset[CodeType] = frozenset(
    {
        PooledPid.run.__code__,
        SpawnedPid.run.__code__,
        InlinePid.call.__code__,
        InlinePid.drain.__code__,
        InlinePid.boot_here.__code__,
        InlinePid.stop_here.__code__,
        LoopPid.begin_item.__code__,
        ACTOR_LOOP,
    }
)
"""Functions that run a process, their ``self``."""
_WAITS: frozenset[CodeType] = frozenset({InlinePid._answer.__code__, InlinePid._call_in_turn.__code__})
"""What InlinePid.call is in when the process is run by somebody else."""


def dump_processes(frame: FrameType | None = None, fd: int = _STDERR) -> None:
    """Write what every process and thread is doing to stderr, and return at once.

    Args:
        frame: where the calling thread is; a signal handler gives what it has interrupted.
        fd: the file descriptor to write to.

    Semantics: A snapshot of a program that goes on meanwhile: the state of each process is as it was at one
        moment, those of different processes may be some microseconds apart.
    """
    try:
        text = processes_as_text(frame if frame is not None else sys._getframe(1))
    except Exception:
        # In a signal handler it would end whatever that has interrupted.
        text = f"resprout: the processes cannot be shown\n{traceback.format_exc()}"
    data = text.encode("utf-8", "backslashreplace")
    try:
        _thread.start_new_thread(_write, (fd, data))
    except RuntimeError:
        _write(fd, data)  # out of threads, or the interpreter ends


def _write(fd: int, data: bytes) -> None:
    try:
        while True:
            if not data:
                break
            data = data[os.write(fd, data) :]
    except OSError:
        pass  # nobody is there to read it


def processes_as_text(frame: FrameType) -> str:
    """What `dump_processes` writes.

    Args:
        frame: where the calling thread is.
    """
    stacks = _stacks(frame)
    running = _running(stacks)
    processes = sorted(table.values())
    late = [pid for pid in straggling() if pid.id not in table]
    lines = [
        f"== resprout: {len(processes)} processes, {len(stacks)} threads in program {os.getpid()} ==\n",
        "Processes:\n",
    ]
    for pid in [*processes, *late]:
        lines += _process(pid, running, stacks)
    lines.append("Threads (most recent call last):\n")
    if FREE_THREADED:
        lines.append("  (on a free-threaded build of Python only the calling one can be looked into)\n")
    for ident, stack in stacks.items():
        lines += _thread_lines(ident, stack, running)
    lines.append("== end ==\n")
    return "".join(lines)


def stack_of(pid: Pid) -> list[traceback.FrameSummary]:
    """Where the code of a process is this moment, outermost first; nothing if it waits for its next message.

    It asks nobody, as all here. On a free-threaded build only the calling thread can be looked into.
    """
    stacks = _stacks(sys._getframe(1))
    found = _running(stacks).get(pid)
    frames_in = task_frames(pid) if found is None else found[1]
    return list(traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames_in))


def _stacks(frame: FrameType) -> dict[int, list[FrameType]]:
    """The frames of each thread, outermost first."""
    now = frames()
    now[_thread.get_ident()] = frame
    return {ident: list(_outwards(inner))[::-1] for ident, inner in sorted(now.items())}


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _running(stacks: dict[int, list[FrameType]]) -> dict[Pid, tuple[int, list[FrameType]]]:
    """Whose code threads run: by the process the thread, and its frames from there on inwards."""
    found: dict[Pid, tuple[int, list[FrameType]]] = {}
    for ident, stack in stacks.items():
        # Not the innermost frame: one that is just being made or left by its thread must not be looked into.
        for place, frame in enumerate(stack[:-1]):
            if frame.f_code in _RUNNERS and stack[place + 1].f_code not in _WAITS:
                pid = _runs(frame.f_locals.get("self"))
                if pid is not None:
                    found[pid] = (ident, stack[place + 1 :])
    for pid in list(table.values()):
        if isinstance(pid, ThreadPid) and pid.thread_id in stacks:
            found[pid] = (pid.thread_id, stacks[pid.thread_id])
    return found


def _runs(owner: Any) -> Pid | None:
    return owner if isinstance(owner, Pid) else stand_in_of(owner)


def _process(
    pid: Pid, running: dict[Pid, tuple[int, list[FrameType]]], stacks: dict[int, list[FrameType]]
) -> Iterator[str]:
    try:
        yield f"  {pid}: {_facts(pid)}\n"
        if pid in running:
            ident, stack = running[pid]
            if isinstance(pid, ThreadPid):
                yield f"    is thread {_thread_name(ident)}, see there\n"
                return
            yield f"    on thread {_thread_name(ident)}:\n"
            yield from _lines(stack, "    ")
        else:
            yield from _task_lines(pid, stacks)
    except Exception as error:
        # Somebody's own repr or name; the others are still worth seeing.
        yield f"    (it cannot be seen: {type(error).__name__})\n"


def _facts(pid: Pid) -> str:
    actor = pid.actor
    runs = f" of class {type(actor).__name__}" if actor is not None else ""
    state = status(pid) if pid.alive else f"dead ({pid.exit_reason!r}), its code goes on"
    name = "" if pid.name is None else f", name {pid.name!r}"
    parent = "" if pid.parent is None else f", started by {pid.parent}"
    return f"{pid.kind}{runs}{name}, {state}, {pid.mailbox_length()} in its mailbox{parent}"


def _task_lines(pid: Pid, stacks: dict[int, list[FrameType]]) -> Iterator[str]:
    """Where the coroutines of a process are that runs as an asyncio task."""
    frames = task_frames(pid)
    if not frames:
        return
    for ident, stack in stacks.items():
        if frames[0] in stack:
            yield f"    its task runs on thread {_thread_name(ident)}:\n"
            yield from _lines(stack[stack.index(frames[0]) :], "    ")
            return
    yield "    its task waits:\n"
    yield from _lines(frames, "    ")


def _thread_lines(
    ident: int, stack: list[FrameType], running: dict[Pid, tuple[int, list[FrameType]]]
) -> Iterator[str]:
    owners = ", ".join(str(pid) for pid, (thread, _) in running.items() if thread == ident)
    runs = f", runs {owners}" if owners else ""
    yield f"  {_thread_name(ident)}{runs}:\n"
    yield from _lines(stack, "  ")


def _thread_name(ident: int) -> str:
    # Not threading.enumerate(), which takes a lock.
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # there is no public way
    return f"{ident}" if thread is None else f"{ident} {thread.name!r}"


def _lines(stack: list[FrameType], indent: str) -> Iterator[str]:
    frames = ((frame, frame.f_lineno) for frame in stack)
    for entry in traceback.StackSummary.extract(frames).format():
        for line in entry.splitlines():
            yield f"{indent}{line}\n"
