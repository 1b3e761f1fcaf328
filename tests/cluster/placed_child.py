"""A placed child that uses what an engine keeps, through its parent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from resprout import ChildSpec, GenServer, Pid, process
from resprout.supervision.placement.launching import stop_servers


@contextmanager
def placed_child(server: type[GenServer], supervised: Callable[..., Pid]) -> Iterator[Pid]:
    """One of this class, named `placed`, which nobody starts again."""
    start = (server.start_link, (), {"name": "placed"})
    supervisor = supervised(ChildSpec("it", start, placement="process", restart="temporary"))
    pid = process.whereis("placed")
    assert pid is not None
    yield pid
    if supervisor.alive:
        GenServer.stop(supervisor, "shutdown")
    stop_servers()


def ask(pid: Pid, *message: Any) -> Any:
    """What it answers."""
    return GenServer.call(pid, message, 30.0)
