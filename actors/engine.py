"""The side door for resprout's own rooms: parts of the runtime that a lock or a registry is built from, and
users never need.

Everything else they take from ``resprout.actors``, as users do.
"""

from .atomic import remove, remove_all, remove_empty, replace
from .bells import Bells, bells_of, finish, in_step_of
from .bursts import Bursts, Summary
from .context import current, former_of
from .forks import lock
from .kernel import Alarm, Kernel, kernel
from .local import ThreadState, local, peek, task_of
from .mailbox import Cast
from .pool import Worker
from .waiting import LoopBell, Waiter, check_timeout, park

__all__ = [
    "Alarm",
    "Bells",
    "Bursts",
    "Cast",
    "Kernel",
    "LoopBell",
    "Summary",
    "ThreadState",
    "Waiter",
    "Worker",
    "bells_of",
    "check_timeout",
    "current",
    "finish",
    "former_of",
    "in_step_of",
    "kernel",
    "local",
    "lock",
    "park",
    "peek",
    "remove",
    "remove_all",
    "remove_empty",
    "replace",
    "task_of",
]
