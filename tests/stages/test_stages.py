"""Stages as processes: what flows, who asks, who ends with whom."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from resprout import (
    INFINITY,
    TIMEOUT,
    BadReturn,
    BlockingInLoop,
    Bounded,
    Crash,
    Down,
    GenServer,
    NoReply,
    Ok,
    Pid,
    Registry,
    Reply,
    ServerExit,
    Shutdown,
    StartError,
    Stop,
    Supervisor,
    Via,
    process,
    stages,
    sys,
    telemetry,
)
from resprout.stages import (
    Automatic,
    Broadcast,
    Cancellation,
    Consumer,
    From,
    Manual,
    Partition,
    Producer,
    ProducerConsumer,
    SubscriptionCycle,
    UnknownProducer,
    subscribe,
)

PATIENCE = 20.0
Keep = Callable[[Any], Pid]


def await_down(ref: Any) -> Any:
    """The reason of a death."""
    down = process.receive(lambda message: isinstance(message, Down) and message.ref is ref, timeout=PATIENCE)
    return down.reason


def handled(pid: Pid) -> None:
    """Wait until a stage has handled what it was sent before."""
    sys.get_state(pid)


class Counter(Producer):
    """Gives the numbers from its argument on."""

    blocking = False

    def init(self, start: int) -> Any:
        return Ok(start)

    def handle_demand(self, demand: int, start: int) -> Any:
        return NoReply(start + demand, events=list(range(start, start + demand)))


class Collector(Consumer):
    """Puts batches into a queue. Its argument is that, and what it subscribes to."""

    blocking = False

    def init(self, arg: tuple[queue.SimpleQueue[Any], list[Any]]) -> Any:
        seen, subscribe_to = arg
        return Ok(seen, subscribe_to=subscribe_to)

    def handle_events(self, events: list[Any], from_: Any, seen: Any) -> Any:
        seen.put(events)
        return NoReply(seen)

    def handle_info(self, message: Any, seen: Any) -> Any:
        seen.put(message)
        return NoReply(seen)


class Pushed(Producer):
    """Sends what it is cast, and tells what it is asked for."""

    blocking = False

    def init(self, arg: Any) -> Any:
        told, options = arg if isinstance(arg, tuple) else (arg, {})
        return Ok(told, **options)

    def handle_demand(self, demand: int, told: Any) -> Any:
        if told is not None:
            told.put(demand)
        return NoReply(told)

    def handle_cast(self, events: list[Any], told: Any) -> Any:
        return NoReply(told, events=events)

    def handle_info(self, message: Any, told: Any) -> Any:
        told.put(message)
        return NoReply(told)


class Doubler(ProducerConsumer):
    """Sends twice each number."""

    blocking = False

    def init(self, subscribe_to: list[Any]) -> Any:
        return Ok(None, subscribe_to=subscribe_to)

    def handle_events(self, events: list[Any], from_: Any, state: None) -> Any:
        return NoReply(None, events=[2 * event for event in events])


def total(seen: queue.SimpleQueue[Any], count: int) -> list[Any]:
    """So many events, in the order of their coming, and no more for now."""
    events: list[Any] = []
    while len(events) < count:
        events += seen.get(timeout=PATIENCE)
    return events


# The three ways of being run ----------------------------------------------------------------------


class BlockingCounter(Counter):
    blocking = True


class AsyncCounter(Counter):
    async def handle_demand(self, demand: int, start: int) -> Any:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().handle_demand(demand, start)


class BlockingDoubler(Doubler):
    blocking = True


class AsyncDoubler(Doubler):
    async def handle_events(self, events: list[Any], from_: Any, state: None) -> Any:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().handle_events(events, from_, state)


class LimitedCollector(Collector):
    """Ends when it has seen 5,000 events."""

    def handle_events(self, events: list[Any], from_: Any, seen: Any) -> Any:
        seen.put(events)
        return Stop("normal", seen) if events[-1] >= 2 * 5_000 else NoReply(seen)


class BlockingCollector(LimitedCollector):
    blocking = True


class AsyncCollector(LimitedCollector):
    async def handle_events(self, events: list[Any], from_: Any, seen: Any) -> Any:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().handle_events(events, from_, seen)


@pytest.mark.parametrize("counter", [Counter, BlockingCounter, AsyncCounter])
@pytest.mark.parametrize("doubler", [Doubler, BlockingDoubler, AsyncDoubler])
@pytest.mark.parametrize("collector", [LimitedCollector, BlockingCollector, AsyncCollector])
def test_events_flow_in_order_whichever_way_stages_are_run(
    started: Keep, counter: Any, doubler: Any, collector: Any
) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(counter.start(0))
    b = started(doubler.start([(a, {"max_demand": 100})]))
    c = started(collector.start((seen, [(b, {"max_demand": 30})])))
    assert total(seen, 5_000)[:5_000] == [2 * number for number in range(5_000)]
    assert await_down(process.monitor(c)) in ("normal", "noproc")


def test_the_example_of_the_documentation(started: Keep) -> None:
    """GenStage's first page: A counts, B multiplies, C takes; subscribed from the end."""
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a, b = started(Counter.start(0)), started(Doubler.start([]))
    c = started(LimitedCollector.start((seen, [])))
    assert subscribe(c, to=b) is not None
    assert subscribe(b, to=a) is not None
    assert total(seen, 1_000)[:4] == [0, 2, 4, 6]


