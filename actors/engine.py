"""The side door for resprout's own rooms: parts of the runtime that a lock or a registry is built from, and
users never need.

Everything else they take from ``resprout.actors``, as users do.
"""

from .primitives.atomic import (
    FREE_THREADED,
    copied,
    counter,
    increase,
    remove,
    remove_all,
    remove_empty,
    replace,
)
from .primitives.fork_locks import lock
from .processes import elsewhere
from .processes.ambient import TaskPid, current, former_of
from .processes.death_waits import Deaths
from .processes.elsewhere import why_not_here
from .processes.foreign import stand_in
from .processes.mailbox import Cast, System, Tick
from .processes.offloaded import Leaving, call, owner, stay
from .processes.resolving import nobody, not_a_pid
from .reports.bursts import Bursts, Summary
from .reports.other_loops import explain
from .runtime.call import Call
from .runtime.clock import HeldClock
from .runtime.forked import ADVICE as FORK_ADVICE
from .runtime.forked import first_use, remember, was_there
from .runtime.kernel import Alarm, Kernel, kernel
from .runtime.loop import home_of
from .runtime.loop_bells import Bells, bells_of, finish, in_step_of
from .runtime.loop_watch import watch_loop, watch_running_loop
from .runtime.parking import LoopBell, Waiter, check_timeout, park
from .runtime.pool import Worker
from .runtime.see_through import hidden_task, see_through
from .runtime.thread_state import (
    ThreadState,
    check_alive,
    current_if_any,
    dead_but_running,
    local,
    task_of,
    tasks,
)
from .servers.asking import ask_or_undo
from .servers.bounded import BoundedMixin, has_room, offer, when_room
from .servers.dispatch import request_stop
from .servers.inline import InlinePid
from .servers.library_server import LibraryServer
from .servers.loop_ends import closing
from .servers.runnable import RunnablePid
from .servers.serving import departed
from .system.isolation import Snapshot, ask_to_stop, at_work, take_leave_of
from .system.shutdown import end_interpreter
from .system.stack_dump import stack_of
from .system.sys import ask_later
from .tasks.spawned import spawn, spawn_at
from .tasks.task import end_task, work_for
from .tasks.task_stream import AsyncResults, make_astream
from .vocabulary.child_spec import split_fields, stays_here, without_arguments
from .vocabulary.engine_names import check_engine, check_without_engine, engine_named
from .vocabulary.errors import brief
from .vocabulary.identity import Identity
from .vocabulary.messages import NoReplyWithEvents, Notice, OkWithOptions, ReplyWithEvents, TaskReply
from .vocabulary.portable import crossing, printed
from .vocabulary.pykka_types import ActorStop, constructed_by
from .vocabulary.reasons import LOOP_CLOSED, in_words, is_loop_closed
from .vocabulary.texts import printable, text_shown

__all__ = [
    "FORK_ADVICE",
    "FREE_THREADED",
    "LOOP_CLOSED",
    "ActorStop",
    "Alarm",
    "AsyncResults",
    "Bells",
    "BoundedMixin",
    "Bursts",
    "Call",
    "Cast",
    "Deaths",
    "HeldClock",
    "Identity",
    "InlinePid",
    "Kernel",
    "Leaving",
    "LibraryServer",
    "LoopBell",
    "NoReplyWithEvents",
    "Notice",
    "OkWithOptions",
    "ReplyWithEvents",
    "RunnablePid",
    "Snapshot",
    "Summary",
    "System",
    "TaskPid",
    "TaskReply",
    "ThreadState",
    "Tick",
    "Waiter",
    "Worker",
    "ask_later",
    "ask_or_undo",
    "ask_to_stop",
    "at_work",
    "bells_of",
    "brief",
    "call",
    "check_alive",
    "check_engine",
    "check_timeout",
    "check_without_engine",
    "closing",
    "constructed_by",
    "copied",
    "counter",
    "crossing",
    "current",
    "current_if_any",
    "dead_but_running",
    "departed",
    "elsewhere",
    "end_interpreter",
    "end_task",
    "engine_named",
    "explain",
    "finish",
    "first_use",
    "former_of",
    "has_room",
    "hidden_task",
    "home_of",
    "in_step_of",
    "in_words",
    "increase",
    "is_loop_closed",
    "kernel",
    "local",
    "lock",
    "make_astream",
    "nobody",
    "not_a_pid",
    "offer",
    "owner",
    "park",
    "printable",
    "printed",
    "remember",
    "remove",
    "remove_all",
    "remove_empty",
    "replace",
    "request_stop",
    "see_through",
    "spawn",
    "spawn_at",
    "split_fields",
    "stack_of",
    "stand_in",
    "stay",
    "stays_here",
    "take_leave_of",
    "task_of",
    "tasks",
    "text_shown",
    "was_there",
    "watch_loop",
    "watch_running_loop",
    "when_room",
    "why_not_here",
    "without_arguments",
    "work_for",
]
