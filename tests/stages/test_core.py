"""The core of a stage, with no process: nothing is lost, overtaken, or given to who has not asked."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resprout.actors import BadReturn, Crash, Down, NoProcess, NoReply, Stop
from resprout.stages.core import Core
from resprout.stages.dispatchers.broadcast import Broadcast
from resprout.stages.dispatchers.demand import Demand, DemandDispatcher
from resprout.stages.dispatchers.partition import Partition
from resprout.stages.messages import (
    Ask,
    Automatic,
    Cancel,
    Cancellation,
    Cancelled,
    Events,
    From,
    LookAgain,
    Manual,
    SetDemand,
    Subscribe,
    SubscribeTo,
)
from resprout.stages.options import StageSettings


class Nearby:
    """An `Outside` that notes everything."""

    def __init__(self) -> None:
        self.me: Any = "me"
        self.sent: list[tuple[Any, Any]] = []
        self.warnings: list[str] = []
        self.dropped = 0
        self.monitors: dict[Any, Any] = {}
        self.producers: Sequence[Any] = ()
        self.numbers = itertools.count()

    def send(self, pid: Any, message: object) -> None:
        self.sent.append((pid, message))

    def find(self, server: Any) -> Any:
        return None if server == "nobody" else server

    def monitor(self, pid: Any) -> Any:
        ref = f"ref {next(self.numbers)}"
        self.monitors[ref] = pid
        return ref

    def demonitor(self, ref: Any) -> None:
        self.monitors.pop(ref, None)

    def subscribed_to(self, pids: Sequence[Any]) -> None:
        self.producers = pids

    def warn(self, text: str, *args: object) -> None:
        self.warnings.append(text % args)

    def warn_of_demand(self, text: str) -> None:
        self.warnings.append(text)

    def discarded(self, count: int) -> None:
        self.dropped += count

    def take(self) -> list[tuple[Any, Any]]:
        taken, self.sent = self.sent, []
        return taken


class Bench:
    """A core whose callbacks are functions of its test's."""

    def __init__(self, kind: Any, options: StageSettings | None = None, **callbacks: Any) -> None:
        self.outside = Nearby()
        self.core = Core(kind, self, self.outside, options or StageSettings(), "state")
        self.called: list[tuple[Any, ...]] = []
        self.callbacks = {
            "handle_subscribe": lambda *args: Automatic(args[-1]),
            "handle_cancel": lambda *args: NoReply(args[-1]),
            "handle_demand": lambda *args: NoReply(args[-1]),
            "handle_events": lambda *args: NoReply(args[-1]),
            **callbacks,
        }

    def run(self, steps: Any) -> Any:
        assert steps is not None
        value = None
        while True:
            try:
                invoke = steps.send(value)
            except StopIteration as done:
                return done.value
            self.called.append((invoke.name, *invoke.args[:-1]))
            value = self.callbacks[invoke.name](*invoke.args)

    def receive(self, message: Any) -> Any:
        return self.run(self.core.received(message))

    def subscribe_to(self, to: Any, **options: Any) -> Any:
        return self.run(self.core.subscribe_to(SubscribeTo(to, options)))


def consumer(number: int = 1) -> From:
    return From(f"consumer {number}", f"tag {number}")  # type: ignore[arg-type]  # only compared


# A producer ---------------------------------------------------------------------------------------


def test_a_producer_is_asked_and_what_it_makes_is_sent() -> None:
    bench = Bench("producer", handle_demand=lambda demand, state: NoReply(state, events=[*range(demand)]))
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Ask(consumer(), 3))
    assert bench.called == [("handle_subscribe", "consumer", {}, consumer()), ("handle_demand", 3)]
    assert bench.outside.take() == [("consumer 1", Events(From("me", "tag 1"), [0, 1, 2]))]  # type: ignore[arg-type]