def test_a_stage_is_a_server_of_its_own_class(started: Keep) -> None:
    class Asked(Counter):
        def handle_call(self, message: Any, from_: Any, start: int) -> Any:
            return Reply((type(self).__name__, isinstance(self, Asked), self.pid, message), start)

    pid = started(Asked.start(7))
    assert pid.call("what?") == ("Asked", True, pid, "what?")
    assert sys.get_state(pid) == 7
    sys.replace_state(pid, lambda start: start + 1)
    assert sys.get_state(pid) == 8


# Who asks, and for how much -----------------------------------------------------------------------


def test_a_producer_is_asked_for_the_maximum_and_then_for_what_was_handled(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    started(Collector.start((seen, [(a, {"max_demand": 10, "min_demand": 6})])))
    assert told.get(timeout=PATIENCE) == 10
    a.cast([1, 2, 3])
    handled(a)
    assert told.empty()
    a.cast([4, 5])
    assert told.get(timeout=PATIENCE) == 5
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [[1, 2, 3], [4, 5]]


def test_the_defaults_are_1000_and_half_of_the_maximum(started: Keep) -> None:
    subscribed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Telling(Pushed):
        def handle_subscribe(self, kind: Any, options: Any, from_: Any, told: Any) -> Any:
            subscribed.put((kind, dict(options), from_))
            return Automatic(told)

    a = started(Telling.start(None))
    c = started(Collector.start((queue.SimpleQueue(), [])))
    from_ = subscribe(c, to=a, interval=5.0)
    assert from_ is not None
    kind, options, other = subscribed.get(timeout=PATIENCE)
    assert (kind, other) == ("consumer", From(c, from_.tag))
    assert options == {"max_demand": 1000, "min_demand": 500, "cancel": "permanent", "interval": 5.0}


def test_demand_by_hand(started: Keep) -> None:
    """GenStage's rate limiter, with a message in the place of its timer."""

    class Limited(Consumer):
        blocking = False

        def init(self, arg: Any) -> Any:
            seen, producer = arg
            return Ok((seen, None), subscribe_to=[(producer, {"max_demand": 3})])

        def handle_subscribe(self, kind: Any, options: Any, from_: Any, state: Any) -> Any:
            stages.ask(from_, options["max_demand"])
            return Manual((state[0], from_))

        def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
            state[0].put(events)
            return NoReply(state)

        def handle_info(self, message: Any, state: Any) -> Any:
            stages.ask(state[1], message)
            return NoReply(state)

    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Counter.start(0))
    limited = started(Limited.start((seen, a)))
    assert seen.get(timeout=PATIENCE) == [0, 1, 2]
    handled(limited)
    assert seen.empty()
    limited.send(2)
    assert seen.get(timeout=PATIENCE) == [3, 4]
    limited.send(0)
    handled(limited)
    handled(a)
    assert seen.empty()


@pytest.mark.parametrize("demand", [-1, 1.5, True, None])
def test_a_demand_that_is_none_is_refused_at_the_call(demand: Any) -> None:
    me = process.current()
    with pytest.raises(ValueError, match="expected demand to be an integer >= 0, got"):
        stages.ask(From(me, process.monitor(me)), demand)


def test_a_producer_may_answer_first_and_send_later(started: Keep) -> None:
    """GenStage's QueueBroadcaster: events and demand wait for each other in the state of the producer."""

    class QueueBroadcaster(Producer):
        blocking = False

        def init(self, arg: None) -> Any:
            return Ok(([], 0), dispatcher=Broadcast(), demand="accumulate")

        def handle_call(self, event: Any, from_: Any, state: Any) -> Any:
            return self.dispatch([*state[0], (from_, event)], state[1])

        def handle_demand(self, demand: int, state: Any) -> Any:
            return self.dispatch(state[0], state[1] + demand)

        def dispatch(self, waiting: list[Any], demand: int) -> Any:
            now, later = waiting[:demand], waiting[demand:]
            for from_, _ in now:
                GenServer.reply(from_, "sent")
            return NoReply((later, demand - len(now)), events=[event for _, event in now])

    seen: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue(), queue.SimpleQueue()]
    broadcaster = started(QueueBroadcaster.start())
    early = GenServer.send_request(broadcaster, "hello")
    for each in seen:
        started(Collector.start((each, [broadcaster])))
    stages.demand(broadcaster, "forward")
    assert broadcaster.call("world") == "sent"
    assert early.get(timeout=PATIENCE) == "sent"
    assert [total(each, 2) for each in seen] == [["hello", "world"]] * 2


