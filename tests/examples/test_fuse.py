"""The circuit breaker: when it opens, who may try, and what closes it."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

import fuse
from fuse import Blown, Fuse, guarded
from resprout import GenServer, Supervisor, process
from resprout import sys as system

from ..programs import PYTHON
from ..waiting import down_of

WATCHDOG = 20.0
MAX_MELTS = 2


@pytest.fixture(params=[60.0])
def mail(request: pytest.FixtureRequest) -> Any:
    options = {"max_melts": MAX_MELTS, "seconds": request.param, "reset": 60.0}
    tree = Supervisor.start_link([Fuse.child_spec(options, name="mail")], strategy="one_for_one")
    yield "mail"
    Supervisor.stop(tree)


def ask() -> str:
    answer: str = GenServer.call("mail", "ask")
    return answer


def fail() -> None:
    with pytest.raises(ConnectionError), guarded("mail"):
        raise ConnectionError


def blow() -> None:
    for _ in range(MAX_MELTS + 1):
        fail()


def let_its_time_come() -> None:
    system.replace_state("mail", lambda state: attrs.evolve(state, try_at=0.0))


def test_it_stays_closed_as_long_as_no_more_melts_than_it_endures(mail):
    for _ in range(MAX_MELTS):
        fail()
        assert ask() == "closed"
    fail()
    assert ask() == "open"


@pytest.mark.parametrize("mail", [0.0], indirect=True)
def test_melts_that_are_too_old_do_not_count(mail):
    for _ in range(2 * MAX_MELTS):
        fail()
    assert ask() == "closed"


def test_an_open_fuse_lets_nobody_try(mail):
    blow()
    with pytest.raises(Blown, match="mail"), guarded("mail"):
        pytest.fail("this is not to be tried")


def test_of_threads_and_tasks_at_once_one_may_try_when_the_time_has_come(mail):
    blow()
    let_its_time_come()
    answers: Counter[str] = Counter()
    start = threading.Barrier(9)

    def in_a_thread() -> None:
        start.wait(WATCHDOG)
        answers[ask()] += 1

    async def in_a_task() -> None:
        answers[ask()] += 1

    async def tasks() -> None:
        await asyncio.gather(*[in_a_task() for _ in range(8)])

    threads = [threading.Thread(target=in_a_thread) for _ in range(8)]
    for thread in threads:
        thread.start()
    start.wait(WATCHDOG)
    asyncio.run(tasks())
    for thread in threads:
        thread.join(WATCHDOG)
    assert answers == {"half": 1, "open": 15}


def test_a_try_that_succeeds_closes_it_and_its_melts_are_forgotten(mail):
    blow()
    let_its_time_come()
    with guarded("mail"):
        pass
    for _ in range(MAX_MELTS):
        fail()
    assert ask() == "closed"


def test_a_try_that_fails_opens_it_again(mail):
    blow()
    let_its_time_come()
    fail()
    assert ask() == "open"


def test_after_a_try_that_is_killed_another_one_may_try(mail):
    blow()
    let_its_time_come()
    inside = threading.Event()

    def try_for_ever() -> None:
        with guarded("mail"):
            inside.set()
            process.sleep(3600.0)

    pid, ref = process.spawn_monitor(try_for_ever)
    assert inside.wait(WATCHDOG)
    process.exit(pid, "kill")
    down_of(ref)
    assert ask() == "open"
    let_its_time_come()
    assert ask() == "half"


def test_melt_and_reset_are_messages_too(mail):
    for _ in range(MAX_MELTS + 1):
        GenServer.cast("mail", "melt")
    assert ask() == "open"
    GenServer.cast("mail", "reset")
    assert ask() == "closed"


def test_a_coroutine_that_is_cancelled_is_no_melt(mail):
    async def main() -> None:
        for _ in range(2 * MAX_MELTS):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(wait(), 0.0)

    async def wait() -> None:
        with guarded("mail"):
            await asyncio.Event().wait()

    asyncio.run(main())
    assert ask() == "closed"


def test_it_is_shorter_than_sixty_lines():
    assert len(Path(fuse.__file__).read_text(encoding="utf-8").splitlines()) < 60


def test_the_demo_asks_a_server_that_is_down_a_few_times_only():
    demo = Path(fuse.__file__).with_name("demo.py")
    done = subprocess.run([*PYTHON, demo], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    told = {what: int(number) for number, what in (part.split(" ", 1) for part in done.stdout.split(", "))}
    assert told["sent\n"] == 1
    assert told["failed"] + 1 == told["asked"] <= 8
    assert told["refused by the fuse"] > 0
