"""What a message of Kafka costs on its way to a handler, and a partition on its way to a member.

On librdkafka's mock cluster, which lives in the same program.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from resprout.actors import telemetry
from resprout.kafka import GroupSubscriber, MockCluster
from resprout.supervision import Supervisor
from resprout.throttle import new, stop_lock

from ..rows import Bar, Effort, Measure, Room, Row, Section
from ..timing import stopwatch

LOCK = "kafka_consumer_throttle"
PARTITIONS = 16


@attrs.define
class Brokers:
    """Three of them; groups have names that were not there before."""

    cluster: MockCluster
    groups: Iterator[int] = attrs.field(factory=itertools.count)

    @property
    def config(self) -> dict[str, Any]:
        """Options of a member."""
        return {"bootstrap.servers": self.cluster.servers, "log_level": 0}

    def group(self) -> str:
        """A new one."""
        return f"group-{next(self.groups)}"

    def fill(self, topic: str, messages: int) -> None:
        """Write messages, as many to each partition."""
        from confluent_kafka import Producer

        self.cluster.topic(topic, PARTITIONS)
        producer = Producer({**self.config, "linger.ms": 5})
        for number in range(messages):
            while True:
                try:
                    producer.produce(topic, b"value", partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.flush(60.0)


def subscribed(brokers: Brokers, topic: str, messages: int, throttle: str | None) -> float:
    """Microseconds a message from the start of a subscriber until all are handled."""
    left, done, gate = [messages], threading.Event(), threading.Lock()

    def handler(message: object) -> None:
        with gate:
            left[0] -= 1
            if not left[0]:
                done.set()

    subscriber = GroupSubscriber([topic], brokers.group(), handler, throttle=throttle, config=brokers.config)
    elapsed = stopwatch()
    pid = subscriber.start_link()
    done.wait()
    took = elapsed() / messages
    Supervisor.stop(pid)
    return took


def polled(brokers: Brokers, topic: str, messages: int) -> float:
    """The same for a loop around a consumer of confluent-kafka, without any handler."""
    from confluent_kafka import Consumer

    options = {"group.id": brokers.group(), "auto.offset.reset": "earliest", "enable.auto.commit": False}
    elapsed = stopwatch()
    consumer = Consumer({**brokers.config, **options})
    consumer.subscribe([topic])
    left = messages
    while left > 0:
        left -= sum(message.error() is None for message in consumer.consume(1000, 0.1))
    took = elapsed() / messages
    consumer.close()
    return took


def moved(brokers: Brokers, topic: str) -> dict[str, float]:
    """Seconds until all partitions are assigned and each has its process, and until all are given up."""
    assigned = threading.Event()
    telemetry.attach("assigned", ("resprout", "kafka", "assigned"), lambda *event: assigned.set())
    subscriber = GroupSubscriber([topic], brokers.group(), print, config=brokers.config)
    elapsed = stopwatch("s")
    pid = subscriber.start_link()
    assigned.wait()
    to_start = elapsed()
    elapsed = stopwatch("s")
    Supervisor.stop(pid)
    to_stop = elapsed()
    telemetry.detach("assigned")
    return {"assigned": to_start, "given up": to_stop}


# Sides --------------------------------------------------------------------------------------------


@contextmanager
def messages(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A topic that is read again and again, each time by a new group."""
    many = effort(100_000, least=PARTITIONS) // PARTITIONS * PARTITIONS
    with MockCluster(3) as cluster:
        brokers = Brokers(cluster)
        brokers.fill("messages", many)
        new(LOCK, 2)
        yield {
            "throttled": lambda: subscribed(brokers, "messages", many, LOCK),
            "free": lambda: subscribed(brokers, "messages", many, None),
            "a loop around consume()": lambda: polled(brokers, "messages", many),
        }
        stop_lock(LOCK)


@contextmanager
def partitions(effort: Effort) -> Iterator[Mapping[str, Measure]]:
    """A topic with 1,000 of them."""
    with MockCluster(3) as cluster:
        brokers = Brokers(cluster)
        cluster.topic("large", effort(1_000))
        yield {"rebalance": lambda: moved(brokers, "large")}


ROOM = Room(
    "kafka",
    "docs/kafka.md",
    (
        Section(
            "messages",
            "A message of 100,000 in 16 partitions, from the start of a group until all are handled.",
            messages,
            (
                Row(
                    "an empty handler, through a lock with 2 slots",
                    "throttled",
                    "a loop around consume()",
                    Bar(figure=1e6 / 20_000),
                ),
                Row("an empty handler", "free", "a loop around consume()"),
            ),
            repeats=5,
        ),
        Section(
            "partitions",
            "1,000 partitions, each with a process of its own.",
            partitions,
            (
                Row("assigned", "rebalance: assigned", bar=Bar(figure=2.0), unit="s"),
                Row("given up", "rebalance: given up", bar=Bar(figure=2.0), unit="s"),
            ),
            repeats=5,
        ),
    ),
)
