"""Messages sent later, and again and again.

Timers fire in the order of their times, which makes them barriers for each other.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import Any

import pytest

from resprout.actors import CallTimeout, GenServer, NoReply, process
from resprout.actors.primitives.atomic import FREE_THREADED
from resprout.actors.runtime.kernel import kernel

from ...scripted import Keeps

WATCHDOG = 20.0


class Quick(Keeps):
    blocking = False


def test_a_message_comes_after_its_delay_and_not_before():
    begin = time.monotonic()
    process.send_after(process.current(), "later", 0.03)
    assert process.receive(timeout=WATCHDOG) == "later"
    assert time.monotonic() - begin >= 0.03


def test_timers_fire_in_the_order_of_their_times():
    me = process.current()
    for delay in (0.04, 0.01, 0.03, 0.02, 0.0):
        process.send_after(me, delay, delay)
    assert [process.receive(timeout=WATCHDOG) for _ in range(5)] == [0.0, 0.01, 0.02, 0.03, 0.04]


def test_timers_of_the_same_time_fire_in_the_order_they_were_set():
    me = process.current()
    for n in range(100):
        process.send_after(me, n, 0)
    assert [process.receive(timeout=WATCHDOG) for _ in range(100)] == list(range(100))


def test_a_cancelled_timer_does_not_fire_and_tells_what_was_left():
    me = process.current()
    timer = process.send_after(me, "never", 0.02)
    left = process.cancel_timer(timer)
    assert 0 <= left <= 0.02
    assert process.cancel_timer(timer) is None
    process.send_after(me, "after", 0.04)
    assert process.receive(timeout=WATCHDOG) == "after"


def test_a_timer_that_has_fired_cannot_be_cancelled():
    timer = process.send_after(process.current(), "now", 0)
    assert process.receive(timeout=WATCHDOG) == "now"
    assert process.cancel_timer(timer) is None


def test_a_cancel_that_races_with_the_firing_tells_who_won(shaken):
    me = process.current()
    for n in range(100):
        with shaken():
            timer = process.send_after(me, n, 0.0005)
            for _ in range(n * 20):
                pass
            cancelled = process.cancel_timer(timer) is not None
        if cancelled:
            process.send_after(me, "barrier", 0)
            assert process.receive(timeout=WATCHDOG) == "barrier"
        else:
            assert process.receive(timeout=WATCHDOG) == n


def test_a_name_is_looked_up_when_the_time_has_come(kill):
    process.send_after("timers.late", "hello", 0.02)
    process.send_after("timers.nobody", "hello", 0.0)
    pid = Quick.start(name="timers.late")
    process.send_after(process.current(), "barrier", 0.04)
    process.receive(timeout=WATCHDOG)
    assert pid.call("seen") == ["hello"]
    kill(pid)


def test_a_timer_to_the_dead_does_nothing(kill):
    pid = Quick.start()
    process.send_after(pid, "too late", 0.01)
    kill(pid)
    process.send_after(process.current(), "barrier", 0.02)
    assert process.receive(timeout=WATCHDOG) == "barrier"


def test_an_interval_comes_again_and_again_until_it_is_cancelled():
    me = process.current()
    timer = process.send_interval(me, "tick", 0.002)
    assert [process.receive(timeout=WATCHDOG) for _ in range(5)] == ["tick"] * 5
    process.cancel_timer(timer)
    process.send_after(me, "barrier", 0.02)
    heard = []
    while (message := process.receive(timeout=WATCHDOG)) != "barrier":
        heard.append(message)
    # What was on its way when it was cancelled is all that may still come.
    assert len(heard) <= 1 or heard.count("tick") < 4


def test_an_interval_ends_with_its_receiver(kill):
    class Tick:
        """A message of which one can see whether anybody still has it."""

    tick = Tick()
    watch = weakref.ref(tick)
    pid = Quick.start()
    process.send_interval(pid, tick, 0.002)
    del tick
    me = process.current()
    process.send_after(me, "barrier", 0.01)
    process.receive(timeout=WATCHDOG)
    kill(pid)
    process.send_after(me, "barrier", 0.01)
    process.receive(timeout=WATCHDOG)
    until = time.monotonic() + (WATCHDOG if FREE_THREADED else 0)
    while True:
        # Without a GIL the kernel thread may still be in the step that has told this one.
        gc.collect()
        if watch() is None or time.monotonic() > until:
            break
    assert watch() is None


def test_intervals_keep_their_rhythm_when_one_comes_late():
    me = process.current()
    begin = time.monotonic()
    timer = process.send_interval(me, "tick", 0.01)
    for _ in range(10):
        process.receive(timeout=WATCHDOG)
    assert time.monotonic() - begin >= 0.1
    process.cancel_timer(timer)


def test_cancelled_timers_leave_nothing():
    before = len(kernel._alarms) + len(kernel._new)
    timers = [process.send_after(process.current(), n, 1000) for n in range(20_000)]
    for timer in timers:
        process.cancel_timer(timer)
    process.send_after(process.current(), "barrier", 0)
    process.receive(timeout=WATCHDOG)
    process.send_after(process.current(), "barrier", 0)
    process.receive(timeout=WATCHDOG)
    assert len(kernel._alarms) + len(kernel._new) <= before + 200


def test_timers_that_are_cancelled_at_once_are_thrown_away_though_none_is_due():
    """A program that gives each of a million waits a timeout would otherwise keep a million timers."""
    me = process.current()
    # What wakes the kernel thread for other reasons is not counted on.
    keeps_it_asleep = process.send_after(me, "never", 1000)
    process.send_after(me, "barrier", 0)
    process.receive(timeout=WATCHDOG)
    before = _alarms()
    most = 0
    for n in range(20):
        for _ in range(1000):
            process.cancel_timer(process.send_after(me, n, 2000))
        swept = threading.Event()
        # In its queue before the sweep, and so done after an earlier one at the latest.
        kernel.posted.append(swept.set)
        # Without a GIL the kernel thread need not have had a turn by now, however much is cancelled here.
        while not swept.wait(0.001 if FREE_THREADED else 0):
            # Cancelling is all that wakes it.
            process.cancel_timer(process.send_after(me, n, 2000))
        most = max(most, _alarms() - before)
    assert most < 2000
    process.cancel_timer(keeps_it_asleep)


def _alarms() -> int:
    return len(kernel._alarms) + len(kernel._new)


def test_half_of_the_timers_may_be_cancelled_ones():
    """A sweep costs as much as there are timers, so it waits until it is worth it."""
    me = process.current()
    kept = [process.send_after(me, n, 1000) for n in range(1000)]
    before = kernel._discarded
    for n in range(400):
        process.cancel_timer(process.send_after(me, n, 2000))
    assert kernel._discarded == before
    for timer in kept:
        process.cancel_timer(timer)
    process.send_after(me, "barrier", 0)
    process.receive(timeout=WATCHDOG)
    assert kernel._discarded - before > 1000


def test_a_timer_that_is_set_while_the_last_one_is_about_to_fire_is_not_forgotten(monkeypatch):
    """It sees an earlier one, for which the kernel thread will wake, and does not wake it itself."""
    me = process.current()
    real = kernel._fire_due
    late: list[bool] = []

    def slowly() -> float | None:
        if kernel._alarms and not late and threading.current_thread().name == "resprout-kernel":
            # Another thread comes in here.
            late.append(True)
            soon = kernel._alarms[0][0] + 0.01
            kernel.at(soon, lambda: me.send("late"))
        return real()

    monkeypatch.setattr(kernel, "_fire_due", slowly)
    process.send_after(me, "early", 0.001)
    assert process.receive(timeout=WATCHDOG) == "early"
    assert process.receive(timeout=WATCHDOG) == "late"
    assert late


def test_timers_set_by_many_threads_all_fire():
    me = process.current()
    setting = [
        threading.Thread(
            target=lambda who=who: [process.send_after(me, (who, n), 0.001 * (n % 7)) for n in range(100)]
        )
        for who in range(4)
    ]
    for each in setting:
        each.start()
    for each in setting:
        each.join()
    got = {process.receive(timeout=WATCHDOG) for _ in range(400)}
    assert got == {(who, n) for who in range(4) for n in range(100)}


def test_a_timer_runs_its_receiver_on_another_thread():
    """A receiver that promised not to block, but does, must not hold up all timers."""
    seen: list[str] = []

    class Tells(GenServer):
        blocking = False

        def handle_info(self, message: Any, state: Any) -> Any:
            seen.append(threading.current_thread().name)
            process.send(message, "done")
            return NoReply(None)

    pid = Tells.start()
    process.send_after(pid, process.current(), 0)
    process.receive(timeout=WATCHDOG)
    assert "kernel" not in seen[0]
    pid.stop()


def test_sleep_sleeps():
    begin = time.monotonic()
    process.sleep(0.02)
    assert time.monotonic() - begin >= 0.02
    with pytest.raises(CallTimeout):
        process.receive(timeout=0)