def test_events_come_with_a_reply_and_before_it(started: Keep) -> None:
    class Answering(Pushed):
        def handle_call(self, events: list[Any], from_: Any, told: Any) -> Any:
            return Reply(len(events), told, events=events)

    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Answering.start(None))
    started(Collector.start((seen, [a])))
    assert a.call([1, 2]) == 2
    assert seen.get(timeout=PATIENCE) == [1, 2]


def test_a_callback_may_set_a_timeout_or_go_on_without_a_message(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Going(Pushed):
        def handle_demand(self, demand: int, told: Any) -> Any:
            return NoReply(told, continue_with=("demand", demand))

        def handle_subscribe(self, kind: Any, options: Any, from_: Any, told: Any) -> Any:
            return Automatic(told)

        def handle_cancel(self, reason: Any, from_: Any, told: Any) -> Any:
            return NoReply(told, timeout=0.0)

        def handle_continue(self, token: Any, told: Any) -> Any:
            told.put(token)
            return NoReply(told, events=["continued"])

    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Going.start(told))
    c = started(Collector.start((seen, [(a, {"max_demand": 4})])))
    assert told.get(timeout=PATIENCE) == ("demand", 4)
    assert seen.get(timeout=PATIENCE) == ["continued"]
    GenServer.stop(c)
    assert told.get(timeout=PATIENCE) is TIMEOUT


def test_two_callbacks_of_one_message_may_both_go_on(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Chatty(ProducerConsumer):
        blocking = False

        def init(self, subscribe_to: Any) -> Any:
            return Ok(None, subscribe_to=subscribe_to)

        def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
            return NoReply(state, continue_with=events)

        def handle_continue(self, token: Any, state: Any) -> Any:
            told.put(token)
            return NoReply(state)

    a = started(Pushed.start(None))
    b = started(Chatty.start([(a, {"max_demand": 2, "min_demand": 1})]))
    started(Collector.start((queue.SimpleQueue(), [b])))
    a.cast([1, 2])
    assert [told.get(timeout=PATIENCE) for _ in range(2)] == [[1], [2]]


# The buffer ---------------------------------------------------------------------------------------


def test_events_wait_for_a_consumer(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(None))
    a.cast([1, 2, 3])
    assert stages.estimate_buffered_count(a) == 3
    started(Collector.start((seen, [a])))
    assert seen.get(timeout=PATIENCE) == [1, 2, 3]
    assert stages.estimate_buffered_count(a) == 0


def test_what_came_while_the_consumer_was_away_is_sent_when_it_is_back(started: Keep) -> None:
    """Issue 311 of gen_stage, where it stays in the buffer: the dead consumer's demand is taken for the new
    one's.
    """

    class Remembering(Producer):
        blocking = False

        def init(self, arg: None) -> Any:
            return Ok(([], 0))

        def handle_cast(self, event: Any, state: Any) -> Any:
            return self.send([*state[0], event], state[1])

        def handle_demand(self, demand: int, state: Any) -> Any:
            return self.send(state[0], state[1] + demand)

        def send(self, events: list[Any], demand: int) -> Any:
            now = events[:demand]
            return NoReply((events[demand:], demand - len(now)), events=now)

    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Remembering.start())
    first = started(Collector.start((seen, [(a, {"max_demand": 10})])))
    GenServer.stop(first)
    for number in range(4):
        a.cast(number)
    assert stages.estimate_buffered_count(a) == 4
    started(Collector.start((seen, [(a, {"max_demand": 6})])))
    assert total(seen, 4) == [0, 1, 2, 3]
    for number in range(4, 30):
        a.cast(number)
    assert total(seen, 26) == list(range(4, 30))


@pytest.mark.parametrize(("keep", "left"), [("last", [4, 5]), ("first", [1, 2])])
def test_what_is_dropped_is_counted_and_told(
    started: Keep, caplog: pytest.LogCaptureFixture, keep: Any, left: list[int]
) -> None:
    heard: list[Any] = []
    telemetry.attach("test", ("resprout", "stages"), lambda *event: heard.append(event))
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start((None, {"buffer_size": 2, "buffer_keep": keep})))
    with caplog.at_level(logging.WARNING, "resprout.stages"):
        a.cast([1, 2, 3, 4, 5])
        handled(a)
    telemetry.detach("test")
    assert heard == [(("resprout", "stages", "discarded"), {"count": 3}, {"pid": a})]
    assert "dropped 3 events from its full buffer; 3 so far" in caplog.text
    started(Collector.start((seen, [a])))
    assert seen.get(timeout=PATIENCE) == left


