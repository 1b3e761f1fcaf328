"""What goes by a clock that is moved by hand, and what becomes of it when it is let go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from resprout import (
    TIMEOUT,
    Backoff,
    BlockingInLoop,
    CallTimeout,
    ChildSpec,
    GenServer,
    NoReply,
    Ok,
    Pid,
    Reply,
    Supervisor,
    process,
    testing,
    throttle,
)


class Counter(GenServer):
    """Counts the messages that it gets, and may be silent for so many seconds."""

    def init(self, arg: Any) -> Any:
        self.patience = arg
        return Ok(0, timeout=self.patience)

    def handle_call(self, message: object, from_: object, state: int) -> Any:
        return Reply(state, state, timeout=self.patience)

    def handle_info(self, message: object, state: int) -> Any:
        return NoReply(state + 1 if message is not TIMEOUT else 1000, timeout=self.patience)


class Failing(Counter):
    """Does not start as long as there are failures left."""

    failures: list[str] = []

    def init(self, arg: Any) -> Any:
        if self.failures:
            raise ValueError(self.failures.pop())
        return super().init(arg)


@pytest.fixture
def region() -> Iterator[testing.Region]:
    with testing.isolated() as region:
        yield region


@pytest.fixture
def clock(region: testing.Region) -> testing.ManualClock:
    return region.clock()


def mail() -> list[object]:
    """All that is in the mailbox."""
    found = []
    try:
        while True:
            found.append(process.receive(timeout=0))
    except CallTimeout:
        return found


def test_time_stands_still(clock: testing.ManualClock) -> None:
    began = clock.now()
    assert began == pytest.approx(time.monotonic(), abs=5.0)
    timer = process.send_after(process.current(), "tick", 10.0)
    clock.advance(2.5)
    assert clock.now() == began + 2.5
    assert process.cancel_timer(timer) == 7.5
    assert process.cancel_timer(timer) is None


def test_timers_go_off_in_the_order_of_their_times(clock: testing.ManualClock) -> None:
    me = process.current()
    for delay in (3.0, 1.0, 2.0, 4.0):
        process.send_after(me, delay, delay)
    clock.advance(0.999)
    assert mail() == []
    clock.advance(2.001)
    assert mail() == [1.0, 2.0, 3.0]


def test_what_is_due_at_once_needs_no_advance_but_of_nothing(clock: testing.ManualClock) -> None:
    process.send_after(process.current(), "now", 0.0)
    assert mail() == []
    clock.advance(0)
    assert mail() == ["now"]


def test_an_interval_goes_off_as_often_as_the_time_has_room_for(clock: testing.ManualClock) -> None:
    timer = process.send_interval(process.current(), "tick", 2.0)
    clock.advance(9.0)
    assert mail() == ["tick"] * 4
    process.cancel_timer(timer)
    clock.advance(60.0)
    assert mail() == []


def test_a_timer_that_a_callback_sets_has_its_turn_in_the_same_advance(
    region: testing.Region, clock: testing.ManualClock
) -> None:
    class Chain(Counter):
        def handle_info(self, message: object, state: int) -> Any:
            process.send_after(self.pid, "again", 1.0)
            return NoReply(state + 1)

    pid = region.start_supervised(Chain)
    assert pid is not None
    process.send_after(pid, "first", 1.0)
    clock.advance(5.5)
    assert pid.call("count") == 5


def test_the_timeout_of_a_result(region: testing.Region, clock: testing.ManualClock) -> None:
    pid = region.start_supervised((Counter, 30.0))
    assert pid is not None
    clock.advance(29.0)
    assert pid.call("count") == 0
    clock.advance(29.0)
    process.send(pid, "a message begins it anew")
    testing.quiesce()
    clock.advance(29.0)
    assert pid.call("count") == 1
    clock.advance(30.0)
    assert pid.call("count") == 1000


def test_the_backoff_of_restarts(region: testing.Region, clock: testing.ManualClock) -> None:
    spec = ChildSpec(
        "child",
        (Counter.start_link, (), {"name": "child"}),
        backoff=Backoff(initial=10.0, factor=2.0, maximum=1000.0, jitter=0.0),
    )
    first = region.start_supervised(spec)
    assert first is not None
    testing.crash(first)
    testing.await_down(first)
    clock.advance(9.9)
    assert process.whereis("child") is None
    clock.advance(0.1)
    second = testing.await_restart(first)
    testing.crash(second)
    testing.await_down(second)
    clock.advance(19.9)
    assert process.whereis("child") is None
    clock.advance(0.1)
    assert testing.await_restart("child") not in (first, second)


def test_restarts_that_fail_and_wait_again_have_their_turns_in_one_advance(
    region: testing.Region, clock: testing.ManualClock
) -> None:
    spec = ChildSpec(
        "child", (Failing.start_link, (), {"name": "child"}), backoff=Backoff(initial=1.0, jitter=0.0)
    )
    first = region.start_supervised(spec)
    Failing.failures[:] = ["second", "first"]
    testing.crash("child")
    testing.await_down(first)
    clock.advance(100.0)
    assert testing.await_restart("child") is not first
    assert Failing.failures == []


@pytest.mark.parametrize(("pause", "survives"), [(1.0, False), (2.6, True)])
def test_the_window_of_the_intensity(
    region: testing.Region, clock: testing.ManualClock, pause: float, survives: bool
) -> None:
    child = Counter.child_spec(None, name="child")
    region.start_supervised(
        Supervisor.child_spec([child], max_restarts=2, max_seconds=5.0, restart="temporary")
    )
    above = process.whereis("child")
    assert above is not None
    supervisor = above.parent
    assert supervisor is not None
    for _ in range(3):
        crashed = testing.crash("child")
        testing.await_down(crashed)
        clock.advance(pause)
        testing.quiesce()
    assert supervisor.alive is survives


def test_the_timeout_of_a_job_of_a_lock(region: testing.Region, clock: testing.ManualClock) -> None:
    region.start_supervised(throttle.child_spec("slots", 1))
    throttle.acquire("slots")
    future = throttle.execute("slots", print, timeout=60.0)
    clock.advance(59.0)
    assert not future.done()
    clock.advance(1.0)
    with pytest.raises(CallTimeout):
        future.get(timeout=10.0)
    throttle.release("slots")


def test_what_blocks_who_waits_goes_by_real_time(clock: testing.ManualClock) -> None:
    with pytest.raises(CallTimeout):
        process.receive(timeout=0.001)
    process.sleep(0.001)


def test_a_callback_that_is_stuck_does_not_hold_the_time_for_ever(
    region: testing.Region, clock: testing.ManualClock
) -> None:
    go = threading.Event()

    class Stuck(Counter):
        def handle_info(self, message: object, state: int) -> Any:
            go.wait(30)
            return NoReply(state)

    pid = region.start_supervised(Stuck)
    process.send(pid, "stay")
    process.send_after(process.current(), "tick", 5.0)
    clock.advance(5.0)
    assert mail() == ["tick"]
    go.set()


def test_timers_from_before_go_on_with_real_time(region: testing.Region) -> None:
    me = process.current()
    process.send_after(me, "soon", 0.01)
    late = process.send_after(me, "late", 3600.0)
    with testing.clock() as clock:
        clock.advance(7200.0)
        assert process.receive(timeout=10.0) == "soon"
        assert mail() == []
    left = process.cancel_timer(late)
    assert left is not None
    assert left > 3000.0


def test_what_is_pending_when_it_is_let_go_happens_in_real_time(region: testing.Region) -> None:
    me = process.current()
    with testing.clock() as clock:
        clock.advance(1000.0)
        soon = process.send_after(me, "soon", 5.0)
        late = process.send_after(me, "late", 3600.0)
        tick = process.send_interval(me, "tick", 0.01)
        clock.advance(4.99)
        assert set(mail()) == {"tick"}
    assert process.receive(lambda message: message == "soon", timeout=10.0) == "soon"
    assert process.receive(lambda message: message == "tick", timeout=10.0) == "tick"
    assert process.receive(lambda message: message == "tick", timeout=10.0) == "tick"
    process.cancel_timer(tick)
    assert process.cancel_timer(soon) is None
    assert process.cancel_timer(late) == pytest.approx(3595.0, abs=5.0)


def test_there_is_one_at_a_time(clock: testing.ManualClock) -> None:
    with pytest.raises(RuntimeError, match="one manual clock at a time"):
        testing.clock()
    clock.stop()
    clock.stop()
    with pytest.raises(RuntimeError, match="was stopped"):
        clock.advance(1.0)
    with testing.ManualClock() as another:
        another.advance(1.0)


def test_the_end_of_a_region_lets_it_go() -> None:
    with testing.isolated() as region:
        clock = region.clock()
    with pytest.raises(RuntimeError, match="was stopped"):
        clock.advance(1.0)
    process.send_after(process.current(), "tick", 0.001)
    assert process.receive(timeout=10.0) == "tick"


@pytest.mark.parametrize(
    ("seconds", "error"), [(-1.0, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_odd_times_are_refused(clock: testing.ManualClock, seconds: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected seconds"):
        clock.advance(seconds)


def test_coroutines_have_a_form_of_their_own(region: testing.Region) -> None:
    async def main() -> None:
        me: Pid = process.current()
        with testing.clock() as clock:
            with pytest.raises(BlockingInLoop, match="aadvance"):
                clock.advance(1.0)
            process.send_interval(me, "tick", 1.0)
            await clock.aadvance(2.0)
            assert [await process.areceive(), await process.areceive()] == ["tick", "tick"]

    asyncio.run(main())
