"""Three placed children, whose threads fight with some of here for three slots, and are killed at random.

Judged by the intervals that those at work have written down themselves, on the clock of the machine, in a
file that all append to. Who was killed has no end of work there, and was at work until it was shot at.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from placed_locks import Locker, work

from resprout import throttle
from resprout.actors import ChildSpec, GenServer, Pid, process
from resprout.supervision import DynamicSupervisor

from ...waiting import await_end, until

LOCK = "pipe_fight"
SLOTS = 3
KILLS = 5


@pytest.fixture
def lock(tmp_path: Path, seed: int) -> Iterator[None]:
    throttle.new(LOCK, SLOTS, fairness="eventual" if seed % 2 else "strict")
    yield
    throttle.stop_lock(LOCK)


def most_at_once(lines: list[list[str]], shot: dict[int, int]) -> int:
    """The most that were at work at a time.

    Args:
        lines: process, thread, turn, what, when.
        shot: when each process was, if it was.
    """
    open_: dict[tuple[str, ...], int] = {}
    moves: list[tuple[int, int]] = []
    for pid, thread, turn, what, when in lines:
        if what == "begin":
            open_[pid, thread, turn] = int(when)
        else:
            moves += [(open_.pop((pid, thread, turn)), 1), (int(when), -1)]
    for key, began in open_.items():
        moves += [(began, 1), (max(began, shot[int(key[0])]), -1)]
    at_once = most = 0
    # One who ends in the very nanosecond in which another begins makes room first.
    for _, move in sorted(moves):
        at_once += move
        most = max(most, at_once)
    return most


def test_the_judge_counts_who_was_at_work_at_a_time() -> None:
    def said(*lines: str) -> list[list[str]]:
        return [line.split() for line in lines]

    two = said("1 0 1 begin 10", "2 0 1 begin 15", "1 0 1 end 20", "2 0 1 end 30")
    assert most_at_once(two, {}) == 2
    after = said("1 0 1 begin 10", "1 0 1 end 20", "2 0 1 begin 20", "2 0 1 end 30")
    assert most_at_once(after, {}) == 1
    killed = said("1 0 1 begin 10", "2 0 1 begin 20", "2 0 1 end 30")
    assert [most_at_once(killed, {1: shot}) for shot in (15, 25)] == [1, 2]


@pytest.mark.usefixtures("lock")
@pytest.mark.parametrize("seed", [1, 2])
def test_never_more_are_at_work_than_there_are_slots_whoever_is_killed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    file = tmp_path / "work"
    file.touch()
    supervisor = DynamicSupervisor.start_link(max_restarts=1000)
    shot: dict[int, int] = {}

    def start(number: int) -> Pid:
        spec = ChildSpec(
            "it", (Locker.start_link, (), {}), placement="process", restart="temporary", shutdown=30.0
        )
        pid = DynamicSupervisor.start_child(supervisor, spec)
        assert pid is not None
        GenServer.cast(pid, ("work", LOCK, str(file), 4, number))
        return pid

    children = [start(number) for number in range(3)]
    numbers = [os_pid(each) for each in children]
    over = threading.Event()
    here = [
        threading.Thread(target=work, args=(LOCK, str(file), number, 10 + number, over)) for number in (0, 1)
    ]
    for thread in here:
        thread.start()
    for kills in range(1, KILLS + 1):
        victim = chance.randrange(3)
        until(lambda each=numbers[victim]: f"\n{each} ".encode() in b"\n" + file.read_bytes())
        # Anywhere in its work, or in its waiting.
        process.sleep(chance.uniform(0.0, 0.05))
        if chance.random() < 0.5:
            lock = process.whereis(LOCK)
            if lock is not None:
                await_end(lock)
        shot[numbers[victim]] = time.monotonic_ns()
        os.kill(numbers[victim], signal.SIGKILL)
        children[victim] = start(100 * kills + victim)
        numbers[victim] = os_pid(children[victim])
    over.set()
    for thread in here:
        thread.join()
    now = time.monotonic_ns()
    for each in numbers:
        shot.setdefault(each, now)
    for child in children:
        await_end(child)
    until(lambda: throttle.lock_state(LOCK) == throttle.LockState(0, 0, 0))
    process.unlink(supervisor)
    DynamicSupervisor.stop(supervisor)
    lines = [line.split() for line in file.read_text().splitlines()]
    assert {line[0] for line in lines}.issuperset(map(str, set(shot) - set(numbers)))
    assert most_at_once(lines, shot) == SLOTS


def os_pid(pid: Any) -> int:
    found: int = GenServer.call(pid, ("os",), 30.0)
    return found
