"""Ctrl-C while the main thread runs quick stages costs what was in hand, and demand is right afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from resprout import NoReply, Ok, Pid, Reply, stages
from resprout.stages import Broadcast, Consumer, Demand, DispatcherSpec, Partition, Producer, ProducerConsumer

from ..interrupting import Interrupter, at_safe_points

pytestmark = at_safe_points
Keep = Callable[[Pid], Pid]


class Mailbox(Producer):
    """What is cast to it, to whoever asks."""

    blocking = False

    def init(self, dispatcher: Any) -> Any:
        return Ok(([], 0), dispatcher=dispatcher)

    def handle_cast(self, event: Any, state: Any) -> Any:
        return self.send([*state[0], event], state[1])

    def handle_demand(self, more: int, state: Any) -> Any:
        return self.send(state[0], state[1] + more)

    def send(self, waiting: list[Any], demand: int) -> Any:
        now, later = waiting[:demand], waiting[demand:]
        return NoReply((later, demand - len(now)), events=now)


class Doubling(ProducerConsumer):
    blocking = False

    def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
        return NoReply(state, events=[event for event in events for _ in range(2)])


class Taker(Consumer):
    blocking = False

    def init(self, arg: Any) -> Any:
        return Ok([])

    def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
        return NoReply([*state, *events])

    def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
        return Reply(state, [])


def agree(*stages_: Pid) -> None:
    """What each consumer has asked for is what its producer and the dispatcher of that know."""
    consumers: dict[Any, Any] = {}
    for pid in stages_:
        core: Any = pid.actor._core
        consumers |= {tag: producer.inflow.pending for tag, producer in core.producers.items()}
    records: dict[Any, Any] = {}
    for pid in stages_:
        core = pid.actor._core
        own = {tag: record.demand for tag, record in core._consumers.items()}
        records |= own
        dispatcher = core.dispatcher
        if isinstance(dispatcher, type(Broadcast().make())):
            assert dispatcher.wanted == min(own.values(), default=0)
        else:
            assert dispatcher.wanted == sum(own.values())
    # What a producer-consumer keeps, as nobody wants what comes of it, is neither here nor there.
    assert records == consumers


def cut_everywhere(least: int, cast: Callable[[int], None], look: Callable[[int], None]) -> None:
    interrupted = Interrupter(("/stages/",))
    for place in interrupted.everywhere(least):
        interrupted(place, lambda place=place: cast(2 * place))
        cast(2 * place + 1)
        look(place)


@pytest.mark.parametrize(
    ("dispatcher", "of"),
    [
        (Demand(), lambda number: {}),
        (Broadcast(), lambda number: {"selector": lambda event: number == 0 or event % 2}),
        (Partition(2, lambda event: (event // 2) % 2), lambda number: {"partition": number}),
    ],
    ids=["demand", "broadcast", "partition"],
)
def test_an_interrupt_between_a_producer_and_its_consumers_costs_one_event(
    dispatcher: DispatcherSpec, of: Callable[[int], Any], started: Keep
) -> None:
    mailbox = started(Mailbox.start(dispatcher))
    takers = [started(Taker.start()) for _ in range(2)]
    for number, taker in enumerate(takers):
        stages.subscribe(taker, mailbox, max_demand=1, **of(number))

    def look(place: int) -> None:
        agree(mailbox, *takers)
        got = [taker.call("take") for taker in takers]
        for events in got:
            assert events in ([2 * place, 2 * place + 1], [2 * place + 1], [2 * place], [])
        assert any(2 * place + 1 in events for events in got)

    cut_everywhere(100, mailbox.cast, look)


def test_an_interrupt_in_a_pipeline_costs_what_comes_of_one_event(started: Keep) -> None:
    mailbox, doubling, taker = (
        started(Mailbox.start(Demand())),
        started(Doubling.start()),
        started(Taker.start()),
    )
    stages.subscribe(doubling, mailbox, max_demand=1)
    stages.subscribe(taker, doubling, max_demand=2, min_demand=1)

    def look(place: int) -> None:
        agree(mailbox, doubling, taker)
        got = taker.call("take")
        assert got == sorted(got)
        assert got[-2:] == [2 * place + 1] * 2
        assert got[:-2] in ([2 * place] * 2, [2 * place], [])

    cut_everywhere(150, mailbox.cast, look)


def test_a_subscription_that_is_interrupted_has_begun_or_has_not(started: Keep) -> None:
    mailbox, taker = started(Mailbox.start(Demand())), started(Taker.start())
    interrupted = Interrupter(("/stages/",))
    for place in interrupted.everywhere(60):
        interrupted(place, lambda: stages.subscribe(taker, mailbox, max_demand=1, cancel="temporary"))
        agree(mailbox, taker)
        if not taker.actor._core.producers:
            stages.subscribe(taker, mailbox, max_demand=1, cancel="temporary")
        mailbox.cast(place)
        assert taker.call("take") == [place]
        (producer,) = taker.actor._core.producers.values()
        stages.cancel(producer.from_, "enough")
        assert not mailbox.actor._core._consumers
        assert not taker.actor._core.producers


def test_the_end_of_a_subscription_that_is_interrupted_is_an_end(started: Keep) -> None:
    mailbox, taker = started(Mailbox.start(Demand())), started(Taker.start())
    interrupted = Interrupter(("/stages/core", "/stages/running", "/stages/dispatchers"))
    for place in interrupted.everywhere(40):
        from_ = stages.subscribe(taker, mailbox, max_demand=1, cancel="temporary")
        assert from_ is not None
        interrupted(place, lambda from_=from_: stages.cancel(from_, "enough"))
        assert not mailbox.actor._core._consumers
        assert not taker.actor._core.producers
        agree(mailbox, taker)


@pytest.mark.parametrize("kind", ["handle_demand", "handle_events"])
def test_an_interrupt_in_a_callback_costs_no_demand(kind: str, started: Keep) -> None:
    hits = [KeyboardInterrupt()]

    def hit(name: str) -> None:
        if name == kind and hits:
            raise hits.pop()

    class Source(Mailbox):
        def handle_demand(self, more: int, state: Any) -> Any:
            hit("handle_demand")
            return super().handle_demand(more, state)

    class Sink(Taker):
        def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
            hit("handle_events")
            return super().handle_events(events, from_, state)

    source, sink = started(Source.start(Demand())), started(Sink.start())

    def begin() -> None:
        stages.subscribe(sink, source, max_demand=1)
        source.cast("first")

    with pytest.raises(KeyboardInterrupt):
        begin()
    agree(source, sink)
    for event in "abc":
        source.cast(event)
    assert sink.call("take") == ["a", "b", "c"]
