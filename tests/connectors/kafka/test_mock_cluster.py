"""Brokers without a server."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from resprout.connectors.kafka import mock_cluster
from resprout.kafka import MockCluster


def test_what_is_written_can_be_read_until_it_is_closed() -> None:
    with MockCluster() as cluster:
        assert cluster.topic("orders", partitions=3) == "orders"
        producer = Producer({"bootstrap.servers": cluster.servers})
        assert len(producer.list_topics("orders", timeout=10.0).topics["orders"].partitions) == 3
        producer.produce("orders", b"mug", partition=2)
        assert producer.flush(10.0) == 0
        consumer = Consumer({"bootstrap.servers": cluster.servers, "group.id": "shop"})
        consumer.assign([TopicPartition("orders", 2, 0)])
        message = consumer.poll(10.0)
        assert message is not None
        assert message.value() == b"mug"
        consumer.close()
        del producer
    cluster.close()
    with pytest.raises(ValueError, match="this one is closed"):
        cluster.topic("more")


def test_a_topic_is_made_once() -> None:
    with MockCluster() as cluster:
        cluster.topic("orders")
        with pytest.raises(ValueError, match="topic 'orders' with 2 partitions was not made"):
            cluster.topic("orders", 2)


def test_a_broker_that_is_down_takes_no_connections_until_it_is_up() -> None:
    with MockCluster() as cluster:
        cluster.down(1)
        producer = Producer({"bootstrap.servers": cluster.servers, "log_level": 0})
        with pytest.raises(KafkaException):
            producer.list_topics(timeout=0.2)
        cluster.up(1)
        assert list(producer.list_topics(timeout=10.0).brokers) == [1]
        del producer


def test_without_the_library_the_error_says_what_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock_cluster.Path, "glob", lambda self, pattern: [])
    monkeypatch.setattr(mock_cluster.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(RuntimeError, match=r"expected librdkafka beside .*confluent_kafka"):
        MockCluster()
