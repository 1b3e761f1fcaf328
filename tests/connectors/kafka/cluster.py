"""A cluster of brokers without a server: librdkafka's own mock of one, driven through its C functions.

confluent-kafka for Python has the cluster, but not the functions that make topics, take brokers down and
inject errors. They are in the library that it ships.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import confluent_kafka

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (ctypes.c_void_p, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_new": (ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [ctypes.c_void_p]),
    "rd_kafka_mock_cluster_new": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [ctypes.c_void_p]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [ctypes.c_void_p]),
    "rd_kafka_mock_topic_create": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    ),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
    ),
}
FETCH, OFFSET_COMMIT, JOIN_GROUP = 1, 8, 11
"""Numbers of requests in Kafka's protocol."""
NOT_COORDINATOR, REBALANCE_IN_PROGRESS, NOT_LEADER = 16, 27, 6
"""Numbers of errors."""


def _library() -> ctypes.CDLL:
    beside = Path(confluent_kafka.__file__).resolve().parent.parent / "confluent_kafka.libs"
    (path,) = beside.glob("librdkafka-*")
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Cluster:
    """Brokers on 127.0.0.1, with functions to break them."""

    def __init__(self, brokers: int = 3) -> None:
        self._library = library = _library()
        error = ctypes.create_string_buffer(512)
        conf = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(conf, b"log_level", b"0", error, 512)
        self._client = library.rd_kafka_new(0, conf, error, 512)
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, brokers)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.brokers = range(1, brokers + 1)
        self.servers: str = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._numbers = itertools.count()
        self.producer = confluent_kafka.Producer({"bootstrap.servers": self.servers, "log_level": 0})

    def name(self, what: str = "topic") -> str:
        """A name that nothing had before."""
        return f"{what}-{next(self._numbers)}"

    def topic(self, partitions: int = 1, name: str | None = None) -> str:
        """Make a topic."""
        name = name or self.name()
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0
        return name

    def fill(self, topic: str, partition: int, values: Iterable[object]) -> None:
        """Write messages, each with its value as the key, too."""
        told: list[Any] = []
        count = 0
        for value in values:
            text = str(value).encode()
            while True:
                try:
                    self.producer.produce(
                        topic, text, text, partition, on_delivery=lambda error, _: told.append(error)
                    )
                    break
                except BufferError:
                    self.producer.poll(0.1)
            count += 1
        self.producer.flush(60.0)
        assert told == [None] * count

    def down(self, broker: int) -> None:
        """Cut its connections, and take no new ones."""
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, broker) == 0

    def up(self, broker: int) -> None:
        """Take connections again."""
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, broker) == 0

    def fail(self, request: int, *errors: int) -> None:
        """Answer the next requests of a kind with these errors, one each."""
        array = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), array)

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
        """End the brokers."""
        self.producer.flush(1.0)
        del self.producer
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)
