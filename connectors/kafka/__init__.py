"""Kafka: a supervised process for each assigned partition, and a producer stage."""

from .assignment import Position
from .client import MissingExtra
from .group_subscriber import GroupSubscriber, apositions, positions
from .kafka_producer import KafkaProducer, ack
from .mock_cluster import MockCluster

__all__ = [
    "GroupSubscriber",
    "KafkaProducer",
    "MissingExtra",
    "MockCluster",
    "Position",
    "ack",
    "apositions",
    "positions",
]
