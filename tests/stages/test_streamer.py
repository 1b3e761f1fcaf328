"""Producers of what an iterable gives."""

from __future__ import annotations

import asyncio
import itertools
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from resprout import Crash, Down, GenServer, NoReply, Ok, Pid, process, stages
from resprout.stages import Broadcast, Consumer, from_iterable, subscribe

PATIENCE = 20.0
Keep = Callable[[Any], Pid]


class Collector(Consumer):
    blocking = False

    def init(self, arg: Any) -> Any:
        seen, subscribe_to = arg
        return Ok(seen, subscribe_to=subscribe_to)

    def handle_events(self, events: list[Any], from_: Any, seen: Any) -> Any:
        seen.put(events)
        return NoReply(seen)


def await_down(ref: Any) -> Any:
    down = process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout=PATIENCE)
    return down.reason


def drained(seen: queue.SimpleQueue[Any]) -> list[Any]:
    events: list[Any] = []
    while not seen.empty():
        events += seen.get()
    return events


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 1_234])
def test_all_comes_and_then_the_producer_ends_with_normal(started: Keep, blocking: bool, count: int) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    source = started(from_iterable(range(count), link=False, blocking=blocking, demand="accumulate"))
    c = started(Collector.start((seen, [(source, {"max_demand": 10})])))
    refs = [process.monitor(source), process.monitor(c)]
    stages.demand(source, "forward")
    assert [await_down(ref) for ref in refs] == ["normal", "normal"]
    assert drained(seen) == list(range(count))


def test_the_end_leaves_a_transient_consumer(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    source = started(from_iterable("abc", link=False))
    ref = process.monitor(source)
    c = started(Collector.start((seen, [])))
    subscribe(c, to=source, cancel="transient")
    assert await_down(ref) == "normal"
    assert seen.get(timeout=PATIENCE) == ["a", "b", "c"]
    assert c.alive


def test_no_more_is_taken_than_is_asked_for(started: Keep) -> None:
    numbers = itertools.count()
    source = started(from_iterable(numbers, link=False, blocking=False))
    source.send(stages.Subscribe(stages.From(process.current(), process.monitor(source)), {}))
    assert next(numbers) == 0


def test_what_came_before_an_error_is_sent_first(started: Keep) -> None:
    def failing() -> Iterator[int]:
        yield from range(5)
        raise OSError("the file is gone")

    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    source = started(from_iterable(failing(), link=False))
    ref = process.monitor(source)
    started(Collector.start((seen, [(source, {"cancel": "temporary"})])))
    assert await_down(ref) == Crash(OSError("the file is gone"))
    assert seen.get(timeout=PATIENCE) == [0, 1, 2, 3, 4]


def test_it_ends_behind_what_is_in_the_buffer(started: Keep) -> None:
    """A consumer that is killed with its demand leaves events behind, which the next one gets."""
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    source = started(from_iterable(range(10), link=False, blocking=False))
    ref = process.monitor(source)
    me = stages.From(process.current(), process.monitor(source))
    source.send(stages.Subscribe(me, {}))
    source.send(stages.Ask(me, 4))
    assert process.receive(lambda m: isinstance(m, stages.Events), timeout=PATIENCE).events == [0, 1, 2, 3]
    source.send(stages.Cancel(me, "enough"))
    process.receive(lambda m: isinstance(m, stages.Cancelled), timeout=PATIENCE)
    started(Collector.start((seen, [(source, {"cancel": "temporary", "max_demand": 3})])))
    assert await_down(ref) == "normal"
    assert drained(seen) == [4, 5, 6, 7, 8, 9]
    process.demonitor(me.tag, flush=True)


def test_it_may_stop_with_the_last_of_its_consumers(started: Keep) -> None:
    source = started(from_iterable(itertools.count(), link=False, demand="accumulate", on_cancel="stop"))
    ref = process.monitor(source)
    a, b = (started(Collector.start((queue.SimpleQueue(), [source]))) for _ in range(2))
    for each in (a, b):
        assert source.alive
        GenServer.stop(each)
    assert await_down(ref) == "normal"


@pytest.mark.parametrize("dispatcher", [Broadcast(), "broadcast", Broadcast])
def test_it_has_the_dispatcher_that_it_is_given(started: Keep, dispatcher: Any) -> None:
    seen: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue(), queue.SimpleQueue()]
    source = started(from_iterable(range(5), link=False, dispatcher=dispatcher, demand="accumulate"))
    consumers = [started(Collector.start((each, [source]))) for each in seen]
    refs = [process.monitor(each) for each in consumers]
    stages.demand(source, "forward")
    assert [await_down(ref) for ref in refs] == ["normal", "normal"]
    assert [drained(each) for each in seen] == [[0, 1, 2, 3, 4]] * 2


def test_an_asynchronous_iterable(started: Keep) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(25):
            await asyncio.sleep(0)
            yield number

    source = started(from_iterable(numbers(), link=False))
    assert list(stages.stream([(source, {"max_demand": 4})])) == list(range(25))

    async def main() -> list[int]:
        here = await stages.afrom_iterable(numbers())
        return [event async for event in stages.stream([here])]

    assert asyncio.run(main()) == list(range(25))


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"iterable": 7}, TypeError, "expected an iterable, got: 7"),
        ({"demand": "off"}, ValueError, "expected demand to be 'forward', 'accumulate', got: 'off'"),
        ({"on_cancel": "die"}, ValueError, "expected on_cancel to be 'continue', 'stop', got: 'die'"),
        ({"dispatcher": "none"}, ValueError, "expected dispatcher to be 'demand', 'broadcast', 'partition'"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(
    options: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        from_iterable(**{"iterable": [], **options})


@pytest.mark.parametrize("blocking", [True, False])
def test_an_iterator_is_closed_when_its_producer_ends(blocking: bool) -> None:
    closed = []

    def numbers() -> Any:
        try:
            yield from range(1_000_000)
        finally:
            closed.append(True)

    source = numbers()
    pid = from_iterable(source, link=False, blocking=blocking)
    events = iter(stages.stream([(pid, {"max_demand": 2})]))
    assert next(events) == 0
    GenServer.stop(pid)
    assert closed == [True]
    assert next(source, "closed") == "closed"
