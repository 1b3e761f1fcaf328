"""Servers that run on the sender's thread: chains, circles, and the odd places from which one may send."""

from __future__ import annotations

import asyncio
import gc
import queue
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout.actors import CallTimeout, GenServer, NoReply, Ok, Pid, Reply, ResproutError, process

from ...interrupting import at_safe_points
from ...waiting import down_of, until

WATCHDOG = 20.0
SOON = 5.0


class Server(GenServer):
    blocking = False

    def init(self, arg: Any) -> Any:
        return Ok([] if arg is None else arg)

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(message(self) if callable(message) else message, state)

    def handle_cast(self, message: Any, state: Any) -> Any:
        if callable(message):
            message(self)
        else:
            state.append(message)
        return NoReply(state)

    handle_info = handle_cast


class Pooled(Server):
    blocking = True


def test_a_callback_runs_on_the_senders_thread():
    pid = Server.start()
    assert pid.call(lambda server: threading.get_ident()) == threading.get_ident()
    pid.stop()


def test_the_current_process_is_the_servers_own_and_afterwards_the_senders_again():
    me = process.current()
    first, second = Server.start(), Server.start()
    inner = first.call(
        lambda server: (process.current(), second.call(lambda server: process.current()), process.current())
    )
    assert inner == (first, second, first)
    assert process.current() is me
    first.stop()
    second.stop()


def test_a_long_chain_of_casts_does_not_recurse():
    chain = [Server.start() for _ in range(10_000)]
    seen: list[int] = []

    def forward(n: int) -> Any:
        def run(server: Any) -> None:
            if n + 1 < len(chain):
                chain[n + 1].cast(forward(n + 1))
            else:
                seen.append(n)

        return run

    chain[0].cast(forward(0))
    chain[-1].call("barrier")
    # What is handed to the pool comes a moment later.
    until(lambda: seen)
    assert seen == [9_999]
    for pid in chain:
        process.exit(pid, "kill")


def test_a_ring_goes_round_many_times():
    ring = [Server.start() for _ in range(100)]
    done: queue.Queue[int] = queue.Queue()

    def hop(left: int) -> Any:
        def run(server: Any) -> None:
            if left:
                ring[left % 100].cast(hop(left - 1))
            else:
                done.put(left)

        return run

    ring[0].cast(hop(20_000))
    assert done.get(timeout=WATCHDOG) == 0
    for pid in ring:
        process.exit(pid, "kill")


@pytest.mark.parametrize("depth", [10, 100, 1_000])
def test_a_deep_chain_of_calls_is_answered(depth):
    chain = [Server.start() for _ in range(depth)]

    def forward(n: int) -> Any:
        return lambda server: 1 + chain[n + 1].call(forward(n + 1), timeout=WATCHDOG) if n + 1 < depth else 1

    assert chain[0].call(forward(0), timeout=WATCHDOG) == depth
    for pid in chain:
        process.exit(pid, "kill")


def test_a_process_that_was_cast_to_in_a_callback_can_be_called_there():
    """It waits to be drained by this very thread, which must not wait for itself."""
    first, second = Server.start(), Server.start()

    def run(server: Any) -> Any:
        second.cast("before")
        return second.call(lambda server: list(server.pid.state), timeout=WATCHDOG)

    assert first.call(run, timeout=WATCHDOG) == ["before"]
    first.stop()
    second.stop()


def test_what_a_callback_owes_is_not_held_up_by_a_wait_in_it():
    """A blocking server casts to one, then waits for another one that the first will wake."""
    quick, pooled = Server.start(), Pooled.start()
    answered = threading.Event()

    def run(server: Any) -> str:
        quick.cast(lambda server: answered.set())
        return "answered" if answered.wait(WATCHDOG) else "held up"

    assert pooled.call(run, timeout=WATCHDOG) == "answered"
    quick.stop()
    pooled.stop()


