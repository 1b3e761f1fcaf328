"""Stages that are killed at random: no more is lost than they held, nothing comes twice, nothing stops."""

from __future__ import annotations

import itertools
import queue
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from resprout import ChildSpec, Down, NoReply, Ok, Pid, Supervisor, process, stages
from resprout.stages import Consumer, ProducerConsumer, from_iterable

PATIENCE = 60.0
MOST = 20


class Worker(Consumer):
    def init(self, arg: Any) -> Any:
        seen, producer, options = arg
        return Ok(seen, subscribe_to=[(producer, {"max_demand": MOST, **options})])

    def handle_events(self, events: list[int], from_: Any, seen: Any) -> Any:
        for event in events:
            seen.put(event)
        return NoReply(seen)


class QuickWorker(Worker):
    blocking = False


class LoopWorker(Worker):
    async def handle_events(self, events: list[int], from_: Any, seen: Any) -> Any:  # type: ignore[override]
        return super().handle_events(events, from_, seen)


class Middle(ProducerConsumer):
    def init(self, arg: Any) -> Any:
        return Ok(None, subscribe_to=[("source", {"max_demand": MOST})])

    def handle_events(self, events: list[int], from_: Any, state: None) -> Any:
        return NoReply(state, events=events)


def await_down(ref: Any) -> Any:
    down = process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout=PATIENCE)
    return down.reason


def kill(pid: Pid) -> None:
    ref = process.monitor(pid)
    process.exit(pid, "kill")
    await_down(ref)


ENOUGH = 500
"""Events that wait for the test, in each of its queues, before the source makes no more."""


class Pace:
    """Has a source wait while the test has enough of everything, which cannot keep up with it."""

    def __init__(self, queues: list[queue.SimpleQueue[int]]) -> None:
        self._queues = queues
        self._taken = threading.Condition()
        self._over = False

    def unhurried(self, numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            with self._taken:
                self._taken.wait_for(self._wants_more, PATIENCE)
            yield number

    def _wants_more(self) -> bool:
        return self._over or min(seen.qsize() for seen in self._queues) < ENOUGH

    def take(self, seen: queue.SimpleQueue[int], count: int) -> list[int]:
        """So many events."""
        found = [seen.get(timeout=PATIENCE) for _ in range(count)]
        with self._taken:
            self._taken.notify_all()
        return found

    def let_go(self) -> None:
        """Have the source wait no more, so that it answers, and can be stopped."""
        with self._taken:
            self._over = True
            self._taken.notify_all()


def rest(seen: queue.SimpleQueue[int]) -> list[int]:
    """All that has come, when no more comes."""
    return [seen.get(timeout=PATIENCE) for _ in range(seen.qsize())]


@pytest.mark.parametrize("worker", [Worker, QuickWorker, LoopWorker])
@pytest.mark.parametrize("seed", [1, 2])
def test_consumers(worker: Any, seed: int) -> None:
    chance = random.Random(seed)
    made = itertools.count()
    queues: list[queue.SimpleQueue[int]] = [queue.SimpleQueue() for _ in range(4)]
    pace = Pace(queues)
    tree = Supervisor.start_link(
        [
            ChildSpec("source", (from_iterable, (pace.unhurried(made),), {"name": "source"})),
            *(worker.child_spec((seen, "source", {}), id=number) for number, seen in enumerate(queues)),
        ],
        max_restarts=10**6,
    )
    kills = 200
    got: list[int] = []
    for _ in range(kills):
        got += pace.take(chance.choice(queues), 1)
        children = Supervisor.which_children(tree)
        kill(chance.choice(children[1:]).pid)  # type: ignore[arg-type]  # the tree restarts it
    for each in queues:
        got += pace.take(each, 100)
    pace.let_go()
    Supervisor.stop(tree)
    for each in queues:
        got += rest(each)
    assert len(got) == len(set(got)), "an event came twice"
    lost = next(made) - len(got)
    assert 0 <= lost <= (kills + len(queues)) * MOST


@pytest.mark.parametrize("seed", [1, 2])
def test_all_that_comes_after_the_source(seed: int) -> None:
    """A producer-consumer takes its consumers along, so the tree starts all of them again."""
    chance = random.Random(seed)
    made = itertools.count()
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()
    pace = Pace([seen])
    tree = Supervisor.start_link(
        [
            ChildSpec("source", (from_iterable, (pace.unhurried(made),), {"name": "source"})),
            Middle.child_spec(name="middle"),
            Worker.child_spec((seen, "middle", {})),
        ],
        strategy="rest_for_one",
        max_restarts=10**6,
    )
    kills = 100
    got: list[int] = []
    for _ in range(kills):
        got += pace.take(seen, chance.randrange(1, 50))
        kill(chance.choice(Supervisor.which_children(tree)[1:]).pid)  # type: ignore[arg-type]  # as above
    got += pace.take(seen, 500)
    pace.let_go()
    assert stages.estimate_buffered_count("source") <= MOST
    Supervisor.stop(tree)
    got += rest(seen)
    assert got == sorted(set(got)), "an event came twice, or after a later one"
    # In its mailbox, its queue and its buffer, and in the worker's mailbox.
    assert 0 <= next(made) - len(got) <= (kills + 1) * 3 * MOST