def test_a_producer_may_keep_quiet_about_what_is_dropped(
    started: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    class Quiet(Pushed):
        def format_discarded(self, discarded: int, told: Any) -> bool:
            told.put(discarded)
            return False

    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Quiet.start((told, {"buffer_size": 1})))
    a.cast([1, 2, 3])
    assert told.get(timeout=PATIENCE) == 2
    handled(a)
    assert caplog.text == ""


def test_a_message_may_wait_for_what_is_in_the_buffer(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    stages.sync_info(a, "at once")
    assert told.get(timeout=PATIENCE) == "at once"
    a.cast([1, 2, 3])
    stages.sync_info(a, "behind")
    stages.async_info(a, "behind that")
    handled(a)
    assert told.empty()
    started(Collector.start((told, [a])))
    came = [told.get(timeout=PATIENCE) for _ in range(4)]
    assert [each for each in came if not isinstance(each, (list, int))] == ["behind", "behind that"]
    assert [1, 2, 3] in came


def test_demand_accumulates_until_all_are_there(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    seen: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue(), queue.SimpleQueue()]
    a = started(Pushed.start((told, {"demand": "accumulate", "dispatcher": Broadcast()})))
    assert stages.demand(a) == "accumulate"
    started(Collector.start((seen[0], [a])))
    a.cast([1, 2])
    started(Collector.start((seen[1], [a])))
    handled(a)
    assert told.empty()
    assert all(each.empty() for each in seen)
    stages.demand(a, "forward")
    assert [each.get(timeout=PATIENCE) for each in seen] == [[1, 2], [1, 2]]
    assert told.get(timeout=PATIENCE) == 998
    assert stages.demand(a) == "forward"
    with pytest.raises(ValueError, match="expected mode to be 'forward', 'accumulate', got: 'off'"):
        stages.demand(a, "off")  # type: ignore[call-overload]


# Dispatchers --------------------------------------------------------------------------------------


def test_partitions_by_processes(started: Keep) -> None:
    seen: dict[str, queue.SimpleQueue[Any]] = {"odd": queue.SimpleQueue(), "even": queue.SimpleQueue()}
    dispatcher = Partition(seen, hash=lambda event: "odd" if event % 2 else "even")
    a = started(Pushed.start((None, {"dispatcher": dispatcher})))
    for name, each in seen.items():
        started(Collector.start((each, [(a, {"partition": name})])))
    a.cast([1, 2, 3, 4])
    assert (total(seen["odd"], 2), total(seen["even"], 2)) == ([1, 3], [2, 4])


def test_who_wants_a_partition_that_is_taken_ends_with_the_reason_and_the_producer_lives(
    started: Keep,
) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start((None, {"dispatcher": Partition(1)})))
    started(Collector.start((seen, [(a, {"partition": 0})])))
    late = started(Collector.start((seen, [])))
    ref = process.monitor(late)
    subscribe(late, to=a, partition=0)
    reason = await_down(ref)
    assert isinstance(reason, Crash)
    assert "the partition 0 is already taken by" in str(reason.exception)
    a.cast([1])
    assert seen.get(timeout=PATIENCE) == [1]