def test_two_that_call_each_other_get_a_timeout_as_in_erlang():
    """A circle of calls is a mistake of the program, not one that may hang for ever."""
    first, second = Server.start(), Server.start()

    def back(server: Any) -> Any:
        try:
            return first.call("circle", timeout=0.02)
        except (CallTimeout, ResproutError) as error:
            return type(error)

    assert issubclass(
        first.call(lambda server: second.call(back, timeout=WATCHDOG), timeout=WATCHDOG), ResproutError
    )
    assert first.call("alive") == "alive"
    assert second.call("alive") == "alive"
    first.stop()
    second.stop()


def test_two_that_cast_to_each_other_go_on():
    first, second = Server.start(), Server.start()
    done = threading.Event()

    def bounce(left: int, here: Pid, there: Pid) -> Any:
        def run(server: Any) -> None:
            if left:
                there.cast(bounce(left - 1, there, here))
            else:
                done.set()

        return run

    first.cast(bounce(3_000, first, second))
    assert done.wait(WATCHDOG)
    first.stop()
    second.stop()


def test_two_threads_whose_servers_call_each_other_crosswise_both_get_an_answer():
    """Each thread is inside one server and calls the other: a circle over two threads."""
    first, second = Server.start(), Server.start()
    met = threading.Barrier(2)
    outcomes: queue.Queue[object] = queue.Queue()

    def cross(other: Pid) -> Any:
        def run(server: Any) -> Any:
            met.wait(WATCHDOG)
            try:
                return other.call("crossed", timeout=0.05)
            except CallTimeout:
                return "timeout"

        return run

    threads = [
        threading.Thread(target=lambda a=a, b=b: outcomes.put(a.call(cross(b), timeout=WATCHDOG)))
        for a, b in ((first, second), (second, first))
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WATCHDOG)
    assert {outcomes.get(timeout=0), outcomes.get(timeout=0)} <= {"timeout", "crossed"}
    first.stop()
    second.stop()


def test_a_sender_does_not_pay_for_others_for_ever():
    """A server that keeps itself busy hands its thread back to the sender after a while."""
    pid = Server.start()
    stop = threading.Event()

    def again(server: Any) -> None:
        if not stop.is_set():
            server.pid.cast(again)

    pid.cast(again)  # returns, though the server never becomes idle
    assert pid.call("answer", timeout=WATCHDOG) == "answer"
    stop.set()
    pid.stop()


# -- odd places ----------------------------------------------------------------------------


class Leaves:
    """Does something when it is freed."""

    def __init__(self, last: Callable[[], object]) -> None:
        self.last = last
        self.circle: object = None

    def __del__(self) -> None:
        self.last()


def leave_in_a_circle(last: Callable[[], object]) -> None:
    """Do something in a finalizer, when garbage is collected the next time."""
    leaves = Leaves(last)
    leaves.circle = leaves


def test_a_finalizer_may_cast_send_and_call():
    pid = Server.start()
    seen: list[object] = []

    def last() -> None:
        pid.cast("cast")
        pid.send("sent")
        seen.append(pid.call("answer", timeout=WATCHDOG))

    leave_in_a_circle(last)
    gc.collect()
    assert seen == ["answer"]
    assert pid.call(lambda server: list(server.pid.state)) == ["cast", "sent"]
    pid.stop()


def test_a_finalizer_may_cast_to_the_server_inside_whose_callback_it_runs():
    pid = Server.start()

    def run(server: Any) -> list[object]:
        leave_in_a_circle(lambda: pid.cast("from the finalizer"))
        gc.collect()
        return list(server.pid.state)  # not handled in the middle of this callback

    assert pid.call(run, timeout=WATCHDOG) == []
    assert pid.call(lambda server: list(server.pid.state), timeout=WATCHDOG) == ["from the finalizer"]
    pid.stop()


