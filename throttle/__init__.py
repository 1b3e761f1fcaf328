"""Named locks that survive their own crash: at most so many at work at once, in order, whoever dies.

::

    from resprout import throttle

    throttle.new("database", 2)
    throttle.run("database", write_order, order)        # here
    throttle.execute("database", write_order, order)    # elsewhere, for a Future
    with throttle.slot("database"): ...                 # or: async with

How it is built: ``ledger`` decides (pure), ``lock`` is what runs: a combiner that lets one step at a time in,
who waits, who works, who is told of deaths, and the supervised process. ``acquire``, ``slot`` and ``execute``
are what callers use, ``admin`` what operators use.
"""

from . import ex_sleeplock
from .acquire import aacquire, aattempt, acquire, attempt, release
from .admin import (
    holders,
    lock_info,
    lock_state,
    locks,
    new,
    pause,
    resize,
    resume,
    stop_lock,
    waiters,
)
from .blocks import arun, limited, run
from .drain import DrainReport, drain
from .execute import aexecute, execute
from .ledger.adaptive import Aimd, Gradient
from .ledger.lost import EngineDown, LockLost
from .ledger.rate import Rate
from .ledger.values import Grant, Holder, LockInfo, LockState, Waiter
from .lock.server import child_spec
from .lock_order import LockOrderError, lock_order
from .slot import slot

__all__ = [
    "Aimd",
    "DrainReport",
    "EngineDown",
    "Gradient",
    "Grant",
    "Holder",
    "LockInfo",
    "LockLost",
    "LockOrderError",
    "LockState",
    "Rate",
    "Waiter",
    "aacquire",
    "aattempt",
    "acquire",
    "aexecute",
    "arun",
    "attempt",
    "child_spec",
    "drain",
    "ex_sleeplock",
    "execute",
    "holders",
    "limited",
    "lock_info",
    "lock_order",
    "lock_state",
    "locks",
    "new",
    "pause",
    "release",
    "resize",
    "resume",
    "run",
    "slot",
    "stop_lock",
    "waiters",
]
