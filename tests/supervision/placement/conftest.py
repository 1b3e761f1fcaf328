"""What placed children are started with, and the check that none of them is left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # where the children, too, find placed_servers

from resprout.actors import BRUTAL_KILL, ChildSpec, GenServer, Pid, process

from ...waiting import down_of, until


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    from resprout.supervision.placement.channel import channels
    from resprout.supervision.placement.hub import hub

    assert not [channel for channel in channels if not channel.gone.is_set()]
    yield
    until(lambda: all(channel.gone.is_set() for channel in channels))
    until(lambda: not hub._running)
    assert not [channel for channel in channels if at_work(channel.popen.pid)]
    channels.clear()


def at_work(number: int) -> bool:
    """Whether there is an OS process of that number that can still do anything."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{number}/stat")
    try:
        # One that nobody has waited for: the child of a fork server that was killed.
        return stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        # Gone just now, or a system without such files.
        return not Path("/proc/self").exists()
    except ProcessLookupError:
        return False


@pytest.fixture(scope="package", autouse=True)
def fork_servers_end() -> Iterator[None]:
    from resprout.supervision.placement.launching import stop_servers

    yield
    stop_servers()


@pytest.fixture
def placed(supervised: Callable[..., Pid]) -> Callable[..., Pid]:
    """Start a supervisor with one placed child, and return what stands for that."""

    def start(kind: Any, arg: Any = None, *, name: Any = "placed", **fields: Any) -> Pid:
        start = (kind.start_link, (arg,), {"name": name}) if isinstance(kind, type) else kind
        fields = {"placement": "process", "shutdown": 30.0, **fields}
        supervised(ChildSpec("it", start, **fields))
        found = process.whereis(name)
        assert found is not None
        return found

    return start


def os_pid(pid: Any) -> int:
    """The OS process of a placed server."""
    found: int = GenServer.call(pid, ("os",))
    return found


def reason_after(pid: Pid, act: Callable[[], object]) -> object:
    """What a placed server ends with, when something has been done."""
    ref = process.monitor(pid)
    act()
    return down_of(ref).reason


__all__ = ["BRUTAL_KILL", "os_pid", "reason_after"]