def test_finalizers_that_run_anywhere_in_the_runtime_do_no_harm():
    """Garbage is collected at every allocation: in the middle of deliveries, deaths, and other finalizers."""
    told = Server.start()
    expected = 0

    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for n in range(300):
            leave_in_a_circle(lambda: told.cast("bye"))
            expected += 1
            pid = (Server if n % 2 else Pooled).start_link()
            ref = process.monitor(pid)
            assert pid.call(n, timeout=WATCHDOG) == n
            process.unlink(pid)
            process.exit(pid, "kill")
            down_of(ref)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert told.call(lambda server: len(server.pid.state), timeout=WATCHDOG) == expected
    told.stop()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer signal")
def test_a_signal_handler_may_cast_send_and_call_another_server():
    """It may interrupt the main thread anywhere in the runtime, also while it drains."""
    worked, told = Server.start(), Server.start()
    rung: list[int] = []
    answers: list[object] = []

    def ring(number: int, frame: Any) -> None:
        rung.append(1)
        told.cast("rung")
        told.send("rung")

    before = signal.signal(signal.SIGVTALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005, 0.0005)
        while len(rung) < 200:
            answers.append(worked.call(lambda server: told.cast("worked") or 1, timeout=WATCHDOG))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    got = told.call(lambda server: list(server.pid.state), timeout=WATCHDOG)
    assert got.count("rung") == 2 * len(rung)
    assert got.count("worked") == len(answers)
    worked.stop()
    told.stop()


def test_a_thread_may_cast_while_it_dies():
    pid = Server.start()

    storage = threading.local()

    def body() -> None:
        storage.leaves = Leaves(lambda: pid.cast("from the dying thread"))
        process.current()

    for _ in range(20):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    gc.collect()
    assert pid.call(lambda server: list(server.pid.state), timeout=WATCHDOG) == ["from the dying thread"] * 20
    pid.stop()


def test_a_thread_may_call_while_it_dies():
    pid, pooled = Server.start(), Pooled.start()
    answers: list[object] = []

    class Leaves:
        def __del__(self) -> None:
            answers.append(pid.call(1, timeout=WATCHDOG))
            answers.append(pooled.call(2, timeout=WATCHDOG))

    storage = threading.local()

    def body() -> None:
        storage.leaves = Leaves()

    for _ in range(10):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    assert answers == [1, 2] * 10
    pid.stop()
    pooled.stop()


def test_callbacks_inside_a_loop_may_call_and_cast_to_their_like():
    async def main() -> object:
        first, second = Server.start(), Server.start()
        answer = first.call(lambda server: second.call("inner", timeout=WATCHDOG), timeout=WATCHDOG)
        for pid in (first, second):
            await GenServer.astop(pid)
        return answer

    assert asyncio.run(main()) == "inner"


def test_an_interrupt_goes_on_in_the_main_thread_and_the_server_lives():
    """Ctrl-C is meant for the program, not for the server whose callback it happened to hit."""
    pid, other = Server.start(), Server.start()

    def interrupted(server: Any) -> None:
        other.cast("sent before")
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        pid.cast(interrupted)
    assert pid.call("alive", timeout=WATCHDOG) == "alive"
    assert other.call(lambda server: list(server.pid.state), timeout=WATCHDOG) == ["sent before"]
    with pytest.raises(KeyboardInterrupt):
        pid.call(interrupted, timeout=WATCHDOG)
    assert pid.call("alive", timeout=WATCHDOG) == "alive"
    assert process.current().alive
    pid.stop()
    other.stop()


