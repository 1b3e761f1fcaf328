"""Everything that can fail does so, at random: kills, stops, cuts, a network that swallows, crashes of a
server; then what the holders have noted is held against a lock that does one thing at a time.

A run is told by its seed: RESPROUT_SEED tries it again, and RESPROUT_ROUNDS has that many times more faults.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from ..waiting import until_elsewhere
from .crowd import SLOTS, Crowd
from .judging import Stop, intervals, why_not_linearizable
from .kinds import KINDS
from .proxy import Proxy
from .servers import Server, own_server

pytestmark = pytest.mark.slow
TTL = 1.0
FAULTS = 14 * int(os.environ.get("RESPROUT_ROUNDS", "1"))
SEED = int(os.environ.get("RESPROUT_SEED", "0")) or random.SystemRandom().getrandbits(32)


@attrs.define
class Storm:
    """What happens to a crowd."""

    server: Server
    crowd: Crowd
    proxy: Proxy
    numbers: random.Random
    stops: list[Stop] = attrs.Factory(list)
    _later: list[tuple[float, Callable[[], None]]] = attrs.Factory(list)
    _stopped: str | None = None
    _swallowed: bool = False
    _cut: bool = False
    _next: list[Callable[[], None]] = attrs.Factory(list)
    _by_proxy: set[str] = attrs.Factory(set)

    def begin(self) -> None:
        for by_proxy in (False, True, False, True):
            self._start(by_proxy)

    def _start(self, by_proxy: bool) -> None:
        name = self.crowd.start(self.proxy.way(self.server.url) if by_proxy else None)
        if by_proxy:
            self._by_proxy.add(name)

    def _one(self, *, by_proxy: bool = True) -> str:
        """Any program that runs."""
        names = set(self.crowd.running) - {self._stopped}
        return self.numbers.choice(sorted(names if by_proxy else names - self._by_proxy))

    def kill(self) -> None:
        name = self._one()
        # A new one needs a way to the server.
        by_proxy = name in self._by_proxy and not self._swallowed
        self.crowd.kill(name)
        self._start(by_proxy)

    def stop(self) -> None:
        if self._stopped is not None:
            return
        name = self._stopped = self._one(by_proxy=False)
        began = time.monotonic()
        self.crowd.running[name].signal(signal.SIGSTOP)

        def go_on() -> None:
            # Noted first: what it notes itself comes behind.
            self._stopped = None
            self.stops.append(Stop(name, began, time.monotonic()))
            self.crowd.running[name].signal(signal.SIGCONT)

        self._later.append((time.monotonic() + self.numbers.choice([0.3, 1.5]) * TTL, go_on))

    def swallow(self) -> None:
        if self._swallowed:
            return
        self._swallowed = True
        began = time.monotonic()
        self.proxy.swallow()

        def carry() -> None:
            self._swallowed = False
            if self._cut:
                # For longer than its grace; a grant that was on its way to it may be somebody else's by now.
                self.stops += [Stop(name, began, time.monotonic()) for name in self._by_proxy]
            self._cut = False
            self.proxy.carry()

        self._later.append((time.monotonic() + self.numbers.choice([0.3, 1.5]) * TTL, carry))

    def cut(self) -> None:
        self._cut = self._swallowed
        self.server.cut()

    def crash(self) -> None:
        self.server.crash()
        self.server.start()

    def kill_lock(self) -> None:
        self.crowd.tell(self._one(), "kill db")

    def kill_link(self) -> None:
        self.crowd.tell(self._one(), "kill shared")

    def blow(self) -> str:
        """Do one of these, each as often as the others; which one."""
        if not self._next:
            all_there_are = [self.kill, self.stop, self.swallow, self.cut, self.crash]
            self._next = [*all_there_are, self.kill_lock, self.kill_link]
            self.numbers.shuffle(self._next)
        fault = self._next.pop()
        fault()
        self.end_what_is_due(time.monotonic())
        return fault.__name__

    def end_what_is_due(self, now: float) -> None:
        due = [each for each in self._later if each[0] <= now]
        self._later = [each for each in self._later if each not in due]
        for _, end in due:
            end()

    def abate(self) -> None:
        """Have everything be well again."""
        for due, _ in sorted(self._later, key=lambda each: each[0]):
            # For so long a program is stopped, or its network swallows: that is what is tried.
            time.sleep(max(0.0, due - time.monotonic()))
            self.end_what_is_due(time.monotonic())
        assert not self._later


@pytest.fixture(params=KINDS)
def storm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storm]:
    server = own_server(str(request.param))
    proxy = Proxy(server.port)
    crowd = Crowd(server.url, tmp_path, ttl=TTL, grace=0.3)
    yield Storm(server, crowd, proxy, random.Random(SEED))
    crowd.stop()
    proxy.end()
    server.remove()


def test_whatever_fails_the_history_of_the_lock_is_that_of_one_that_does_one_thing_at_a_time(
    storm: Storm, capsys: pytest.CaptureFixture[str]
) -> None:
    storm.begin()
    done = []
    for _ in range(FAULTS):
        storm.crowd.await_more(storm.numbers.choice([1, 20]))
        done.append(storm.blow())
    storm.abate()
    for name in list(storm.crowd.running):
        before = storm.crowd.grants_of(name)
        until_elsewhere(lambda: storm.crowd.grants_of(name) > before + 8)  # noqa: B023  # at once
    storm.crowd.stop()
    crowd = storm.crowd
    found = intervals(crowd.folder.iterdir(), crowd.ended, time.monotonic(), storm.stops)
    assert why_not_linearizable(found, SLOTS) is None, f"RESPROUT_SEED={SEED}, {done}"
    with capsys.disabled():
        sys.stdout.write(f"\n{len(found)} grants, RESPROUT_SEED={SEED}: {', '.join(done)} ")
