"""Blocking servers: an elastic pool in which nothing starves."""

from __future__ import annotations

import threading
import time
from typing import Any

from resprout.actors import GenServer, process
from resprout.actors.runtime.kernel import kernel

from ...scripted import Obeys
from ...waiting import down_of

WATCHDOG = 20.0


def servers_at(held: Any, number: int) -> list[Any]:
    """Servers whose handlers stand at a gate, in a way that the runtime cannot see."""
    pids = [Obeys.start() for _ in range(number)]
    for each in pids:
        each.cast(lambda server: held())
    for _ in pids:
        held.await_arrival()
    return pids


def test_200_blocked_handlers_starve_nobody(gate):
    held = gate()
    blocked = servers_at(held, 200)
    other = Obeys.start()
    assert other.call("answer", timeout=WATCHDOG) == "answer"
    held.open()
    for each in (*blocked, other):
        each.stop()


def test_a_chain_of_calls_longer_than_any_pool_is_answered():
    """Each server waits for the next one inside its handler."""
    last = Obeys.start()
    chain = [last]
    for _ in range(150):
        following = chain[-1]
        pid = Obeys.start()
        chain.append(pid)
        pid.call(lambda server, following=following: setattr(server, "following", following))

    def forward(server: Any) -> Any:
        following = getattr(server, "following", None)
        return 0 if following is None else 1 + following.call(forward, timeout=WATCHDOG)

    assert chain[-1].call(forward, timeout=WATCHDOG) == 150
    for each in chain:
        each.stop()


def test_idle_servers_own_no_thread():
    before = threading.active_count()
    pids = [Obeys.start() for _ in range(2_000)]
    assert threading.active_count() - before < 50
    for pid in pids:
        process.exit(pid, "kill")


def test_a_burst_of_short_messages_makes_few_threads():
    pids = [Obeys.start() for _ in range(300)]
    most = 0
    asked = []
    for _ in range(20):
        asked += [GenServer.send_request(pid, "quick") for pid in pids]
        most = max(most, len(kernel.pool.workers))
    for each in asked:
        each.result(WATCHDOG)
    assert most < 100
    for pid in pids:
        process.exit(pid, "kill")


def test_one_busy_server_leaves_room_for_others(gate):
    """A flood to one must not keep the threads from the rest: a turn handles a bounded number of messages."""
    busy, other = Obeys.start(), Obeys.start()
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            for _ in range(1_000):
                busy.cast(lambda server: None)
            busy.call("barrier", timeout=WATCHDOG)

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        for n in range(50):
            assert other.call(n, timeout=WATCHDOG) == n
    finally:
        stop.set()
        flooding.join()
    busy.stop()
    other.stop()


def test_the_pool_shrinks_when_it_is_told_to(gate):
    held = gate()
    pids = servers_at(held, 30)
    held.open()
    for each in pids:
        each.stop()
    deadline = time.monotonic() + WATCHDOG
    while kernel.pool.workers:
        kernel.pool.trim()
        assert time.monotonic() < deadline, kernel.pool.workers
    again = Obeys.start()
    assert again.call("after") == "after"
    again.stop()


def test_a_task_that_raises_does_not_cost_a_thread(crashes):
    """An exception, even a BaseException, of a handler ends its process, not the pool's thread."""
    for error in (ValueError, SystemExit, GeneratorExit):

        def fail(server: Any, error: type[BaseException] = error) -> None:
            raise error

        pid = Obeys.start()
        ref = process.monitor(pid)
        pid.cast(fail)
        down_of(ref)
    other = Obeys.start()
    assert other.call(1) == 1
    other.stop()


def test_a_submit_at_any_moment_of_a_worker_going_to_rest_is_run(at_every_line):
    """Each call finds the pool in another state: idle, about to be, or with nobody at all."""

    def a_round() -> Any:
        first, second = Obeys.start(), Obeys.start()
        asked: list[Any] = []

        def check() -> None:
            assert asked[0].result(WATCHDOG) == "second"
            first.stop()
            second.stop()

        return (
            lambda: first.call("first", timeout=WATCHDOG),
            lambda: asked.append(GenServer.send_request(second, "second")),
            check,
        )

    at_every_line(a_round)


def test_many_threads_call_many_servers(hasty):
    pids = [Obeys.start() for _ in range(20)]
    wrong: list[object] = []

    def ask(who: int) -> None:
        for n in range(60):
            answer = pids[(who * 7 + n) % 20].call((who, n), timeout=WATCHDOG)
            if answer != (who, n):
                wrong.append((answer, who, n))

    asking = [threading.Thread(target=ask, args=(who,)) for who in range(16)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert wrong == []
    for pid in pids:
        pid.stop()
