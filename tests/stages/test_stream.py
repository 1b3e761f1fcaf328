"""The events of producers as an iterator."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from resprout import GenServer, NoProcess, NoReply, Ok, Pid, ServerExit, Stop, process, stages, sys
from resprout.stages import Producer, ProducerConsumer, from_iterable, stream

from ..waiting import until

PATIENCE = 20.0
Keep = Callable[[Any], Pid]


class Ending(Producer):
    """Gives a list, then ends with a reason."""

    blocking = False

    def init(self, arg: Any) -> Any:
        return Ok(arg)

    def handle_demand(self, demand: int, arg: Any) -> Any:
        events, reason = arg
        if reason == "cancel":
            return NoReply(([], "never"), events=events)
        if reason != "never":
            stages.async_info(self.pid, reason)
        return NoReply(([], "never"), events=events)

    def handle_info(self, reason: Any, arg: Any) -> Any:
        return Stop(reason, arg)

    def handle_cast(self, message: Any, arg: Any) -> Any:
        return NoReply(arg, events=[4])


@pytest.mark.parametrize("maximum", [1, 2, 7, 1000])
@pytest.mark.parametrize("blocking", [True, False])
def test_all_events_in_order(started: Keep, maximum: int, blocking: bool) -> None:
    source = started(from_iterable(range(3_000), link=False, blocking=blocking))
    assert list(stream([(source, {"max_demand": maximum})])) == list(range(3_000))


def test_of_several_producers(started: Keep) -> None:
    sources = [started(from_iterable(range(n, n + 100), link=False)) for n in (0, 100, 200)]
    assert sorted(stream(sources)) == list(range(300))


def test_in_a_coroutine(started: Keep) -> None:
    source = started(from_iterable(range(3_000), link=False, demand="accumulate"))

    async def main() -> list[int]:
        return [event async for event in stream([(source, {"max_demand": 10})])]

    assert asyncio.run(main()) == list(range(3_000))


def test_of_a_producer_consumer(started: Keep) -> None:
    class Doubler(ProducerConsumer):
        async def init(self, source: Pid) -> Any:
            return Ok(None, subscribe_to=[(source, {"max_demand": 10, "cancel": "permanent"})])

        async def handle_events(self, events: list[int], from_: Any, state: None) -> Any:
            return NoReply(None, events=[2 * event for event in events])

    source = started(from_iterable(range(100), link=False, demand="accumulate"))
    doubler = started(Doubler.start(source))
    assert list(stream([doubler], producers=[source])) == list(range(0, 200, 2))


def test_more_is_asked_for_when_a_batch_is_used_up(started: Keep) -> None:
    numbers = itertools.count()
    source = started(from_iterable(numbers, link=False, blocking=False))
    events = iter(stream([(source, {"max_demand": 4, "min_demand": 2})]))
    assert [next(events) for _ in range(2)] == [0, 1]
    assert next(numbers) == 4
    assert next(events) == 2
    assert next(numbers) == 7  # 4 was taken above, 5 and 6 were asked for
    events.close()  # type: ignore[attr-defined]  # a generator


def await_taps() -> None:
    """Wait until no stream has a process."""
    for tap in process.processes():
        if type(tap.actor).__name__ == "Tap":
            ref = process.monitor(tap)
            process.receive(lambda message, ref=ref: getattr(message, "ref", None) is ref, timeout=PATIENCE)


def test_leaving_the_loop_ends_the_subscription(started: Keep) -> None:
    left = []

    class Telling(Ending):
        def handle_cancel(self, reason: Any, from_: Any, arg: Any) -> Any:
            left.append(reason)
            return NoReply(arg)

    source = started(Telling.start(([1, 2, 3], "never")))
    for event in stream([source]):
        assert event == 1
        break
    await_taps()
    events = iter(stream([source]))
    source.cast("more")
    assert next(events) == 4
    del events
    gc.collect()
    await_taps()
    sys.get_state(source)
    assert left == [("cancel", "normal")] * 2


def test_the_mailbox_of_who_iterates_is_left_alone(started: Keep) -> None:
    me = process.current()
    me.send("before")
    source = started(from_iterable(range(50), link=False))
    assert len(list(stream([source]))) == 50
    assert process.receive(timeout=PATIENCE) == "before"
    with pytest.raises(TimeoutError):
        process.receive(timeout=0)


@pytest.mark.parametrize(
    ("cancel", "reason", "raises"),
    [
        ("permanent", "normal", False),
        ("permanent", "shutdown", True),
        ("permanent", "boom", True),
        ("transient", "normal", False),
        ("transient", "shutdown", False),
        ("transient", "boom", True),
        ("temporary", "boom", False),
    ],
)
def test_what_the_end_of_a_producer_does_to_the_stream(
    started: Keep, cancel: str, reason: str, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    source = started(Ending.start(([1, 2, 3], reason)))
    events = iter(stream([(source, {"cancel": cancel})]))
    assert [next(events) for _ in range(3)] == [1, 2, 3]
    if raises:
        with pytest.raises(ServerExit) as raised:
            next(events)
        assert (raised.value.reason, raised.value.pid) == (reason, source)
    else:
        assert list(events) == []


def test_a_producer_that_is_not_there() -> None:
    with pytest.raises(NoProcess, match="no process: numbrs"):
        list(stream(["numbrs"]))
    assert list(stream([("numbrs", {"cancel": "temporary"})])) == []
    assert list(stream([])) == []


def test_what_is_wrong_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="expected max_demand to be a positive integer, got: 0"):
        stream([("numbers", {"max_demand": 0})])
    with pytest.raises(TypeError, match="expected subscribe_to to be a list of producers, got: 'numbers'"):
        stream("numbers")
    with pytest.raises(ValueError, match="expected demand to be"):
        stream([], demand="off")  # type: ignore[arg-type]


def test_who_dies_while_it_iterates_leaves_nothing_behind(started: Keep) -> None:
    source = started(from_iterable(itertools.count(), link=False, on_cancel="stop"))
    ref = process.monitor(source)

    def iterate() -> None:
        for event in stream([source]):
            if event == 10:
                process.exit("enough")

    process.spawn(iterate)
    down = process.receive(lambda message: getattr(message, "ref", None) is ref, timeout=PATIENCE)
    assert down.reason == "normal"
    with pytest.raises(NoProcess):
        GenServer.call(source, "what?")


def test_the_consumer_of_a_stream_ends_with_whoever_iterates(started: Keep) -> None:
    source = started(from_iterable(itertools.count(), link=False, blocking=False))
    kept: list[Any] = []

    def iterate() -> None:
        kept.append(iter(stream([(source, {"max_demand": 2})])))
        next(kept[0])

    ref = process.spawn_monitor(iterate)[1]
    process.receive(lambda message: getattr(message, "ref", None) is ref, timeout=PATIENCE)
    # Through two mailboxes: that of the consumer, which hears of the death, and that of the producer.
    until(lambda: not source.actor._core._consumers)
    assert kept
