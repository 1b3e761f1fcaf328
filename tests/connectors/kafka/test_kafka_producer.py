"""A producer stage whose events are the messages of topics."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resprout import (
    Application,
    ChildSpec,
    GenServer,
    NoReply,
    Ok,
    Pid,
    SpecError,
    StartError,
    Supervisor,
    process,
    stages,
)
from resprout.connectors.kafka.acknowledged import Acknowledged
from resprout.connectors.kafka.source import Source, SourceOptions
from resprout.kafka import KafkaProducer, ack

from ...waiting import WATCHDOG, await_end, down_of, until


class Collector(stages.Consumer):
    """Shows what it gets to `seen`, and acknowledges what that returns true for."""

    def init(self, arg: Any) -> Ok:
        producer, wanted, look = arg
        return Ok(look, subscribe_to=[(producer, {"max_demand": wanted, "cancel": "temporary"})])

    def handle_events(self, events: list[Any], from_: Any, look: Any) -> NoReply:
        ack(from_.pid, [event for event in events if look(event)])
        return NoReply(look)


@pytest.fixture
def start(config: dict[str, Any]) -> Iterator[Callable[..., Pid]]:
    """Start a producer; all processes of a test are stopped at its end, those that came last first."""
    pids: list[Pid] = []

    def begin(what: Any, *args: Any, **options: Any) -> Pid:
        if what is KafkaProducer:
            topic, group = args
            pid = KafkaProducer.start({"topics": [topic], "group": group, "config": config, **options})
        else:
            pid = what.start(args)
        pids.append(pid)
        return pid

    yield begin
    for pid in reversed(pids):
        if pid.alive:
            GenServer.stop(pid)


def looked_at(seen: Any, acknowledged: bool = True) -> Callable[[Any], bool]:
    def look(message: Any) -> bool:
        seen(message)
        return acknowledged

    return look


def test_messages_are_events_and_are_committed_when_they_were_acknowledged(
    cluster, start, seen, heard
) -> None:
    topic, group = cluster.new_topic(3), cluster.name("group")
    for partition in range(3):
        cluster.fill(topic, partition, range(20))
    producer = start(KafkaProducer, topic, group, commit_interval=0.0)
    start(Collector, producer, 10, looked_at(seen))
    seen.wait_for(60)
    assert seen.by_partition == {partition: list(range(20)) for partition in range(3)}
    for partition in range(3):
        key = (topic, partition)
        until(lambda key=key: any(each["offsets"].get(key) == 20 for each in heard.of("committed")))
    assert cluster.committed(group, topic, 3) == [20, 20, 20]


def test_no_more_is_fetched_than_was_asked_for(cluster, start, seen) -> None:
    topic = cluster.new_topic(1)
    cluster.fill(topic, 0, range(100))

    class Asking(stages.Consumer):
        def init(self, producer: Any) -> Ok:
            return Ok(None, subscribe_to=[(producer[0], {"max_demand": 1000})])

        def handle_subscribe(self, kind: Any, options: Any, from_: Any, state: Any) -> Any:
            stages.ask(from_, 7)
            return stages.Manual(from_)

        def handle_events(self, events: list[Any], from_: Any, state: Any) -> NoReply:
            for event in events:
                seen(event)
            return NoReply(state)

        def handle_info(self, message: Any, state: Any) -> NoReply:
            stages.ask(state, message)
            return NoReply(state)

    producer = start(KafkaProducer, topic, cluster.name("group"))
    consumer = start(Asking, producer)
    seen.wait_for(7)
    source = producer.actor.source  # type: ignore[attr-defined]
    until(lambda: source._paused)
    assert len(seen.calls) == 7
    consumer.send(5)
    seen.wait_for(12)
    until(lambda: source._paused)
    assert seen.by_partition == {0: list(range(12))}


def test_what_is_not_acknowledged_is_not_committed_and_comes_again(cluster, start, seen) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(10))

    def look(message: Any) -> bool:
        seen(message)
        return message.offset() not in (4, 7)

    producer = start(KafkaProducer, topic, group, drain=0.0)
    start(Collector, producer, 20, look)
    seen.wait_for(10)
    GenServer.stop(producer)
    assert cluster.committed(group, topic, 1) == [4]
    start(Collector, start(KafkaProducer, topic, group), 20, looked_at(seen))
    seen.wait_for(16)
    assert seen.by_partition[0][10:] == list(range(4, 10))


def test_with_commit_at_delivery_what_was_sent_is_done(cluster, start, seen) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(10))
    producer = start(KafkaProducer, topic, group, commit="delivery")
    start(Collector, producer, 20, looked_at(seen, acknowledged=False))
    seen.wait_for(10)
    GenServer.stop(producer)
    assert cluster.committed(group, topic, 1) == [10]


def test_what_a_dead_consumer_had_is_fetched_once_more(cluster, start, seen) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(30))

    def look(message: Any) -> bool:
        seen(message)
        if message.offset() == 5:
            process.exit("bad day")
        return True

    producer = start(KafkaProducer, topic, group)
    start(Collector, producer, 10, look)
    seen.wait_for(6)
    start(Collector, producer, 10, looked_at(seen))
    seen.wait(lambda: {offset for _, offset, _ in seen.calls} == set(range(30)))
    GenServer.stop(producer)
    assert cluster.committed(group, topic, 1) == [30]


class Slow:
    """A client that answers a commit in the background when it is polled, and not before."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.order: list[str] = []
        self.waiting: Any = None

    def commit(self, *, offsets: Any, asynchronous: bool) -> Any:
        if asynchronous:
            self.waiting = offsets
            return None
        self.order.append(f"last: {offsets[0].offset}")
        return offsets

    def poll(self, seconds: float) -> None:
        if self.waiting is not None:
            self.order.append(f"in the background: {self.waiting[0].offset}")
            places, self.waiting = self.waiting, None
            self.source._answered(None, places)


