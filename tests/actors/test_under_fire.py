"""Many threads and loops against processes that are killed at random: nothing hangs, is lost or left over."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
from collections import Counter
from typing import Any

import pytest

from resprout.actors import CallTimeout, Down, GenServer, NoReply, Ok, Pid, ProcessExit, Reply, process
from resprout.actors.runtime.call import Call
from resprout.actors.runtime.kernel import kernel
from resprout.actors.vocabulary.messages import Ref

WATCHDOG = 60.0
THREADS, LOOPS, SERVERS, ROUNDS = 64, 8, 200, 60


class Worker(GenServer):
    """Notes who has sent what, so that order and doubles can be seen at its end."""

    def init(self, log: Any) -> Any:
        return Ok(log)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        state.append(message)
        return Reply(message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        state.append(message)
        return NoReply(state)

    handle_info = handle_cast


class Quick(Worker):
    blocking = False


class OnLoop(Worker):
    async def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        state.append(message)
        return Reply(message, state)


KINDS = (Worker, Quick, OnLoop)


class Crowd:
    """Processes of all kinds; each one that dies is followed by another, as under a supervisor.

    The follower is started by a thread of its own that watches all of them, so every death is heard of
    by a monitor.
    """

    def __init__(self, size: int) -> None:
        self.logs: list[list[Any]] = []
        self.pids: list[Pid] = [self._start(n) for n in range(size)]
        self.downs: Counter[Ref] = Counter()
        self.refs: list[Ref] = []
        self.deaths = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._supervise)
        self._thread.start()
        assert self._ready.wait(WATCHDOG)

    def _start(self, n: int) -> Pid:
        log: list[Any] = []
        self.logs.append(log)
        return KINDS[n % len(KINDS)].start(log)

    def _supervise(self) -> None:
        self.me = process.current()
        seats = {}
        for n, pid in enumerate(self.pids):
            seats[self._watch(pid)] = n
        self._ready.set()
        while True:
            message = process.receive(timeout=WATCHDOG)
            if message == "end":
                break
            self.downs[message.ref] += 1
            if message.ref in seats:
                n = seats.pop(message.ref)
                self.deaths += 1
                self.pids[n] = self._start(n)
                seats[self._watch(self.pids[n])] = n
        for pid in self.pids:
            process.exit(pid, "kill")
        while len(self.downs) < len(self.refs):
            self.downs[process.receive(lambda message: isinstance(message, Down), timeout=WATCHDOG).ref] += 1
        with pytest.raises(CallTimeout):
            process.receive(timeout=0)  # none twice

    def _watch(self, pid: Pid) -> Ref:
        ref = process.monitor(pid)
        self.refs.append(ref)
        return ref

    def end(self) -> None:
        process.send(self.me, "end")
        self._thread.join(WATCHDOG)
        assert not self._thread.is_alive()


def storm(threads: int, loops: int, servers: int, rounds: int) -> None:
    crowd = Crowd(servers)
    # A list: its append is one step, where `counter[key] += 1` of two threads at once may count one.
    ended: list[str] = []
    faults: list[object] = []
    stop = threading.Event()

    def ask(who: int) -> None:
        dice = random.Random(who)
        try:
            for n in range(rounds):
                pid = dice.choice(crowd.pids)
                pid.cast((who, 3 * n))
                pid.send((who, 3 * n + 1))
                ref = process.monitor(pid)
                try:
                    assert pid.call((who, 3 * n + 2), timeout=WATCHDOG) == (who, 3 * n + 2)
                    ended.append("answer")
                except ProcessExit:
                    ended.append("exit")
                process.demonitor(ref, flush=True)
            with pytest.raises(CallTimeout):
                process.receive(timeout=0)
        except BaseException as error:
            faults.append(error)

    async def ask_in_a_loop(who: int) -> None:
        dice = random.Random(who)

        async def one(who: int) -> None:
            for n in range(rounds):
                pid = dice.choice(crowd.pids)
                try:
                    assert await GenServer.acall(pid, (who, n), timeout=WATCHDOG) == (who, n)
                    ended.append("answer")
                except ProcessExit:
                    ended.append("exit")

        await asyncio.gather(*(one(who * 1000 + k) for k in range(4)))

    def run_loop(who: int) -> None:
        try:
            asyncio.run(ask_in_a_loop(who))
        except BaseException as error:
            faults.append(error)

    def kill() -> None:
        dice = random.Random(0)
        while not stop.is_set():
            process.exit(dice.choice(crowd.pids), dice.choice(["kill", "fault", "shutdown"]))
            process.sleep(dice.choice([0, 0.0005]))

    senders = [threading.Thread(target=ask, args=(who,)) for who in range(threads)]
    senders += [threading.Thread(target=run_loop, args=(100 + who,)) for who in range(loops)]
    killer = threading.Thread(target=kill)
    for each in (*senders, killer):
        each.start()
    for each in senders:
        each.join(WATCHDOG)
        assert not each.is_alive(), "a sender hangs"
    stop.set()
    killer.join(WATCHDOG)
    crowd.end()
    assert faults == []
    outcomes = Counter(ended)
    assert outcomes["answer"] + outcomes["exit"] == (threads + 4 * loops) * rounds
    assert outcomes["answer"]
    assert crowd.deaths
    # Every monitor exactly once.
    assert set(crowd.downs.values()) == {1}
    assert len(crowd.downs) == len(crowd.refs)
    # Messages of one sender in order, none twice.
    for log in crowd.logs:
        for who in {who for who, _ in log}:
            numbers = [n for sender, n in log if sender == who]
            assert numbers == sorted(set(numbers)), (who, numbers)


def live(*kinds: type) -> Counter[str]:
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))


def test_every_call_ends_and_every_monitor_fires_once(crashes):
    storm(THREADS, LOOPS, SERVERS, ROUNDS)


def test_the_same_when_the_interpreter_switches_threads_all_the_time(crashes, hasty):
    storm(THREADS, LOOPS, SERVERS, ROUNDS // 2)


def test_the_same_between_any_two_lines(crashes, shaken):
    with shaken():
        storm(16, 3, 30, 10)


def test_nothing_of_the_dead_is_left(crashes):
    """Counted as live objects by type, after a collection."""
    storm(4, 1, 20, 3)  # whatever is made once is made now
    _settle()
    before = live(Pid, Ref, Call, GenServer)
    alarms = len(kernel._alarms) + len(kernel._new)
    storm(16, 4, 60, 8)
    _settle()
    after = live(Pid, Ref, Call, GenServer)
    grown = {kind: after[kind] - before[kind] for kind in after if after[kind] > before[kind]}
    assert sum(grown.values()) <= 5, grown
    assert len(kernel._alarms) + len(kernel._new) <= alarms + 5


def _settle() -> None:
    """Have everything that was posted or handed to the pool done."""
    from resprout.actors.runtime.loop import close_loop

    close_loop()
    for _ in range(3):
        process.send_after(process.current(), "barrier", 0.01)
        process.receive(lambda message: message == "barrier", timeout=WATCHDOG)
        kernel.pool.trim()
    sys.exc_info()


def test_start_and_kill_at_random_leaves_no_name(hasty, crashes):
    names = [f"fire.{n}" for n in range(10)]
    stop = threading.Event()
    faults: list[BaseException] = []

    def restart(who: int) -> None:
        from resprout.actors import AlreadyStarted, StartError

        dice = random.Random(who)
        try:
            for _ in range(60):
                name = dice.choice(names)
                try:
                    pid = dice.choice(KINDS).start([], name=name)
                except AlreadyStarted as error:
                    pid = error.pid
                except StartError as error:
                    # Another thread has found it by its name and killed it while its init ran.
                    if error.reason != "killed":
                        raise
                    continue
                process.exit(pid, "kill")
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=restart, args=(who,)) for who in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
        assert not each.is_alive()
    stop.set()
    assert faults == []
    for name in names:
        pid = process.whereis(name)
        if pid is not None:
            process.exit(pid, "kill")
    _settle()
    assert [name for name in process.registered() if name.startswith("fire.")] == []


def test_timers_under_fire_come_once_or_not_at_all(hasty):
    """Set, cancelled and let go from many threads, each is heard of once: by its message or its cancel."""
    wrong: list[object] = []

    def work(who: int) -> None:
        dice = random.Random(who)
        me = process.current()
        timers = {n: process.send_after(me, n, dice.random() * 0.01) for n in range(100)}
        cancelled = {
            n
            for n, timer in timers.items()
            if dice.random() < 0.5 and process.cancel_timer(timer) is not None
        }
        heard: Counter[int] = Counter()
        while len(heard) + len(cancelled) < 100:
            heard[process.receive(timeout=WATCHDOG)] += 1
        process.send_after(me, "barrier", 0.02)
        while (message := process.receive(timeout=WATCHDOG)) != "barrier":
            heard[message] += 1
        if set(heard.values()) != {1} or set(heard) & cancelled:
            wrong.append((who, heard, cancelled))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
    assert wrong == []