def test_what_was_made_too_much_is_kept_and_sent_first() -> None:
    made = iter([[1, 2, 3, 4, 5], [6]])
    bench = Bench("producer", handle_demand=lambda demand, state: NoReply(state, events=next(made)))
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Ask(consumer(), 3))
    assert bench.core.buffer.size == 2
    bench.receive(Ask(consumer(), 3))
    assert [name for name in bench.called if name[0] == "handle_demand"] == [
        ("handle_demand", 3),
        ("handle_demand", 1),
    ]
    assert [message.events for _, message in bench.outside.take()] == [[1, 2, 3], [4, 5], [6]]


@pytest.mark.parametrize("demand", [0, -1, 1.5, "3", None])
def test_a_demand_that_means_nothing_is_told_of_and_changes_nothing(demand: Any) -> None:
    bench = Bench("producer")
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Ask(consumer(), demand))
    assert bench.outside.warnings == [f"consumer 1 asked for {demand!r} events, which means nothing"]
    assert ("handle_demand", demand) not in bench.called


@pytest.mark.parametrize("message", [Ask(consumer(), 1), Cancel(consumer(), "why")])
def test_who_is_not_subscribed_is_told_so(message: Any) -> None:
    bench = Bench("producer")
    bench.receive(message)
    assert bench.outside.take() == [
        ("consumer 1", Cancelled(From("me", "tag 1"), "unknown_subscription"))  # type: ignore[arg-type]
    ]


def test_a_tag_is_taken_once() -> None:
    bench = Bench("producer")
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Subscribe(consumer(), {}))
    ((_, told),) = bench.outside.take()
    assert told.reason == "duplicated_subscription"


def test_the_end_of_a_subscription_is_told_to_both_sides() -> None:
    bench = Bench("producer")
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Cancel(consumer(), "enough"))
    assert bench.called[-1] == ("handle_cancel", ("cancel", "enough"), consumer())
    assert bench.outside.take() == [("consumer 1", Cancelled(From("me", "tag 1"), "enough"))]  # type: ignore[arg-type]
    assert bench.outside.monitors == {}


def test_a_consumer_that_died_is_forgotten() -> None:
    bench = Bench("producer")
    bench.receive(Subscribe(consumer(), {}))
    (ref,) = bench.outside.monitors
    bench.receive(Down(ref, "consumer 1", "boom"))
    assert bench.called[-1] == ("handle_cancel", ("down", "boom"), consumer())
    assert bench.outside.take() == []
    bench.core.emit([1])
    assert bench.core.buffer.size == 1


def test_events_that_come_of_an_end_go_to_others() -> None:
    bench = Bench("producer", handle_cancel=lambda why, from_, state: NoReply(state, events=["he left"]))
    for number in (1, 2):
        bench.receive(Subscribe(consumer(number), {}))
        bench.receive(Ask(consumer(number), 5))
    bench.outside.take()
    bench.receive(Cancel(consumer(1), "enough"))
    bench.receive(Cancel(consumer(2), "enough"))
    assert [(pid, getattr(message, "events", None)) for pid, message in bench.outside.take()] == [
        ("consumer 1", None),
        ("consumer 2", ["he left"]),
        ("consumer 2", None),
    ]
    assert bench.core.buffer.size == 1


def test_a_subscription_may_take_the_place_of_another() -> None:
    bench = Bench("producer")
    bench.receive(Subscribe(consumer(1), {}))
    bench.receive(Subscribe(From("consumer 1", "tag 2"), {}, ("tag 1", "renewed")))  # type: ignore[arg-type]
    assert [name for name, *_ in bench.called] == ["handle_subscribe", "handle_cancel", "handle_subscribe"]


def test_who_cannot_be_subscribed_is_told_why_and_the_producer_lives() -> None:
    bench = Bench("producer", StageSettings(Partition(1)))
    assert bench.receive(Subscribe(consumer(), {"partition": 7})) is None
    ((_, told),) = bench.outside.take()
    assert isinstance(told.reason, Crash)
    assert "expected partition to be one of the producer's, got: 7" in str(told.reason.exception)
    bench.receive(Subscribe(consumer(2), {"partition": 0}))
    assert bench.outside.take() == []


def test_a_partition_that_cannot_be_a_key_is_refused_as_well() -> None:
    bench = Bench("producer", StageSettings(Partition(1)))
    assert bench.receive(Subscribe(consumer(), {"partition": []})) is None
    ((_, told),) = bench.outside.take()
    assert isinstance(told.reason.exception, TypeError)