def test_the_last_commit_comes_behind_the_one_in_the_background(config) -> None:
    source = Source(
        SourceOptions.of({"topics": ["t"], "group": "g", "config": config}), lambda patience: False
    )
    client, source._consumer = source._consumer, Slow(source)
    offsets = source.offsets["t", 0] = Acknowledged()
    for offset in range(2):
        offsets.gave(offset)
        offsets.ack(offset)
        source._commit_if_due()
    source.settle(1.0)
    assert source._consumer.order == ["in the background: 1", "last: 2"]
    client.close()


@pytest.mark.slow
def test_a_killed_producer_is_replaced_with_nothing_lost(cluster, config, seen, supervised) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(200))
    name = cluster.name("producer")
    options = {"topics": [topic], "group": group, "config": config, "commit_interval": 0.0}

    class Following(Collector):
        def init(self, arg: Any) -> Ok:
            return Ok(arg, subscribe_to=[(name, {"max_demand": 10})])

    tree = supervised(
        ChildSpec("producer", (KafkaProducer.start_link, (options,), {"name": name})),
        ChildSpec("consumer", (Following.start_link, (looked_at(seen),), {})),
        strategy="rest_for_one",
    )
    seen.wait_for(50)
    victim = process.whereis(name)
    assert victim is not None
    assert await_end(victim) == "killed"
    seen.wait(lambda: {offset for _, offset, _ in seen.calls} == set(range(200)))
    Supervisor.stop(tree)
    assert cluster.committed(group, topic, 1) == [200]


def test_acknowledgements_are_waited_for_when_it_stops(cluster, config, start, seen) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(3))
    got: list[Any] = []
    stopping = threading.Event()

    class Told(KafkaProducer):
        def terminate(self, reason: object, source: Any) -> None:
            stopping.set()
            super().terminate(reason, source)

    def keep(message: Any) -> bool:
        got.append(message)
        seen(message)
        return False

    producer = Told.start({"topics": [topic], "group": group, "config": config, "drain": WATCHDOG})
    start(Collector, producer, 10, keep)
    seen.wait_for(3)
    ref = process.monitor(producer)
    process.spawn(GenServer.stop, producer)
    assert stopping.wait(WATCHDOG)
    ack(producer, got)
    assert down_of(ref).reason == "normal"
    assert cluster.committed(group, topic, 1) == [3]