def test_a_selector_chooses_in_the_producer(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Even(Counter):
        def init(self, start: int) -> Any:
            return Ok(start, dispatcher="broadcast")

    a = started(Even.start(0))
    c = started(Collector.start((seen, [])))
    from_ = subscribe(c, to=a, selector=lambda event: event % 2 == 0, max_demand=10)
    assert from_ is not None
    assert total(seen, 20)[:20] == list(range(0, 40, 2))


# Who ends with whom -------------------------------------------------------------------------------


@pytest.mark.parametrize("cancel", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("reason", ["normal", "shutdown", Shutdown("deploy"), "boom"])
@pytest.mark.parametrize("way", ["exit", "cancel"])
def test_what_the_end_of_a_producer_or_a_subscription_does_to_the_consumer(
    started: Keep, cancel: Any, reason: Any, way: str
) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Telling(Collector):
        def handle_cancel(self, reason: Any, from_: Any, seen: Any) -> Any:
            seen.put((reason, from_))
            return NoReply(seen)

    a = started(Pushed.start(None))
    c = started(Telling.start((seen, [])))
    ref = process.monitor(c)
    from_ = subscribe(c, to=a, cancel=cancel)
    assert from_ is not None
    handled(a)
    if way == "exit":
        process.exit(a, "kill") if reason == "boom" else GenServer.stop(a, reason)
        told = Cancellation("down", "killed" if reason == "boom" else reason)
    else:
        stages.cancel(from_, reason)
        told = Cancellation("cancel", reason)
    assert seen.get(timeout=PATIENCE) == (told, from_)
    ends = cancel == "permanent" or (cancel == "transient" and reason == "boom")
    if ends:
        assert await_down(ref) == told.reason
    else:
        handled(c)
        assert c.alive


def test_a_consumer_with_two_producers_survives_the_end_of_a_temporary_one(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a, b = started(Pushed.start(None)), started(Pushed.start(None))
    c = started(Collector.start((seen, [(a, {"cancel": "temporary"}), b])))
    GenServer.stop(a)
    handled(c)
    b.cast(["from b"])
    assert seen.get(timeout=PATIENCE) == ["from b"]


def test_a_subscription_may_be_renewed_with_other_options(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(told))
    c = started(Collector.start((seen, [])))
    former = subscribe(c, to=a, max_demand=4, cancel="temporary")
    assert former is not None
    assert told.get(timeout=PATIENCE) == 4
    renewed = stages.resubscribe(c, former, "renewed", a, max_demand=10, cancel="temporary")
    assert renewed is not None
    assert renewed != former
    assert told.get(timeout=PATIENCE) == 6  # four are on their way
    a.cast([1])
    assert seen.get(timeout=PATIENCE) == [1]


def test_a_restarted_stage_is_subscribed_again_by_name(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    children = [
        Counter.child_spec(0, name="numbers"),
        Doubler.child_spec([("numbers", {"max_demand": 10})], name="doubler"),
        Collector.child_spec((seen, [("doubler", {"max_demand": 10})])),
    ]
    tree = Supervisor.start_link(children, strategy="rest_for_one", max_restarts=10)
    for name in ("doubler", "numbers"):
        assert total(seen, 20)
        before = process.whereis(name)
        assert before is not None
        ref = process.monitor(before)
        process.exit(before, "kill")
        assert await_down(ref) == "killed"
        while not seen.empty():
            seen.get()
        assert total(seen, 100)
        assert process.whereis(name) is not before
    Supervisor.stop(tree)


class Gated(Consumer):
    """Handles one event after another, each when it is let."""

    def init(self, arg: Any) -> Any:
        gate, seen, producer = arg
        return Ok((gate, seen), subscribe_to=[(producer, {"max_demand": 10, "min_demand": 9})])

    def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
        gate, seen = state
        assert gate.acquire(timeout=PATIENCE)
        seen.put(events)
        return NoReply(state)


def test_a_killed_stage_loses_at_most_what_it_held_and_the_others_nothing(started: Keep) -> None:
    events, most = 2_000, 10
    source = started(stages.from_iterable(range(events), link=False))
    gates = [threading.Semaphore(0) for _ in range(3)]
    seen: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(3)]
    refs = []
    for gate, each in zip(gates, seen, strict=True):
        refs.append(process.monitor(started(Gated.start((gate, each, source)))))
    gates[0].release(25)
    first = total(seen[0], 25)
    victim = refs[0].target
    process.exit(victim, "kill")
    assert await_down(refs[0]) == "killed"
    for gate in gates:
        gate.release(events)
    assert [await_down(ref) for ref in refs[1:]] == ["normal", "normal"]
    got = list(first)
    for each in seen:
        while not each.empty():
            got += each.get()
    assert len(got) == len(set(got)), "an event came twice"
    assert set(got) <= set(range(events))
    lost = set(range(events)) - set(got)
    assert len(lost) <= most, "more was lost than it held"


def test_what_a_killed_producer_consumer_held_is_all_that_is_lost(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start((None, {"buffer_size": INFINITY})))
    b = started(Doubler.start([(a, {"max_demand": 10})]))
    c = started(Collector.start((seen, [(b, {"max_demand": 10, "cancel": "temporary"})])))
    sys.suspend(b)
    a.cast([*range(100)])
    assert stages.estimate_buffered_count(a) == 90
    ref = process.monitor(b)
    process.exit(b, "kill")
    assert await_down(ref) == "killed"
    again = started(Doubler.start([(a, {"max_demand": 10})]))
    subscribe(c, to=again, max_demand=10)
    assert total(seen, 90) == [2 * number for number in range(10, 100)]


# What is refused ----------------------------------------------------------------------------------


def test_an_unknown_producer_is_named(started: Keep, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StartError, match="UnknownProducer: no process: numbrs") as raised:
        Collector.start((queue.SimpleQueue(), ["numbrs"]))
    assert isinstance(raised.value.reason, Crash)
    assert raised.value.reason.exception.target == "numbrs"  # type: ignore[attr-defined]
    c = started(Collector.start((queue.SimpleQueue(), [])))
    ref = process.monitor(c)
    with pytest.raises(UnknownProducer, match="no process: numbrs"):
        subscribe(c, to="numbrs")
    assert await_down(ref) == "noproc"
    assert "it ends, as it was to subscribe to 'numbrs'" in caplog.text


def test_producers_may_be_named_by_a_registry(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    missing = started(Collector.start((seen, [])))
    with pytest.raises(UnknownProducer):
        subscribe(missing, to=Via("producers of a test", "numbers"))
    registry = started(Registry.start_link(keys="unique", name="producers of a test"))
    started(Counter.start(0, name=Via("producers of a test", "numbers")))
    started(Collector.start((seen, [(Via("producers of a test", "numbers"), {"max_demand": 2})])))
    assert total(seen, 4)[:4] == [0, 1, 2, 3]
    Registry.stop(registry)


def test_an_unknown_producer_of_a_temporary_subscription_is_nobody(started: Keep) -> None:
    c = started(Collector.start((queue.SimpleQueue(), [("numbrs", {"cancel": "temporary"})])))
    assert subscribe(c, to="numbrs", cancel="temporary") is None
    assert c.alive


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_demand": 0}, "expected max_demand to be a positive integer, got: 0"),
        ({"max_demand": 5, "min_demand": 5}, "expected min_demand to be an integer from 0 to 4"),
        ({"cancel": "sometimes"}, "expected cancel to be"),
    ],
)
def test_options_are_refused_at_the_call_and_nobody_notices(
    started: Keep, options: Any, problem: str
) -> None:
    a = started(Pushed.start(None))
    c = started(Collector.start((queue.SimpleQueue(), [])))
    for call in (subscribe, stages.subscribe_later):
        with pytest.raises(ValueError, match=problem):
            call(c, a, **options)
    with pytest.raises(StartError, match=problem):
        Collector.start((queue.SimpleQueue(), [(a, options)]))
    assert c.alive


def test_a_circle_of_subscriptions_is_refused_and_nobody_ends(started: Keep) -> None:
    a, b, c = (started(Doubler.start([])) for _ in range(3))
    subscribe(b, to=a)
    subscribe(c, to=b)
    with pytest.raises(SubscriptionCycle) as raised:
        subscribe(a, to=c)
    assert raised.value.chain == (a, c, b, a)
    assert "expected subscriptions without a circle" in str(raised.value)
    with pytest.raises(SubscriptionCycle):
        subscribe(a, to=a)
    assert a.alive
    source = started(Counter.start(0))
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    subscribe(a, to=source, max_demand=10)
    started(LimitedCollector.start((seen, [(c, {"max_demand": 10})])))
    assert total(seen, 4)[:4] == [0, 8, 16, 24]


def test_two_who_close_a_circle_at_the_same_time_do_not_both_succeed(started: Keep) -> None:
    for _ in range(20):
        a, b = started(BlockingDoubler.start([])), started(BlockingDoubler.start([]))
        asked = [GenServer.send_request(x, stages_request(y)) for x, y in ((a, b), (b, a))]
        outcomes = []
        for each in asked:
            try:
                outcomes.append(each.get(timeout=PATIENCE))
            except SubscriptionCycle as error:
                outcomes.append(error)
        assert any(isinstance(each, SubscriptionCycle) for each in outcomes)


def stages_request(to: Pid) -> Any:
    from resprout.stages.messages import SubscribeTo

    return SubscribeTo(to, {})


def test_consumers_are_no_producers_and_producers_no_consumers(started: Keep) -> None:
    a = started(Pushed.start(None))
    b, c = (started(Collector.start((queue.SimpleQueue(), []))) for _ in range(2))
    with pytest.raises(ValueError, match=r"expected a producer to subscribe to, got: .* which is a consumer"):
        subscribe(b, to=c)
    with pytest.raises(TypeError, match="is a producer, which subscribes to nobody"):
        subscribe(a, to=a)
    with pytest.raises(TypeError, match="is a consumer, which knows nothing of that"):
        stages.estimate_buffered_count(b)
    assert all(pid.alive for pid in (a, b, c))


@pytest.mark.parametrize(
    ("stage", "options", "problem"),
    [
        (Pushed, {"buffer_size": -1}, "expected buffer_size to be an integer >= 0 or INFINITY, got: -1"),
        (Pushed, {"buffer_keep": "middle"}, "expected buffer_keep to be 'first', 'last', got: 'middle'"),
        (Pushed, {"demand": "off"}, "expected demand to be 'forward', 'accumulate', got: 'off'"),
        (Pushed, {"dispatcher": "demnd"}, "expected dispatcher to be 'demand', 'broadcast', 'partition'"),
        (Pushed, {"dispatcher": 7}, "expected dispatcher to be Demand, Broadcast or Partition, got: 7"),
        (Pushed, {"dispatcher": Partition}, "expected Partition.partitions=...., got no partitions"),
        (Pushed, {"subscribe_to": []}, "a producer has no option 'subscribe_to' of init; it has: dispatcher"),
    ],
)
def test_options_of_init_are_refused_by_name(stage: Any, options: Any, problem: str) -> None:
    with pytest.raises(StartError, match=problem):
        stage.start((None, options))


def test_another_server_takes_no_events_and_no_options() -> None:
    class Plain(GenServer):
        def init(self, options: Any) -> Any:
            return Ok(None, **options)

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply("answer", state, events=[1])

    with pytest.raises(StartError, match="expected Ok"):
        Plain.start({"subscribe_to": ["numbers"]})
    with pytest.raises(TypeError, match="Ok has no argument 'subscribe'"):
        Ok(None, subscribe=[])  # type: ignore[call-arg]
    process.trap_exit(True)
    plain = Plain.start({})
    ref = process.monitor(plain)
    request = GenServer.send_request(plain, "what?")
    reason = await_down(ref)
    process.trap_exit(False)
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, BadReturn)
    with pytest.raises(ServerExit):
        request.get(timeout=PATIENCE)


def test_a_callback_that_is_missing_is_named(started: Keep) -> None:
    a = started(Producer.start())
    c = started(Collector.start((queue.SimpleQueue(), [])))
    ref = process.monitor(a)
    subscribe(c, to=a, cancel="temporary")
    reason = await_down(ref)
    assert "Producer is asked for events but defines no handle_demand" in str(reason.exception)


# Coroutines ---------------------------------------------------------------------------------------


def test_stages_of_a_loop_are_used_from_it() -> None:
    async def main() -> Any:
        seen: asyncio.Queue[Any] = asyncio.Queue()

        class Local(Consumer):
            async def init(self, arg: Any) -> Any:
                return Ok(None)

            async def handle_events(self, events: list[Any], from_: Any, state: Any) -> Any:
                await seen.put(events)
                return NoReply(state)

        a = await AsyncCounter.astart(0)
        c = await Local.astart()
        assert await stages.asubscribe(c, a, max_demand=4) is not None
        assert await stages.ademand(a) == "forward"
        got: list[Any] = []
        while len(got) < 10:
            got += await seen.get()
        assert await stages.aestimate_buffered_count(a) == 0
        await GenServer.astop(c)
        await GenServer.astop(a)
        return got[:10]

    assert asyncio.run(main()) == list(range(10))


def test_what_would_block_a_loop_names_what_does_not(started: Keep) -> None:
    a = started(BlockingCounter.start(0))
    b = started(BlockingDoubler.start([]))

    async def main() -> None:
        for call, instead in (
            (lambda: subscribe(b, to=a), "await stages.asubscribe"),
            (lambda: stages.resubscribe(b, From(a, None), "why", a), "await stages.aresubscribe"),  # type: ignore[arg-type]
            (lambda: stages.demand(a), "await stages.ademand"),
            (lambda: stages.estimate_buffered_count(a), "await stages.aestimate_buffered_count"),
            (lambda: stages.sync_info(a, "then"), "stages.async_info"),
            (lambda: stages.from_iterable([]), "await stages.afrom_iterable"),
            (lambda: next(iter(stages.stream([a]))), "async for"),
        ):
            with pytest.raises(BlockingInLoop, match=instead):
                call()

    asyncio.run(main())


def test_a_bounded_mailbox_takes_what_was_asked_for(started: Keep) -> None:
    class Small(Collector):
        mailbox = Bounded(1, on_full="drop_newest")

    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start(None))
    c = started(Small.start((seen, [a])))
    sys.suspend(c)
    for number in range(10):
        a.cast([number])
    handled(a)
    sys.resume(c)
    assert total(seen, 10) == list(range(10))


