"""A mock cluster, with names that nothing had before, and looks at what is in it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import confluent_kafka

from resprout.kafka import MockCluster


class Cluster(MockCluster):
    """Of three brokers."""

    def __init__(self) -> None:
        super().__init__(3)
        self.brokers = (1, 2, 3)
        self._numbers = itertools.count()
        self._producer = confluent_kafka.Producer({"bootstrap.servers": self.servers, "log_level": 0})

    def name(self, what: str = "topic") -> str:
        """A name that nothing had before."""
        return f"{what}-{next(self._numbers)}"

    def new_topic(self, partitions: int = 1) -> str:
        """A topic with such a name."""
        return self.topic(self.name(), partitions)

    def fill(self, topic: str, partition: int, values: Iterable[object]) -> None:
        """Write messages, each with its value as the key, too."""
        told: list[Any] = []
        count = 0
        for value in values:
            text = str(value).encode()
            while True:
                try:
                    self._producer.produce(
                        topic, text, text, partition, on_delivery=lambda error, _: told.append(error)
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
            count += 1
        self._producer.flush(60.0)
        assert told == [None] * count

    def committed(self, group: str, topic: str, partitions: int) -> list[int | None]:
        """What the brokers know of a group's offsets."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.servers, "group.id": group})
        places = [confluent_kafka.TopicPartition(topic, number) for number in range(partitions)]
        found = consumer.committed(places, timeout=30.0)
        consumer.close()
        return [place.offset if place.offset >= 0 else None for place in found]

    def messages(self, topic: str, count: int) -> list[Any]:
        """The first messages of a topic with one partition."""
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self.servers, "group.id": "look"})
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        found: list[Any] = []
        while len(found) < count:
            found += [each for each in consumer.consume(count, 1.0) if each.error() is None]
        consumer.close()
        return found

    def close(self) -> None:
        self._producer.flush(1.0)
        del self._producer
        super().close()
