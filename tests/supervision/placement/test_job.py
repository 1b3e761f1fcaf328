"""A job whose totals are exact, whatever is killed: consumers under a lock ask a placed server."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from placed_servers import Echo

from resprout import throttle
from resprout.actors import Agent, ChildSpec, GenServer, ProcessExit, Task, process
from resprout.supervision import Supervisor

ITEMS = 400
KILLS = 15


def _ask(number: int) -> int:
    """The placed server's answer, from whichever life of it."""
    while True:
        try:
            return int(throttle.run("placed_job", GenServer.call, "placed", number))
        except ProcessExit:
            process.sleep(0.001)


def _consume(share: range) -> None:
    for number in share:
        answer = _ask(number)
        Agent.update("placed_totals", lambda totals, answer=answer: [*totals, answer])


@pytest.mark.parametrize("seed", [1, 2])
def test_the_totals_are_exact_when_the_placed_server_is_killed_again_and_again(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    children = [
        ChildSpec("totals", (Agent.start_link, (list,), {"name": "placed_totals"})),
        ChildSpec("served", (Echo.start_link, (), {"name": "placed"}), placement="process"),
    ]
    supervisor = Supervisor.start_link(children, max_restarts=10**6)
    throttle.new("placed_job", 2)
    consumers = [Task.async_(_consume, range(start, ITEMS, 4)) for start in range(4)]
    kills = 0
    while kills < KILLS:
        pid = process.whereis("placed")
        if pid is None:
            continue
        try:
            if chance.random() < 0.5:
                os.kill(GenServer.call(pid, ("os",)), signal.SIGKILL)
            else:
                process.exit(pid, "kill")
            kills += 1
        except ProcessExit:
            continue
        process.sleep(chance.random() * 0.03)
    for consumer in consumers:
        Task.await_(consumer, 60.0)
    assert sorted(Agent.get("placed_totals", lambda totals: totals)) == list(range(ITEMS))
    throttle.stop_lock("placed_job")
    Supervisor.stop(supervisor)