def test_a_thread_may_be_a_consumer_by_the_messages_alone(started: Keep) -> None:
    a = started(Counter.start(0))
    ref = process.monitor(a)
    mine = From(process.current(), ref)
    a.send(stages.Subscribe(mine, {}))
    a.send(stages.Ask(mine, 3))
    came = process.receive(lambda message: isinstance(message, stages.Events), timeout=PATIENCE)
    assert came == stages.Events(From(a, ref), [0, 1, 2])
    a.send(stages.Cancel(mine, "enough"))
    over = process.receive(lambda message: isinstance(message, stages.Cancelled), timeout=PATIENCE)
    assert over == stages.Cancelled(From(a, ref), "enough")
    process.demonitor(ref, flush=True)


def test_memory_is_flat_and_nothing_is_kept(started: Keep) -> None:
    numbers = itertools.count()
    source = started(stages.from_iterable(numbers, link=False, blocking=False))
    for event in stages.stream([(source, {"max_demand": 100})]):
        if event == 50_000:
            break
    assert next(numbers) <= 50_000 + 201
    assert stages.estimate_buffered_count(source) <= 100


class Leaving(Pushed):
    """Tells of subscriptions that end, and sends an event for each."""

    def handle_cancel(self, reason: Cancellation, from_: From, told: Any) -> Any:
        told.put(reason)
        return NoReply(told, events=["left"])


