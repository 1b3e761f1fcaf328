"""Timeouts, cancellations, weights, kills of holders, waiters and the lock process, all at once."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

import pytest

from resprout import throttle
from resprout.actors import CallTimeout, GenServer, NoReply, process
from resprout.supervision import Supervisor

InThread = Callable[..., "Future[Any]"]
SOON = 60.0
SLOTS = 4
ROUNDS = 1_500


class Careless(GenServer):
    """Runs what it is sent, until it is killed in the middle of it."""

    def handle_cast(self, message: Any, state: Any) -> NoReply:
        message()
        return NoReply(state)


class Inside:
    """Slots at work, and the numbers of them that were seen."""

    def __init__(self) -> None:
        self._now: list[None] = []
        self.seen: set[int] = {0}

    @contextmanager
    def __call__(self, weight: int = 1) -> Iterator[None]:
        for _ in range(weight):
            self._now.append(None)
        self.seen.add(len(self._now))
        try:
            yield
        finally:
            for _ in range(weight):
                self._now.pop()


@pytest.mark.parametrize("fairness", ["strict", "eventual"])
def test_in_a_storm_no_slot_is_doubled_and_none_is_lost(
    fairness: Any, in_thread: InThread, line: Any, end: Any
) -> None:
    name = f"storm {fairness}"
    trapped = process.trap_exit(True)
    tree = Supervisor.start_link(
        [throttle.child_spec(name, SLOTS, fairness=fairness)],
        strategy="one_for_one",
        max_restarts=10**9,
        max_seconds=1.0,
    )
    assert tree is not None
    inside = Inside()
    calm = threading.Event()

    def caller(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(ROUNDS):
            weight = chance.choice([1, 1, 2, 3])
            timeout = chance.choice([None, 0, 0.0001, 0.001])
            try:
                with throttle.slot(name, timeout, chance.choice([0, 0, 1]), weight), inside(weight):
                    process.sleep(0)
            except CallTimeout:
                continue

    def tasks(seed: int) -> None:
        chance = random.Random(seed)

        async def one() -> None:
            try:
                async with throttle.slot(name, chance.choice([None, 0.001])):
                    with inside():
                        await asyncio.sleep(0)
            except CallTimeout:
                pass

        async def main() -> None:
            for _ in range(ROUNDS // 10):
                some = [asyncio.ensure_future(one()) for _ in range(10)]
                await asyncio.sleep(0)
                for task in some[::3]:
                    task.cancel()
                await asyncio.gather(*some, return_exceptions=True)

        asyncio.run(main())

    def jobs(seed: int) -> None:
        chance = random.Random(seed)

        def work() -> None:
            with inside():
                pass

        for _ in range(ROUNDS // 10):
            some = [throttle.execute(name, work, timeout=chance.choice([None, 0.001])) for _ in range(10)]
            for future in some[::3]:
                future.cancel()
            for future in some:
                try:
                    future.result(SOON)
                except (CallTimeout, CancelledError):
                    assert future.done(), "a job hangs"

    def victims() -> None:
        def work() -> None:
            with throttle.slot(name), inside():
                pass

        for _ in range(ROUNDS // 10):
            victim = Careless.start()
            for _ in range(3):
                victim.cast(work)
            end(victim)

    def killer() -> None:
        while not calm.wait(0.002):
            pid = process.whereis(name)
            if pid is not None:
                process.exit(pid, "kill")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        storm = [in_thread(caller, seed) for seed in range(4)]
        storm += [in_thread(tasks, 5), in_thread(jobs, 6), in_thread(victims)]
        murder = in_thread(killer)
        for each in storm:
            each.result(SOON)
        calm.set()
        murder.result(SOON)
    finally:
        calm.set()
        sys.setswitchinterval(interval)
    watch = line(name)
    # Adopted after the last kill, every slot can be had at once.
    with throttle.slot(name, timeout=SOON, weight=SLOTS):
        assert throttle.lock_state(name).used == SLOTS
    watch.until(lambda: throttle.lock_state(name) == throttle.LockState(0, 0, 0))
    assert max(inside.seen) <= SLOTS
    Supervisor.stop(tree)
    process.trap_exit(bool(trapped))
