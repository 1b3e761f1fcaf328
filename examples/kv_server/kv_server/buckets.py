"""Buckets: an Agent each, a temporary child of a dynamic supervisor, found by its name in a registry.

Elixir's idea: a piece of state that is not to be lost with others is a process of its own, and its name is a
key that lives exactly as long as it does. So a crash leaves nothing behind that had to be cleaned up.
"""

from __future__ import annotations

from resprout import Agent, AlreadyStarted, ChildSpec, DynamicSupervisor, NotFound, Pid, Registry, Via

REGISTRY = "buckets"
SUPERVISOR = "bucket_supervisor"


def create(name: str) -> None:
    """Starts an empty bucket, unless there is one of that name.

    It is temporary: after a crash nobody starts it again, and its name goes with it.
    """
    start = (Agent.start_link, (dict,), {"name": Via(REGISTRY, name)})
    try:
        DynamicSupervisor.start_child(SUPERVISOR, ChildSpec("bucket", start, restart="temporary"))
    except AlreadyStarted:
        return


def get(name: str, key: str) -> str | None:
    """The value of a key, None if it has none; raises NotFound where there is no such bucket."""
    return Agent.get(find(name), lambda pairs: pairs.get(key))


def put(name: str, key: str, value: str) -> None:
    """Gives a key a value; raises NotFound where there is no such bucket."""
    Agent.update(find(name), lambda pairs: {**pairs, key: value})


def delete(name: str, key: str) -> str | None:
    """Forgets a key, and gives its value; raises NotFound where there is no such bucket."""
    return Agent.get_and_update(find(name), lambda pairs: (pairs.pop(key, None), pairs))


def find(name: str) -> Pid:
    """The bucket of that name; raises NotFound where there is none."""
    bucket = Registry.whereis(REGISTRY, name)
    if bucket is None:
        raise NotFound(f"no bucket is named {name!r}")
    return bucket
