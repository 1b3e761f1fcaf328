"""32 threads fight for 10 keys while they are killed at random: never two owners, never a key left behind."""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from resprout.actors import AlreadyRegistered, Pid, ServerExit, process
from resprout.registry import Registry
from resprout.registry.table import find

from ..waiting import down_of

Start = Callable[..., Any]
WATCHDOG = 60.0
THREADS = 32
DEATHS = 10


@attrs.frozen
class Slow:
    """A key whose hash and comparison are Python code, in which threads take turns."""

    number: int


@pytest.fixture
def switching(seconds: float) -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    yield
    sys.setswitchinterval(before)


class Fight:
    """What the fighters see.

    Attributes:
        crowns: who believes to own a key: entered after the registration, left before it is given up.
    """

    def __init__(self, registry: str, keys: list[Any], rounds: int) -> None:
        self.registry = registry
        self.keys = keys
        self.crowns: list[dict[Pid, None]] = [{} for _ in keys]
        self.rounds = itertools.count()
        self.limit = rounds
        self.fighters: dict[int, Pid] = {}
        self.violations: list[Any] = []
        self.refs: dict[int, Any] = {}
        self.deaths = 0
        self.wins = 0
        self.done = threading.Semaphore(0)
        self.leave = threading.Event()

    def fighter(self, number: int) -> None:
        choose = random.Random(number)
        # On, until there were enough deaths: a thread may do most of the rounds before the others have begun.
        while next(self.rounds) < self.limit or self.deaths <= DEATHS:
            try:
                self.fighters[number] = process.current()
                self.attempt(choose)
            except ServerExit:
                # Killed by another; the thread goes on as a new process.
                self.deaths += 1
        self.fighters[number] = self.living()
        self.done.release()
        self.leave.wait(WATCHDOG)

    def living(self) -> Pid:
        while True:
            try:
                return process.current()
            except ServerExit:
                self.deaths += 1

    def attempt(self, choose: random.Random) -> None:
        which = choose.randrange(len(self.keys))
        key, crown = self.keys[which], self.crowns[which]
        try:
            me = Registry.register(self.registry, key)
        except AlreadyRegistered as taken:
            self.dethrone(taken.pid, key, crown, choose)
            return
        self.wins += 1
        crown[me] = None
        # Believed to own it, and alive after that: an owner, at the moment of the first look.
        rivals = [pid for pid in list(crown) if pid is not me]
        rivals = [pid for pid in rivals if pid.alive]
        if rivals and me.alive:
            self.violations.append((key, me, rivals))
        if choose.random() < 0.9:
            crown.pop(me, None)
            Registry.unregister(self.registry, key)

    def dethrone(self, owner: Pid, key: Any, crown: dict[Pid, None], choose: random.Random) -> None:
        """Somebody has kept the key: give it up if that is oneself, else kill the owner, sometimes."""
        if owner is process.current():
            crown.pop(owner, None)
            Registry.unregister(self.registry, key)
        elif choose.random() < 0.1:
            process.exit(owner, "kill")


PLAIN = list(range(10))
SLOW = [Slow(number) for number in range(10)]


@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize(
    ("seconds", "keys", "rounds", "partitions"),
    [
        pytest.param(5e-3, PLAIN, 200_000, 1, id="plain keys"),
        pytest.param(1e-6, PLAIN, 20_000, 1, id="plain keys, hectic"),
        pytest.param(5e-3, SLOW, 50_000, 3, id="keys with code"),
        pytest.param(1e-6, SLOW, 10_000, 3, id="keys with code, hectic"),
    ],
)
def test_a_fight(
    start_registry: Start, seconds: float, keys: list[Any], rounds: int, partitions: int
) -> None:
    name = start_registry(partitions=partitions)
    fight = Fight(name, keys, rounds)
    threads = [threading.Thread(target=fight.fighter, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert fight.done.acquire(timeout=WATCHDOG)
    refs = [process.monitor(pid) for pid in fight.fighters.values()]
    fight.leave.set()
    for thread in threads:
        thread.join()
    for ref in refs:
        down_of(ref)
    assert fight.violations == []
    assert fight.wins > rounds / 10
    assert fight.deaths > DEATHS
    assert Registry.select(name) == []
    assert Registry.count(name) == 0
    # Nothing is left in the table itself, of those either who died when nobody looked.
    table = find(name)
    assert len(table.index) == 0
    assert table.keyring.chains == {}
    assert table.owners == {}
    for key in keys:
        Registry.register(name, key)
        Registry.unregister(name, key)