def test_an_interrupt_during_init_ends_the_start():
    class Interrupted(GenServer):
        blocking = False

        def init(self, arg: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            return Ok(arg)

    before = set(process.processes())
    with pytest.raises(KeyboardInterrupt):
        Interrupted.start(name="inline.interrupted", timeout=WATCHDOG)
    assert set(process.processes()) <= before
    assert process.whereis("inline.interrupted") is None


def test_another_threads_call_is_not_lost_when_the_drainer_is_interrupted():
    """The main thread drains a message of another thread, which still hears something."""
    pid = Server.start()
    outcome: queue.Queue[object] = queue.Queue()

    def ask() -> None:
        try:
            outcome.put(pid.call(lambda server: signal.raise_signal(signal.SIGINT) or "answer", timeout=5))
        except ResproutError as error:
            outcome.put(type(error))

    def wait_for_the_other(server: Any) -> None:
        thread.start()
        until(lambda: server.pid.mailbox_length())

    thread = threading.Thread(target=ask)
    with pytest.raises(KeyboardInterrupt):
        pid.call(wait_for_the_other, timeout=WATCHDOG)
    got = outcome.get(timeout=WATCHDOG)
    assert got == "answer" or not issubclass(got, CallTimeout), got
    thread.join()
    if pid.alive:
        pid.stop()


def test_a_delivery_at_any_moment_of_a_drain_is_handled_and_in_order(at_every_line):
    """The drainer looks again after it has given up the run right: nothing is left lying."""

    def a_round() -> Any:
        pid = Server.start()

        def check() -> None:
            assert sorted(pid.call(lambda server: list(server.pid.state), timeout=WATCHDOG)) == [
                "first",
                "second",
            ]
            pid.stop()

        return lambda: pid.cast("first"), lambda: pid.cast("second"), check

    at_every_line(a_round)


def test_a_cast_without_anybody_calling_afterwards_is_handled(at_every_line):
    """As above, but nothing that comes later may help: the message itself says when it is handled."""

    def a_round() -> Any:
        pid, handled = Server.start(), threading.Event()

        def check() -> None:
            assert handled.wait(WATCHDOG)
            process.exit(pid, "kill")

        return lambda: pid.cast("first"), lambda: pid.cast(lambda server: handled.set()), check

    at_every_line(a_round)


def test_many_threads_share_one_server_without_loss(hasty):
    pid = Server.start([0])
    wrong: list[object] = []

    def add(server: Any) -> int:
        server.pid.state[0] += 1
        return threading.get_ident()

    def work() -> None:
        for n in range(300):
            pid.cast(add)
            if pid.call(n, timeout=WATCHDOG) != n:
                wrong.append(n)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []
    assert pid.call(lambda server: server.pid.state[0], timeout=WATCHDOG) == 16 * 300
    pid.stop()


def test_recursion_does_not_grow_with_the_length_of_a_conversation():
    """Casts to and fro, each from inside the other's callback, at a low recursion limit."""
    first, second = Server.start(), Server.start()
    done = threading.Event()
    limit = sys.getrecursionlimit()

    def serve(left: int, there: Pid, here: Pid) -> Any:
        def run(server: Any) -> None:
            if not left:
                done.set()
                return
            there.cast(serve(left - 1, here, there))

        return run

    sys.setrecursionlimit(_depth() + 120)
    try:
        first.cast(serve(2_000, second, first))
        assert done.wait(WATCHDOG)
    finally:
        sys.setrecursionlimit(limit)
    first.stop()
    second.stop()


def _depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


@at_safe_points
def test_interrupts_anywhere_in_the_runtime_break_nothing():
    """Interrupts come between any two bytecodes of deliveries, drains and deaths; all works afterwards."""
    shared = Server.start()
    hits = rounds = 0
    # Counts the processor's time, so that nothing arrives while the test waits. (pytest-timeout has the
    # other timer.)
    before = signal.signal(signal.SIGVTALRM, signal.default_int_handler)
    try:
        while hits < 100:
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0.0003)
                while True:
                    each = Server.start(timeout=SOON)
                    ref = process.monitor(each)
                    shared.call("x", timeout=SOON)
                    each.call("x", timeout=SOON)
                    process.exit(each, "kill")
                    process.demonitor(ref, flush=True)
                    rounds += 1
            except KeyboardInterrupt:
                hits += 1
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert rounds
    assert shared.call("alive", timeout=SOON) == "alive"
    # A start or a kill that was cut has left a server to which nobody has a Pid; it can be ended like
    # any other.
    for each in process.processes():
        if each is not process.current():
            process.exit(each, "kill")
            ref = process.monitor(each)
            down_of(ref)