def test_who_subscribes_to_another_in_the_place_of_one_has_left_that_one(started: Keep) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a, b = started(Leaving.start(told)), started(Pushed.start(None))
    c = started(Collector.start((seen, [])))
    former = subscribe(c, to=a, max_demand=4, cancel="temporary")
    assert former is not None
    stages.resubscribe(c, former, "moved", to=b, cancel="temporary")
    assert told.get(timeout=PATIENCE) == 4
    assert told.get(timeout=PATIENCE) == ("cancel", "moved")
    b.cast(["from b"])
    assert seen.get(timeout=PATIENCE) == ["from b"]


def test_who_takes_the_place_of_a_subscription_of_somebody_else_takes_nothing(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Pushed.start((None, {"dispatcher": Broadcast()})))
    c, d = started(Collector.start((seen, []))), started(Collector.start((seen, [])))
    of_c = subscribe(c, to=a, cancel="temporary")
    assert of_c is not None
    stages.resubscribe(d, of_c, "stolen", to=a, cancel="temporary")
    handled(d)
    a.cast(["for both"])
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [["for both"]] * 2


def test_what_is_kept_goes_before_what_comes_of_an_end(started: Keep) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    a = started(Leaving.start((told, {"dispatcher": Broadcast()})))
    quick, slow = started(Collector.start((seen, []))), started(ManualCollector.start(None))
    subscribe(quick, to=a, max_demand=10, cancel="temporary")
    subscribe(slow, to=a, cancel="temporary")
    a.cast(["kept"])
    process.exit(slow, "kill")
    assert [seen.get(timeout=PATIENCE) for _ in range(2)] == [["kept"], ["left"]]