def test_one_that_is_refused_for_being_there_already_does_not_make_room_for_a_third() -> None:
    bench = Bench("producer", StageSettings(Broadcast()))
    for tag in ("a", "b", "c"):
        bench.receive(Subscribe(From("consumer 1", tag), {}))  # type: ignore[arg-type]
    assert [message.reason for _, message in bench.outside.take()] == ["already_subscribed"] * 2


def test_demand_accumulates_with_events_and_both_go_on_in_order() -> None:
    made = iter([[3, 4]])
    bench = Bench(
        "producer",
        StageSettings(demand="accumulate"),
        handle_demand=lambda demand, state: NoReply(state, events=next(made)),
    )
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Ask(consumer(), 2))
    bench.receive(Ask(consumer(), 2))
    bench.core.emit([1, 2])
    bench.core.put_behind("then")
    assert bench.core.mode == "accumulate"
    assert bench.outside.take() == []
    bench.run(bench.core.set_demand(SetDemand("forward")))
    assert [getattr(message, "events", message) for _, message in bench.outside.take()] == [
        [1, 2],
        "then",
        [3, 4],
    ]
    assert bench.called[-1] == ("handle_demand", 2)


def test_events_that_a_hash_function_drops_are_asked_for_again() -> None:
    bench = Bench(
        "producer",
        StageSettings(Partition(1, hash=lambda event: 0 if event else None)),
        handle_demand=lambda demand, state: NoReply(state, events=[0] * demand),
    )
    bench.receive(Subscribe(consumer(), {"partition": 0}))
    bench.receive(Ask(consumer(), 5))
    assert bench.outside.take() == [("me", LookAgain())]
    bench.receive(LookAgain())
    assert bench.called[-2:] == [("handle_demand", 5)] * 2


def test_results_that_are_none_are_told_by_name() -> None:
    bench = Bench("producer", handle_demand=lambda demand, state: [1])
    bench.receive(Subscribe(consumer(), {}))
    with pytest.raises(BadReturn, match=r"handle_demand returned \[1\], expected NoReply\(state, events=\["):
        bench.receive(Ask(consumer(), 1))


@pytest.mark.parametrize("events", ["text", b"bytes", 7, {"a": 1}])
def test_events_are_a_list(events: Any) -> None:
    bench = Bench("producer", handle_demand=lambda demand, state: NoReply(state, events=events))
    bench.receive(Subscribe(consumer(), {}))
    with pytest.raises(BadReturn, match="expected a list of events"):
        bench.receive(Ask(consumer(), 1))


# A consumer ---------------------------------------------------------------------------------------


def test_a_consumer_asks_handles_and_asks_again() -> None:
    bench = Bench("consumer")
    from_, stop = bench.subscribe_to("producer", max_demand=4, min_demand=2)
    assert (from_, stop) == (From("producer", "ref 0"), None)  # type: ignore[arg-type]
    mine = From("me", "ref 0")  # type: ignore[arg-type]
    options = {"max_demand": 4, "min_demand": 2, "cancel": "permanent"}
    assert bench.outside.take() == [("producer", Subscribe(mine, options)), ("producer", Ask(mine, 4))]
    bench.receive(Events(from_, [1, 2, 3]))
    assert bench.called[1:] == [("handle_events", [1, 2], from_), ("handle_events", [3], from_)]
    assert bench.outside.take() == [("producer", Ask(mine, 2))]


def test_a_manual_subscription_is_asked_for_by_hand() -> None:
    bench = Bench("consumer", handle_subscribe=lambda *args: Manual("asks itself"))
    from_, _ = bench.subscribe_to("producer")
    bench.receive(Events(from_, [*range(2000)]))
    assert [message.__class__ for _, message in bench.outside.take()] == [Subscribe]
    assert bench.called[-1] == ("handle_events", [*range(2000)], from_)
    assert bench.core.state == "asks itself"


