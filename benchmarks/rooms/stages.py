"""What an event costs on its way through stages, and what stays of it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from resprout.actors import ChildSpec, GenServer, NoReply, Ok, Pid, Stop, Task
from resprout.stages import (
    Broadcast,
    Consumer,
    ConsumerSupervisor,
    Partition,
    Producer,
    ProducerConsumer,
    from_iterable,
    stream,
)

from ..rows import Bar, Effort, Measure, Room, Row, Section
from ..timing import resident, stopwatch


class Numbers(Producer):
    """Gives as many numbers as are wanted."""

    blocking = False

    def init(self, dispatcher: Any) -> Ok:
        return Ok(0, dispatcher=dispatcher or "demand")

    def handle_demand(self, demand: int, start: int) -> NoReply:
        return NoReply(start + demand, events=list(range(start, start + demand)))


class Doubling(ProducerConsumer):
    """Gives twice each number."""

    blocking = False

    def init(self, subscribe_to: Any) -> Ok:
        return Ok(None, subscribe_to=subscribe_to)

    def handle_events(self, events: list[int], from_: object, state: None) -> NoReply:
        return NoReply(None, events=[2 * event for event in events])


class Counting(Consumer):
    """Counts events, and ends at a number of them."""

    blocking = False

    def init(self, arg: Any) -> Ok:
        done, most, subscribe_to = arg
        return Ok((done, most, 0), subscribe_to=subscribe_to)

    def handle_events(self, events: list[int], from_: object, state: Any) -> NoReply | Stop:
        done, most, count = state
        count += len(events)
        if count >= most:
            done.set()
            return Stop("normal")
        return NoReply((done, most, count))


class BlockingNumbers(Numbers):
    """The same on a thread of its own."""

    blocking = True


class BlockingDoubling(Doubling):
    """The same on a thread of its own."""

    blocking = True


class BlockingCounting(Counting):
    """The same on a thread of its own."""

    blocking = True


class LoopNumbers(Numbers):
    """The same on an event loop."""

    async def handle_demand(self, demand: int, start: int) -> NoReply:  # type: ignore[override]
        return super().handle_demand(demand, start)


class LoopDoubling(Doubling):
    """The same on an event loop."""

    async def handle_events(self, events: list[int], from_: object, state: None) -> NoReply:  # type: ignore[override]
        return super().handle_events(events, from_, state)


class LoopCounting(Counting):
    """The same on an event loop."""

    async def handle_events(self, events: list[int], from_: object, state: Any) -> NoReply | Stop:  # type: ignore[override]
        return super().handle_events(events, from_, state)


Kinds = tuple[type[Numbers], type[Doubling], type[Counting]]
QUICK: Kinds = (Numbers, Doubling, Counting)
BLOCKING: Kinds = (BlockingNumbers, BlockingDoubling, BlockingCounting)
ON_LOOP: Kinds = (LoopNumbers, LoopDoubling, LoopCounting)


def stop(*pids: Pid) -> None:
    """Stop those that live."""
    for pid in pids:
        if pid.alive:
            GenServer.stop(pid)


def pipeline(kinds: Kinds, events: int, demand: int = 1000) -> float:
    """Microseconds an event: a producer, two producer-consumers, a consumer."""
    done = threading.Event()
    options = {"max_demand": demand, "cancel": "temporary"}
    numbers, doubling, counting = kinds
    producer = numbers.start(None)
    middle = [doubling.start([(producer, options)]) for _ in range(2)]
    elapsed = stopwatch()
    counting.start((done, events, [(each, options) for each in middle]))
    done.wait()
    took = elapsed() / events
    stop(*middle, producer)
    return took


def threads(events: int) -> float:
    """Microseconds an event through two bounded queues, with a thread behind each and two in the middle."""
    first: queue.Queue[Any] = queue.Queue(1000)
    second: queue.Queue[Any] = queue.Queue(1000)

    def produce() -> None:
        for number in range(events):
            first.put(number)
        first.put(None)
        first.put(None)

    def double() -> None:
        while (number := first.get()) is not None:
            second.put(2 * number)
        second.put(None)

    workers = [threading.Thread(target=each) for each in (produce, double, double)]
    elapsed = stopwatch()
    for each in workers:
        each.start()
    ends = 0
    while ends < 2:
        ends += second.get() is None
    took = elapsed() / events
    for each in workers:
        each.join()
    return took


def fan(dispatcher: Any, options: Callable[[int], Mapping[str, Any]], consumers: int, events: int) -> float:
    """Microseconds an event that a producer sends, to several consumers."""
    ends = [threading.Event() for _ in range(consumers)]
    producer = Numbers.start(dispatcher)
    share = events if isinstance(dispatcher, Broadcast) else events // consumers
    elapsed = stopwatch()
    for number, done in enumerate(ends):
        subscription = (producer, {"cancel": "temporary", **options(number)})
        Counting.start((done, share, [subscription]))
    ends[0].wait()
    took = elapsed() / events
    stop(producer)
    return took


def streamed(events: int) -> float:
    """Microseconds an event of an iterable that comes out of a stream."""
    elapsed = stopwatch()
    source = from_iterable(range(events), link=False, blocking=False)
    for _ in stream([source]):
        pass
    return elapsed() / events


def supervised(events: int) -> float:
    """Microseconds an event that has a child of its own."""
    left = [events]
    done = threading.Event()

    def work(event: int) -> None:
        left[0] -= 1
        if not left[0]:
            done.set()

    source = from_iterable(range(events), link=False, blocking=False)
    spec = ChildSpec("job", (Task.start_link, (work,), {}), restart="temporary")
    elapsed = stopwatch()
    subscription = (source, {"cancel": "temporary", "max_demand": 1})
    supervisor = ConsumerSupervisor.start_link(spec, subscribe_to=[subscription])
    done.wait()
    took = elapsed() / events
    ConsumerSupervisor.stop(supervisor)
    return took


def growth(events: int) -> float:
    """MB that memory grows by while so many events go through a pipeline, after a tenth of them."""
    pipeline(QUICK, events // 10)
    before = resident()
    pipeline(QUICK, events)
    return (resident() - before) / 1e6


# Sides --------------------------------------------------------------------------------------------


@contextmanager
def pipelines(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """The same stages, run in the three ways, and threads with queues."""
    many, few = effort(1_000_000), effort(20_000)
    yield {
        "inline": lambda: pipeline(QUICK, many),
        "blocking": lambda: pipeline(BLOCKING, many),
        "loop": lambda: pipeline(ON_LOOP, many),
        "one by one": lambda: pipeline(QUICK, few, demand=1),
        "two queue.Queues of threads": lambda: threads(few),
    }


@contextmanager
def fans(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """One producer and ten consumers."""
    many = effort(200_000, least=2_000)
    yield {
        "demand": lambda: fan(None, lambda number: {}, 10, many),
        "broadcast": lambda: fan(Broadcast(), lambda number: {}, 10, many),
        "partition": lambda: fan(Partition(10), lambda number: {"partition": number}, 10, many),
    }


def others(effort: Effort) -> Any:
    """Iterables, streams, a child for each event."""
    return nullcontext(
        {
            "streamed": lambda: streamed(effort(500_000)),
            "supervised": lambda: supervised(effort(2_000)),
        }
    )


def memory(effort: Effort) -> Any:
    """What stays of many events."""
    return nullcontext({"growth": lambda: growth(effort(10_000_000))})


ROOM = Room(
    "stages",
    "docs/stages.md",
    (
        Section(
            "pipeline",
            "An event on its way: a producer, two producer-consumers, a consumer.",
            pipelines,
            (
                Row("blocking = False", "inline", "two queue.Queues of threads", Bar(figure=1e6 / 300_000)),
                Row("blocking = True", "blocking", "two queue.Queues of threads"),
                Row("coroutines", "loop", "two queue.Queues of threads"),
                Row("blocking = False, max_demand=1", "one by one", "two queue.Queues of threads"),
            ),
            repeats=5,
        ),
        Section(
            "dispatchers",
            "An event of one producer with ten consumers.",
            fans,
            (
                Row("to the biggest demand", "demand"),
                Row("to all ten", "broadcast"),
                Row("to one of ten partitions", "partition"),
            ),
            repeats=5,
        ),
        Section(
            "around",
            "An event of an iterable.",
            others,
            (
                Row("from_iterable to stream", "streamed"),
                Row("a child of a ConsumerSupervisor, one at a time", "supervised"),
            ),
            repeats=5,
        ),
        Section(
            "memory",
            "What stays of 10,000,000 events in a pipeline.",
            memory,
            (Row("growth of memory", "growth", bar=Bar(best=5.0), unit="MB"),),
            repeats=2,
        ),
    ),
)
