"""For tests of code that uses resprout: each in a runtime of its own, deaths and restarts awaited, time moved
by hand.

Nothing here is for production code. `docs/testing.md` has the guide; with pytest, the fixture is called
`resprout`.

>>> from resprout import Agent, testing
>>> with testing.isolated() as region:
...     first = region.start_supervised(Agent.child_spec(lambda: 0, id="counter", name="counter"))
...     crashed = testing.crash("counter")
...     second = testing.await_restart("counter")
...     (first is crashed, second is first, second.alive)
(True, False, True)
>>> second.alive
False
"""

from __future__ import annotations

from ..supervision import NotQuiet, quiesce
from .manual_clock import ManualClock, clock
from .region import LeakError, Region, isolated, start_supervised, stop_supervised
from .waits import (
    InjectedCrash,
    NotInTime,
    aawait_down,
    aawait_restart,
    aeventually,
    await_down,
    await_restart,
    crash,
    eventually,
)

__all__ = [
    "InjectedCrash",
    "LeakError",
    "ManualClock",
    "NotInTime",
    "NotQuiet",
    "Region",
    "aawait_down",
    "aawait_restart",
    "aeventually",
    "await_down",
    "await_restart",
    "clock",
    "crash",
    "eventually",
    "isolated",
    "quiesce",
    "start_supervised",
    "stop_supervised",
]
