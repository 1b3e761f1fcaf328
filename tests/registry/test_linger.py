"""With `linger`, the key of a killed owner whose code still runs stays taken until that code has left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import AlreadyRegistered, Killed, Pid, process
from resprout.registry import Registry

from ..waiting import down_of

Start = Callable[..., Any]
WATCHDOG = 30.0


class Straggler:
    """A process that is inside a function until it is let go."""

    def __init__(self, registry: str) -> None:
        self.inside, self.go, self.left = threading.Event(), threading.Event(), threading.Event()
        self.met: list[BaseException] = []

        def work() -> None:
            Registry.register(registry, "key")
            self.inside.set()
            self.go.wait(WATCHDOG)
            try:
                Registry.register(registry, "another")
            except Killed as killed:
                self.met.append(killed)
                raise

        self.pid, self.ref = process.spawn_monitor(work)
        self.pid.attach(self)
        assert self.inside.wait(WATCHDOG)

    def owner_died(self, pid: Pid, reason: object) -> None:
        pass

    def owner_left(self, pid: Pid) -> None:
        self.left.set()

    def kill(self) -> None:
        process.exit(self.pid, "kill")
        down_of(self.ref)

    def let_go(self) -> None:
        self.go.set()
        assert self.left.wait(WATCHDOG)


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_lingering_key_is_taken_but_not_shown(start_registry: Start, partitions: int) -> None:
    name = start_registry(linger=True, partitions=partitions)
    straggler = Straggler(name)
    straggler.kill()
    assert Registry.lookup(name, "key") == []
    assert Registry.whereis(name, "key") is None
    assert Registry.keys(name, straggler.pid) == []
    assert Registry.select(name) == []
    assert Registry.count(name) == 0
    assert Registry.statistics(name).lingering == 1
    with pytest.raises(AlreadyRegistered) as caught:
        Registry.register(name, "key")
    assert caught.value.pid is straggler.pid
    straggler.let_go()
    assert straggler.met
    me = Registry.register(name, "key")
    assert Registry.lookup(name, "key") == [(me, None)]
    assert Registry.whereis(name, "another") is None
    assert Registry.statistics(name).lingering == 0


def test_without_linger_the_key_is_free_at_once(registry: str) -> None:
    straggler = Straggler(registry)
    straggler.kill()
    me = Registry.register(registry, "key")
    straggler.let_go()
    # The former owner, leaving late, does not take it along.
    assert Registry.lookup(registry, "key") == [(me, None)]
    assert Registry.whereis(registry, "another") is None


def test_an_owner_with_no_code_running_does_not_linger(
    start_registry: Start, owner: Start, end: Start
) -> None:
    name = start_registry(linger=True)
    for blocking in (False, True):
        pid = owner(blocking=blocking)
        pid.call(lambda: Registry.register(name, "key"))
        end(pid)
        Registry.register(name, "key")
        Registry.unregister(name, "key")


def test_a_lingering_key_survives_a_restart_of_the_registry(start_registry: Start, end: Start) -> None:
    name = start_registry(linger=True)
    straggler = Straggler(name)
    straggler.kill()
    end(process.whereis(name))
    start_registry(name=name, linger=True)
    with pytest.raises(AlreadyRegistered):
        Registry.register(name, "key")
    straggler.let_go()
    Registry.register(name, "key")