class ManualCollector(Consumer):
    blocking = False

    def handle_subscribe(self, kind: Any, options: Any, from_: From, state: Any) -> Any:
        return Manual(state)

    def handle_events(self, events: list[Any], from_: From, state: Any) -> Any:
        return NoReply(state)


def test_a_demand_that_is_too_big_again_and_again_is_told_of_once(
    started: Keep, caplog: pytest.LogCaptureFixture
) -> None:
    a = started(Counter.start(0))
    c = ManualCollector.start()
    from_ = subscribe(started(c), to=a)
    assert from_ is not None
    a.send(stages.Ask(From(c, from_.tag), 1))
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            a.send(stages.Ask(From(c, from_.tag), 2))
        handled(a)
    assert caplog.text.count("expects consumers to ask for at most 1") == 1


def test_the_class_of_a_stage_is_told_once_of_a_subclass_with_its_keywords(started: Keep) -> None:
    known: list[tuple[str, str]] = []

    class Topical(Consumer):
        topic = "none"

        def __init_subclass__(cls, *, topic: str, **keywords: Any) -> None:
            super().__init_subclass__(**keywords)
            cls.topic = topic
            known.append((cls.__name__, topic))

        def handle_call(self, message: Any, from_: Any, state: Any) -> Any:
            return Reply(self.topic, state)

    class Orders(Topical, topic="orders"):
        pass

    assert started(Orders.start()).call("topic") == "orders"
    assert known == [("Orders", "orders")]


def test_what_is_accumulated_and_what_waits_for_a_partition_is_counted(started: Keep) -> None:
    a = started(Pushed.start((None, {"demand": "accumulate"})))
    a.cast([1, 2, 3])
    assert stages.estimate_buffered_count(a) == 3
    b = started(Pushed.start((None, {"dispatcher": Partition(2, hash=lambda event: 0)})))
    c = started(Collector.start((queue.SimpleQueue(), [(b, {"partition": 1, "max_demand": 10})])))
    b.cast([1, 2, 3])
    handled(c)
    assert stages.estimate_buffered_count(b) == 3


def test_demand_for_what_is_no_subscription_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected from_ to be a subscription .*, got: 'x'"):
        stages.ask("x", 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected from_ to be a subscription .*, got: None"):
        stages.cancel(None, "enough")  # type: ignore[arg-type]


def test_a_producer_consumer_accumulates_nothing(started: Keep, caplog: pytest.LogCaptureFixture) -> None:
    a = started(Counter.start(0))
    b = started(Doubler.start([(a, {"max_demand": 2})]))
    with caplog.at_level(logging.WARNING):
        stages.demand(b, "accumulate")
        handled(b)
    assert "only a producer can accumulate demand" in caplog.text
    assert list(itertools.islice(stages.stream([b]), 3)) == [0, 2, 4]


def test_who_was_refused_as_a_circle_may_be_subscribed_to_later(started: Keep) -> None:
    a, b = started(Doubler.start([])), started(Doubler.start([]))
    from_ = subscribe(a, to=b, cancel="temporary")
    assert from_ is not None
    with pytest.raises(SubscriptionCycle):
        subscribe(b, to=a)
    stages.cancel(From(b, from_.tag), "enough")
    handled(b)
    handled(a)
    assert subscribe(a, to=b, cancel="temporary") is not None


def test_a_message_without_a_callback_ends_the_wait_that_a_callback_has_begun(started: Keep) -> None:
    class Waiting(Pushed):
        def handle_cast(self, message: Any, told: Any) -> Any:
            return NoReply(told, timeout=3600.0)

    a = started(Waiting.start(None))
    a.cast("wait")
    assert a._tick is not None  # type: ignore[attr-defined]
    stages.demand(a, "forward")
    handled(a)
    assert a._tick is None  # type: ignore[attr-defined]
