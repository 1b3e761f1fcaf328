"""Adaptive locks before simulated services: events in virtual time, no threads, the same on each run.

The *best* number of a service is the lowest at which its throughput is the highest: as many as it serves at
once. With fewer slots it idles, with more they only wait inside it, or are refused. A lock has found it when
its number is within 30% of that.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from resprout.throttle import Aimd, Gradient
from resprout.throttle.ledger.adaptive_limits import limit_of
from resprout.throttle.ledger.holds import Hold
from resprout.throttle.ledger.ledger import Ledger

Scatter = Callable[[random.Random], float]
SCATTERS: dict[str, Scatter] = {
    "regular": lambda chance: chance.uniform(0.95, 1.05),
    "uneven": lambda chance: chance.uniform(0.5, 1.5),
    "exponential": lambda chance: chance.expovariate(1.0),
}
REFUSAL = 0.02
"""How long the service needs to say no, as a part of a service time."""


@attrs.define
class Service:
    """Serves so many at once, in order; who finds all busy waits, as far as there is room, or is refused."""

    capacity: int
    scatter: str = "regular"
    room: float = math.inf
    mean: float = 1.0
    down: bool = False
    busy: int = 0
    queue: deque[Hold] = attrs.field(factory=deque)


@attrs.define
class Run:
    """What was seen of a run: for each hold that ended, the number of slots, and what was served by when."""

    slots: list[int] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    served: list[int] = attrs.field(factory=list)

    def found(self, best: int, start: int, end: int | None = None) -> float:
        """The share of samples in which the number is within 30% of the best."""
        part = self.slots[start:end]
        return sum([0.7 * best <= slots <= 1.3 * best for slots in part]) / len(part)

    def median(self, start: int) -> int:
        return sorted(self.slots[start:])[len(self.slots[start:]) // 2]

    def throughput(self, start: int) -> float:
        return (self.served[-1] - self.served[start]) / (self.times[-1] - self.times[start])


Script = Sequence[tuple[int, Callable[[Service], None]]]


def simulate(
    adaptive: Aimd | Gradient | None,
    slots: int,
    service: Service,
    samples: int,
    script: Script = (),
    clients: float = math.inf,
    seed: int = 1,
) -> Run:
    """Have clients that always want more go through a lock to a service, for so many samples."""
    chance = random.Random(seed)
    ledger = Ledger("simulated", slots)
    ledger.limit = None if adaptive is None else limit_of(adaptive, slots)
    ledger.adopt(0.0)
    nobody: Any = None
    ends: list[tuple[float, int, Hold]] = []
    run = Run()
    steps = deque(script)
    now = 0.0
    key = served = 0

    def serve(hold: Hold) -> None:
        service.busy += 1
        took = service.mean * SCATTERS[service.scatter](chance)
        heapq.heappush(ends, (now + took, hold.token, hold))

    while len(run.slots) < samples:
        while len(ledger.holders) < clients:
            key += 1
            hold = ledger.take(nobody, key, 1, now)
            if hold is None:
                break
            if service.down or (service.busy >= service.capacity and len(service.queue) >= service.room):
                hold.dropped()
                heapq.heappush(ends, (now + REFUSAL * service.mean, hold.token, hold))
            elif service.busy >= service.capacity:
                service.queue.append(hold)
            else:
                serve(hold)
        now, _, hold = heapq.heappop(ends)
        if hold.outcome == "success":
            service.busy -= 1
            served += 1
            while service.queue and service.busy < service.capacity:
                serve(service.queue.popleft())
        ledger.release(hold, now)
        run.slots.append(ledger.num_slots)
        run.times.append(now)
        run.served.append(served)
        while steps and len(run.slots) >= steps[0][0]:
            steps.popleft()[1](service)
    return run


def set_capacity(capacity: int) -> Callable[[Service], None]:
    def change(service: Service) -> None:
        service.capacity = capacity

    return change


def set_down(down: bool) -> Callable[[Service], None]:
    def change(service: Service) -> None:
        service.down = down

    return change


def set_mean(mean: float) -> Callable[[Service], None]:
    def change(service: Service) -> None:
        service.mean = mean

    return change


def bound(best: int, scatter: str) -> int:
    """How many samples a lock may need until it has found the number (again)."""
    return 40 * best + (3000 if scatter == "exponential" else 800)


ENOUGH = {"regular": 0.9, "uneven": 0.85, "exponential": 0.7}
"""The share of samples that are to be within 30% of the best, probes among them, once the number is found."""
EVERY_SERVICE = pytest.mark.parametrize("scatter", SCATTERS)
EVERY_CAPACITY = pytest.mark.parametrize("capacity", [5, 10, 100])
EVERY_END = pytest.mark.parametrize("full", ["queues", "refuses", "both"])
AFTERWARDS = 5000
WIDE = Gradient(max=1000)


def service(capacity: int, full: str, scatter: str) -> Service:
    """Make a service that queues, refuses, or queues for a while and then refuses, when it is full."""
    rooms = {"queues": math.inf, "refuses": 0, "both": max(1, capacity // 2)}
    return Service(capacity, scatter, rooms[full])


def assert_found(run: Run, best: int, since: int, scatter: str, enough: float | None = None) -> None:
    """From so many samples after ``since`` on, the number is the best one."""
    start = since + bound(best, scatter)
    assert len(run.slots) >= start + AFTERWARDS
    assert 0.7 * best <= run.median(start) <= 1.3 * best
    enough = ENOUGH[scatter] if enough is None else enough
    assert run.found(best, start) >= enough
    assert run.throughput(start) >= enough * best


@EVERY_CAPACITY
def test_what_is_called_best_is_where_the_throughput_stops_rising(capacity: int) -> None:
    def throughput(slots: int) -> float:
        return simulate(None, slots, Service(capacity), 40 * capacity).throughput(10 * capacity)

    most = throughput(3 * capacity)
    assert throughput(capacity) == pytest.approx(most, rel=0.05)
    assert throughput(int(0.7 * capacity)) < 0.8 * most


@EVERY_SERVICE
@EVERY_END
@EVERY_CAPACITY
class TestGradient:
    """A gradient lock before each kind of service."""

    def test_it_finds_the_best_number(self, capacity: int, full: str, scatter: str) -> None:
        samples = bound(capacity, scatter) + AFTERWARDS
        run = simulate(WIDE, 10, service(capacity, full, scatter), samples)
        assert_found(run, capacity, 0, scatter)
        assert max(run.slots) <= max(20, 3 * capacity)

    def test_it_finds_a_capacity_that_doubles(self, capacity: int, full: str, scatter: str) -> None:
        change = 1000
        samples = change + bound(2 * capacity, scatter) + AFTERWARDS
        script = [(change, set_capacity(2 * capacity))]
        run = simulate(WIDE, capacity, service(capacity, full, scatter), samples, script)
        assert_found(run, 2 * capacity, change, scatter)

    def test_it_finds_a_capacity_that_halves(self, capacity: int, full: str, scatter: str) -> None:
        change = 1000
        samples = change + bound(capacity, scatter) + AFTERWARDS
        script = [(change, set_capacity(capacity))]
        run = simulate(WIDE, 2 * capacity, service(2 * capacity, full, scatter), samples, script)
        assert_found(run, capacity, change, scatter)

    def test_it_keeps_the_number_while_the_service_becomes_slower(
        self, capacity: int, full: str, scatter: str
    ) -> None:
        begin = bound(capacity, scatter)
        every = max(40, capacity)
        script = [(begin + every * step, set_mean(1 + step / 100)) for step in range(101)]
        samples = begin + 100 * every + AFTERWARDS
        run = simulate(WIDE, capacity, service(capacity, full, scatter), samples, script)
        assert run.found(capacity, begin) >= ENOUGH[scatter]

    def test_it_keeps_the_number_while_the_service_becomes_faster(
        self, capacity: int, full: str, scatter: str
    ) -> None:
        begin = bound(capacity, scatter)
        every = max(40, capacity)
        script = [(begin + every * step, set_mean(1 / (1 + step / 100))) for step in range(101)]
        samples = begin + 100 * every + AFTERWARDS
        run = simulate(WIDE, capacity, service(capacity, full, scatter), samples, script)
        assert run.found(capacity, begin) >= ENOUGH[scatter]

    def test_it_comes_back_after_an_outage(self, capacity: int, full: str, scatter: str) -> None:
        begin, end = 2000, 2400
        samples = end + bound(capacity, scatter) + AFTERWARDS
        script = [(begin, set_down(True)), (end, set_down(False))]
        run = simulate(WIDE, capacity, service(capacity, full, scatter), samples, script)
        assert min(run.slots[begin:end]) == 1
        assert_found(run, capacity, end, scatter)

    def test_it_comes_back_after_a_time_of_very_slow_work(
        self, capacity: int, full: str, scatter: str
    ) -> None:
        begin, end = 2000, 2000 + 3 * capacity
        samples = end + bound(capacity, scatter) + AFTERWARDS
        script = [(begin, set_mean(50.0)), (end, set_mean(1.0))]
        run = simulate(WIDE, capacity, service(capacity, full, scatter), samples, script)
        assert_found(run, capacity, end, scatter)


@pytest.mark.parametrize("slots", [10, 1000])
def test_a_gradient_of_up_to_1000_comes_down_to_the_10_that_a_service_bears(slots: int) -> None:
    """The latency of 1000 in the queue is never taken for the usual one."""
    run = simulate(WIDE, slots, Service(10), 12000)
    assert run.found(10, 7000) >= 0.9
    assert max(run.slots) == max(slots, 20)


def test_a_gradient_whose_min_is_above_the_capacity_stays_near_it() -> None:
    run = simulate(Gradient(min=20, max=1000), 20, Service(10), 8000)
    assert (min(run.slots), max(run.slots[1000:])) == (20, pytest.approx(23, abs=2))


def test_a_step_of_the_service_time_alone_leaves_the_number_as_it_was() -> None:
    run = simulate(WIDE, 10, Service(10), 12000, [(3000, set_mean(4.0)), (7000, set_mean(0.5))])
    assert run.found(10, 1500) >= 0.9


def test_few_clients_move_nothing() -> None:
    for adaptive in (Gradient(max=50), Aimd(max=50, timeout=0.5)):
        run = simulate(adaptive, 20, Service(5), 3000, clients=9)
        assert set(run.slots) == {20}


@EVERY_SERVICE
@EVERY_CAPACITY
class TestAimd:
    """An AIMD lock before a service that refuses, also after a short queue; the best is what it takes."""

    @pytest.mark.parametrize("room", [0, 0.2])
    def test_it_finds_the_best_number(self, capacity: int, room: float, scatter: str) -> None:
        where = Service(capacity, scatter, int(room * capacity))
        run = simulate(Aimd(max=1000, timeout=1e9), 10, where, bound(capacity, scatter) + AFTERWARDS)
        assert_found(run, capacity, 0, scatter)

    def test_it_follows_a_capacity_that_halves_and_doubles(self, capacity: int, scatter: str) -> None:
        bounds = bound(2 * capacity, scatter) + AFTERWARDS
        script = [(1000, set_capacity(capacity)), (1000 + bounds, set_capacity(2 * capacity))]
        where = Service(2 * capacity, scatter, 0)
        run = simulate(Aimd(max=1000, timeout=1e9), 2 * capacity, where, 1000 + 2 * bounds, script)
        assert run.found(capacity, 1000 + bound(capacity, scatter), 1000 + bounds) >= 0.9
        assert_found(run, 2 * capacity, 1000 + bounds, scatter)

    def test_it_comes_back_after_an_outage(self, capacity: int, scatter: str) -> None:
        script = [(1000, set_down(True)), (1400, set_down(False))]
        samples = 1400 + bound(capacity, scatter) + AFTERWARDS
        run = simulate(Aimd(max=1000, timeout=1e9), capacity, Service(capacity, scatter, 0), samples, script)
        assert min(run.slots[1000:1400]) == 1
        assert_found(run, capacity, 1400, scatter)


@EVERY_CAPACITY
def test_aimd_finds_where_work_takes_longer_than_its_timeout(capacity: int) -> None:
    run = simulate(Aimd(max=1000, timeout=1.25), 10, Service(capacity), bound(capacity, "regular") + 5000)
    assert_found(run, capacity, 0, "regular", enough=0.85)
