"""How far each partition is, as those see it who watch the program: on librdkafka's mock cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from resprout import GenServer
from resprout.connectors.kafka import standings, watch_ends
from resprout.kafka import KafkaProducer

from ...waiting import WATCHDOG, until
from .test_kafka_producer import Collector


@pytest.fixture
def watched() -> Iterator[None]:
    watch_ends(True)
    yield
    watch_ends(False)


def of(topic: str, partition: int) -> Any:
    """What there is of one partition; None while it is not assigned."""
    return next((each for each in standings() if (each.topic, each.partition) == (topic, partition)), None)


def test_a_subscriber_tells_its_lag_what_is_committed_and_what_is_in_flight(
    cluster, subscribe, seen, hold, watched
) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(40))

    def handler(message: Any) -> None:
        if message.offset() == 10:
            assert hold.wait(WATCHDOG)
        seen(message)

    subscribe(topic, group, handler, prefetch=20, commit_interval=0.05)
    until(lambda: (found := of(topic, 0)) is not None and (found.committed, found.lag) == (10, 30))
    assert of(topic, 0).group == group
    assert 0 < of(topic, 0).in_flight <= 20
    hold.set()
    until(lambda: (of(topic, 0).committed, of(topic, 0).lag, of(topic, 0).in_flight) == (40, 0, 0))


def test_a_producer_stage_tells_the_same(cluster, config, watched) -> None:
    topic, group = cluster.new_topic(1), cluster.name("group")
    cluster.fill(topic, 0, range(8))
    options = {"topics": [topic], "group": group, "config": config, "commit_interval": 0.05}
    producer = KafkaProducer.start(options)
    look: Callable[[Any], bool] = lambda message: message.offset() < 5
    collector = Collector.start((producer, 100, look))
    until(lambda: (found := of(topic, 0)) is not None and (found.committed, found.lag) == (5, 3))
    assert of(topic, 0).in_flight == 3
    for each in (collector, producer):
        GenServer.stop(each)


def test_where_partitions_end_is_not_asked_while_nobody_watches(cluster, subscribe, seen) -> None:
    topic = cluster.new_topic(1)
    cluster.fill(topic, 0, range(3))
    subscribe(topic, cluster.name("group"), seen, commit_interval=0.05)
    seen.wait_for(3)
    until(lambda: of(topic, 0).committed == 3)
    assert of(topic, 0).lag is None