def test_events_of_a_subscription_that_is_over_are_refused() -> None:
    bench = Bench("consumer")
    bench.receive(Events(From("producer", "old"), [1]))  # type: ignore[arg-type]
    assert bench.outside.take() == [
        ("producer", Cancel(From("me", "old"), "unknown_subscription"))  # type: ignore[arg-type]
    ]
    assert bench.called == []


def test_more_than_was_asked_for_is_handled_and_told_of() -> None:
    bench = Bench("consumer")
    from_, _ = bench.subscribe_to("producer", max_demand=2)
    bench.receive(Events(from_, [1, 2, 3]))
    assert [event for name, *rest in bench.called[1:] for event in rest[0]] == [1, 2, 3]
    assert bench.outside.warnings == ["it got 1 events more than it asked for, from producer"]


@pytest.mark.parametrize(
    ("cancel", "reason", "ends"),
    [
        ("permanent", "normal", True),
        ("permanent", "shutdown", True),
        ("permanent", "boom", True),
        ("transient", "normal", False),
        ("transient", "shutdown", False),
        ("transient", "boom", True),
        ("temporary", "normal", False),
        ("temporary", "boom", False),
        ("permanent", "already_subscribed", False),
    ],
)
@pytest.mark.parametrize("way", ["cancel", "down"])
def test_what_the_end_of_a_subscription_does_to_the_consumer(
    cancel: str, reason: str, ends: bool, way: str
) -> None:
    bench = Bench("consumer")
    from_, _ = bench.subscribe_to("producer", cancel=cancel)
    over = Cancelled(from_, reason) if way == "cancel" else Down(from_.tag, from_.pid, reason)
    stop = bench.receive(over)
    assert stop == (Stop(reason, "state") if ends else None)
    assert bench.called[-1] == ("handle_cancel", Cancellation(way, reason), from_)  # type: ignore[arg-type]
    assert bench.outside.producers == []


def test_a_producer_that_is_not_there_ends_the_consumer_unless_that_is_temporary() -> None:
    bench = Bench("consumer")
    error, stop = bench.subscribe_to("nobody")
    assert isinstance(error, NoProcess)
    assert stop == Stop("noproc", "state")
    assert bench.subscribe_to("nobody", cancel="temporary") == (None, None)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_demand": 0}, "expected max_demand to be a positive integer, got: 0"),
        ({"max_demand": -5}, "expected max_demand to be a positive integer, got: -5"),
        ({"min_demand": 1000}, "expected min_demand to be an integer from 0 to 999"),
        ({"max_demand": 10, "min_demand": 11}, "expected min_demand to be an integer from 0 to 9"),
        ({"min_demand": -1}, "expected min_demand to be an integer from 0"),
        ({"cancel": "never"}, "expected cancel to be 'permanent', 'transient', 'temporary', got: 'never'"),
    ],
)
def test_options_that_are_wrong_are_refused_before_anything_is_sent(
    options: dict[str, Any], problem: str
) -> None:
    bench = Bench("consumer")
    error, stop = bench.subscribe_to("producer", **options)
    assert problem in str(error)
    assert stop is None
    assert bench.outside.take() == []


def test_a_consumer_sends_no_events_and_a_producer_gets_none() -> None:
    bench = Bench("consumer")
    bench.core.emit([1])
    assert bench.outside.warnings == ["a consumer has nobody to send events to; dropped: [1]"]
    producer = Bench("producer")
    producer.receive(Events(consumer(), [1]))
    assert producer.outside.warnings == ["it is a producer, and got events from consumer 1"]


def test_who_subscribes_to_a_consumer_is_told_so() -> None:
    bench = Bench("consumer")
    bench.receive(Subscribe(consumer(), {}))
    ((_, told),) = bench.outside.take()
    assert told.reason == "not_a_producer"


# A producer-consumer ------------------------------------------------------------------------------


def doubling(events: list[int], from_: From, state: Any) -> NoReply:
    return NoReply(state, events=[event for event in events for _ in range(2)])