@pytest.mark.slow
def test_a_new_member_gets_its_share_after_what_was_sent_is_acknowledged(cluster, start, seen, heard) -> None:
    topic, group = cluster.new_topic(2), cluster.name("group")
    for partition in range(2):
        cluster.fill(topic, partition, range(10))
    first = start(KafkaProducer, topic, group)
    start(Collector, first, 5, looked_at(seen))
    seen.wait_for(20)
    second = start(KafkaProducer, topic, group)
    start(Collector, second, 5, looked_at(seen))
    # However often the mock has the members join again, in the end each has a partition of its own.
    alone = [((topic, number),) for number in range(2)]
    until(lambda: all(each in [event["partitions"] for event in heard.of("assigned")] for each in alone))
    names = [event for event, _, _ in heard.events]
    offered = [
        each["offsets"]
        for event, _, each in heard.events[: names.index("revoked")]
        if event in ("committed", "not_committed")
    ]
    assert all(any(offsets.get((topic, number)) == 10 for offsets in offered) for number in range(2))
    for partition in range(2):
        cluster.fill(topic, partition, range(10, 20))
    seen.wait(
        lambda: all(
            {offset for at, offset, _ in seen.calls if at == number} == set(range(20)) for number in (0, 1)
        )
    )


TREE = """
    name: pipeline
    children:
      - producer: orders
        start: "resprout.kafka:KafkaProducer"
        args:
          topics: [{topic}]
          group: {group}
          config: {{bootstrap.servers: "{servers}", session.timeout.ms: 2200}}
      - {{consumer: printer, start: "{module}:Printer", subscribe_to: [{{to: orders, max_demand: 10}}]}}
"""
MODULE = """
    import queue
    from resprout import NoReply, Ok
    from resprout.kafka import ack
    from resprout.stages import Consumer

    seen = queue.SimpleQueue()

    class Printer(Consumer):
        def init(self, arg):
            return Ok(None)

        def handle_events(self, events, from_, state):
            for event in events:
                seen.put(event.value())
            ack(from_.pid, events)
            return NoReply(None)
"""


def test_a_producer_in_a_tree_file(cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, ["a", "b"])
    module = f"pipeline_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(textwrap.dedent(MODULE), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = textwrap.dedent(TREE).format(topic=topic, group=group, servers=cluster.servers, module=module)
    (tmp_path / "tree.yaml").write_text(text, encoding="utf-8")
    tree = Application.load(str(tmp_path / "tree.yaml"))
    tree.start()
    place = __import__(module).seen
    assert [place.get(timeout=WATCHDOG) for _ in range(2)] == [b"a", b"b"]
    tree.stop()
    assert cluster.committed(group, topic, 1) == [2]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (None, "expected a mapping such as {'topics': ['orders'], 'group': 'shop'}, got: None"),
        ({"group": "g"}, "it is missing"),
        ({"topics": ["a"], "group": "g", "prefech": 1}, "got: 'prefech'"),
        ({"topics": ["a"], "group": "g", "commit": "after"}, "expected one of 'ack', 'delivery'"),
        ({"topics": ["a"], "group": "g", "drain": -1}, "expected a number of seconds >= 0, got: -1"),
        ({"topics": [], "group": "g"}, "expected at least one topic"),
        ({"topics": ["a"], "group": ""}, "expected a text that is not empty"),
        ({"topics": ["a"], "group": "g", "config": {"x.y": 1}}, 'No such configuration property: "x.y"'),
    ],
)
def test_what_is_wrong_with_its_options_is_told_at_the_start(options: Any, problem: str) -> None:
    with pytest.raises(StartError) as raised:
        KafkaProducer.start(options)
    error = raised.value.reason.exception  # type: ignore[attr-defined]  # it has crashed
    assert isinstance(error, SpecError)
    assert problem in str(error)
