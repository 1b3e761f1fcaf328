"""The side door for resprout's own rooms: parts of the runtime that a lock or a registry is built from, and
users never need.

Everything else they take from ``resprout.actors``, as users do.
"""

from .atomic import FREE_THREADED, copied, counter, increase, remove, remove_all, remove_empty, replace
from .bells import Bells, bells_of, finish, in_step_of
from .bounded import has_room, offer, when_room
from .bridge import constructed_by
from .bursts import Bursts, Summary
from .child_spec import split_fields, without_arguments
from .clock import HeldClock
from .context import current, former_of
from .deaths import Deaths
from .forked import ADVICE as FORK_ADVICE
from .forked import first_use, remember, was_there
from .forks import lock
from .isolation import Snapshot, ask_to_stop, at_work, take_leave_of
from .kernel import Alarm, Kernel, kernel
from .library_server import LibraryServer
from .local import ThreadState, local, look, peek, task_of, tasks, unmet
from .mailbox import Cast
from .messages import Notice
from .offloaded import Leaving, call, owner, stay
from .pool import Worker
from .resolving import nobody
from .task import work_for
from .waiting import LoopBell, Waiter, check_timeout, park

__all__ = [
    "FORK_ADVICE",
    "FREE_THREADED",
    "Alarm",
    "Bells",
    "Bursts",
    "Cast",
    "Deaths",
    "HeldClock",
    "Kernel",
    "Leaving",
    "LibraryServer",
    "LoopBell",
    "Notice",
    "Snapshot",
    "Summary",
    "ThreadState",
    "Waiter",
    "Worker",
    "ask_to_stop",
    "at_work",
    "bells_of",
    "call",
    "check_timeout",
    "constructed_by",
    "copied",
    "counter",
    "current",
    "finish",
    "first_use",
    "former_of",
    "has_room",
    "in_step_of",
    "increase",
    "kernel",
    "local",
    "lock",
    "look",
    "nobody",
    "offer",
    "owner",
    "park",
    "peek",
    "remember",
    "remove",
    "remove_all",
    "remove_empty",
    "replace",
    "split_fields",
    "stay",
    "take_leave_of",
    "task_of",
    "tasks",
    "unmet",
    "was_there",
    "when_room",
    "without_arguments",
    "work_for",
]