def test_what_came_waits_until_somebody_wants_what_comes_of_it() -> None:
    bench = Bench("producer_consumer", handle_events=doubling)
    from_, _ = bench.subscribe_to("producer", max_demand=4)
    bench.receive(Events(from_, [1, 2]))
    bench.receive(Events(from_, [3, 4]))
    assert [name for name, *_ in bench.called] == ["handle_subscribe"]
    bench.receive(Subscribe(consumer(), {}))
    bench.outside.take()
    bench.receive(Ask(consumer(), 3))
    assert bench.called[-1] == ("handle_events", [1, 2], from_)
    assert bench.core.buffer.size == 1
    bench.receive(Ask(consumer(), 3))
    assert bench.called[-1] == ("handle_events", [3, 4], from_)


def test_the_end_of_a_producer_waits_behind_what_came_from_it() -> None:
    bench = Bench("producer_consumer")
    from_, _ = bench.subscribe_to("producer")
    bench.receive(Events(from_, [1]))
    assert bench.receive(Down(from_.tag, "producer", "normal")) is None
    bench.receive(Subscribe(consumer(), {}))
    stop = bench.receive(Ask(consumer(), 1))
    assert stop == Stop("normal", "state")
    assert [name for name, *_ in bench.called] == [
        "handle_subscribe",
        "handle_subscribe",
        "handle_events",
        "handle_cancel",
    ]


def test_nobody_downstream_means_nothing_is_taken() -> None:
    """Not a producer-consumer of gen_stage, which goes on for what its dead consumer had asked for."""
    bench = Bench("producer_consumer", handle_events=lambda events, *rest: NoReply(rest[-1], events=events))
    from_, _ = bench.subscribe_to("producer", max_demand=2)
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Ask(consumer(), 3))
    bench.receive(Cancel(consumer(), "enough"))
    for number in range(10):
        bench.receive(Events(from_, [number]))
    assert bench.core.buffer.size == 3


# All of it ----------------------------------------------------------------------------------------


@attrs.define
class Customer:
    from_: From
    asked: int = 0
    got: list[int] = attrs.field(factory=list)


SPECS = [Demand(max_demand=100), Broadcast(), Partition(3)]


