"""A lock for each host, made when that is first met: so many requests at once, and so many a second.

Elixir's idea: what guards a resource is a process, so it can be started when the resource turns up.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from resprout import AlreadyStarted, DynamicSupervisor, throttle

SUPERVISOR = "hosts"
NUM_SLOTS = 2
RATE = throttle.Rate(per_second=25, burst=5)
"""Five at once to begin with, then 25 a second: so up to 30 within a second, once."""


async def lock_of(url: str) -> str:
    """The name of the lock of a URL's host.

    Raises:
        ValueError: It is no URL; there is no such port, say.
    """
    host = urlsplit(url)
    name = f"host {host.hostname}:{host.port or host.scheme}"
    try:
        await DynamicSupervisor.astart_child(SUPERVISOR, throttle.child_spec(name, NUM_SLOTS, rate=RATE))
    except AlreadyStarted:
        pass
    return name