class AnyStage(RuleBasedStateMachine):
    """A producer or a producer-consumer with any dispatcher: what goes in comes out, in order."""

    @initialize(
        spec=st.sampled_from(SPECS),
        kind=st.sampled_from(["producer", "producer_consumer"]),
        limit=st.sampled_from([None, 4]),
        demand=st.sampled_from(["forward", "accumulate"]),
    )
    def begin(self, spec: Any, kind: Any, limit: int | None, demand: Any) -> None:
        self.spec = spec
        self.bench = Bench(
            kind,
            StageSettings(spec, demand, limit),
            handle_demand=self.wanted,
            handle_events=lambda events, from_, state: NoReply(state, events=self.made(events)),
            handle_cancel=self.left,
        )
        self.core = self.bench.core
        self.customers: dict[str, Customer] = {}
        self.gone: list[Customer] = []
        self.numbers = itertools.count()
        self.names = itertools.count()
        self.asked_of_it = 0
        """What it was asked for, and has not made."""
        self.emitted = 0
        self.received: list[int] = []
        """Everything that was sent, in order."""
        self.upstream: Any = None
        if kind == "producer_consumer":
            self.upstream, _ = self.bench.subscribe_to("upstream", max_demand=5)
            self.deliver()

    def made(self, events: list[int]) -> list[int]:
        self.emitted += len(events)
        return events

    def left(self, why: Any, from_: From, state: Any) -> NoReply:
        # (What a producer-consumer says out of turn would come before what waits in its queue.)
        return NoReply(state, events=self.made([next(self.numbers)]) if self.upstream is None else [])

    def wanted(self, demand: int, state: Any) -> NoReply:
        assert demand > 0
        self.asked_of_it += demand
        return NoReply(state)

    def deliver(self) -> None:
        """Carry out what was sent until nothing more comes."""
        while sent := self.bench.outside.take():
            seen = []
            for pid, message in sent:
                match message:
                    case Events(from_, events):
                        customer = self.customers[from_.tag]  # type: ignore[index]
                        assert len(events) <= customer.asked
                        customer.asked -= len(events)
                        customer.got += events
                        seen += events
                    case Ask() if pid == "upstream":
                        self.asked_of_it += message.demand
                    case LookAgain():
                        self.bench.receive(message)
            self.received += dict.fromkeys(seen)

    @precondition(lambda self: len(self.customers) < 3)
    @rule()
    def subscribe(self) -> None:
        number = next(self.names)
        from_ = consumer(number)
        taken = {customer.from_.pid for customer in self.customers.values()}
        free = [name for name in range(3) if f"consumer {name}" not in taken]
        options = {}
        if isinstance(self.spec, Partition):
            from_ = From(f"consumer {free[0]}", from_.tag)  # type: ignore[arg-type]
            options = {"partition": free[0]}
        self.customers[from_.tag] = Customer(from_)  # type: ignore[index]
        self.bench.receive(Subscribe(from_, options))
        self.deliver()

    @precondition(lambda self: self.customers)
    @rule(data=st.data(), demand=st.integers(1, 6))
    def ask(self, data: st.DataObject, demand: int) -> None:
        customer = data.draw(st.sampled_from(list(self.customers.values())))
        customer.asked += demand
        self.bench.receive(Ask(customer.from_, demand))
        self.deliver()

    @precondition(lambda self: self.customers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(list(self.customers)))
        customer = self.customers[tag]
        self.bench.receive(Cancel(customer.from_, "enough"))
        self.deliver()
        self.gone.append(self.customers.pop(tag))

    @rule(count=st.integers(1, 6), push=st.booleans())
    def produce(self, count: int, push: bool) -> None:
        """As much as was asked for, or, if it is pushy, whatever it likes."""
        count = count if push and self.upstream is None else min(count, self.asked_of_it)
        if not count:
            return
        self.asked_of_it = max(0, self.asked_of_it - count)
        events = [next(self.numbers) for _ in range(count)]
        if self.upstream is None:
            self.core.emit(self.made(events))
        else:
            self.bench.receive(Events(self.upstream, events))
        self.deliver()

    @rule(mode=st.sampled_from(["forward", "accumulate"]))
    def switch(self, mode: Any) -> None:
        self.bench.run(self.core.set_demand(SetDemand(mode)))
        self.deliver()

    @invariant()
    def nothing_is_lost_or_overtaken(self) -> None:
        if not hasattr(self, "core"):
            return
        kept = self.core.buffer.size
        kept += sum(len(each) for each in self.core._accumulated or ())
        if isinstance(self.spec, Partition):
            lanes = self.core.dispatcher._lanes.values()  # type: ignore[attr-defined]
            kept += sum(len(lane.queue) for lane in lanes)
        assert len(self.received) + kept + self.core.buffer.dropped == self.emitted
        assert self.core.buffer.dropped == self.bench.outside.dropped
        if isinstance(self.spec, Partition):
            by_partition = defaultdict(list)
            for customer in (*self.gone, *self.customers.values()):
                by_partition[customer.from_.pid] += customer.got
            assert all(got == sorted(got) for got in by_partition.values())
        else:
            assert self.received == sorted(self.received)

    @invariant()
    def whoever_waits_is_waited_for(self) -> None:
        if hasattr(self, "core") and self.core.mode == "forward":
            assert not (self.core.buffer.size and self.core.dispatcher.wanted)
            assert self.core.dispatcher.wanted <= self.core._requested


TestAnyStage = AnyStage.TestCase
TestAnyStage.settings = settings(max_examples=100, deadline=None)


def test_a_dispatcher_that_cannot_be_set_is_made_anew_after_an_interrupt() -> None:
    class Own(DemandDispatcher):
        restore = None  # type: ignore[assignment]  # as one that knows nothing of it

    @attrs.frozen
    class Spec:
        def make(self) -> Own:
            return Own()

    bench = Bench("producer", StageSettings(dispatcher=Spec()))
    bench.receive(Subscribe(consumer(), {}))
    bench.receive(Ask(consumer(), 3))
    bench.core.emit([1])
    bench.core.dispatcher.dispatch([2])
    before, bench.core.was_cut = bench.core.dispatcher, True
    bench.receive(LookAgain())
    assert bench.core.dispatcher is not before
    assert bench.core.dispatcher.wanted == 2
