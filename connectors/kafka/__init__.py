"""Kafka: a supervised process for each assigned partition, and a producer stage."""

from .assignment import Position
from .client import MissingExtra
from .events import DEAD_LETTERED, ERROR, RETRIED
from .group_subscriber import GroupSubscriber, apositions, positions
from .kafka_producer import KafkaProducer, ack
from .lagging import watch_ends
from .mock_cluster import MockCluster
from .standings import Standing, standings

__all__ = [
    "DEAD_LETTERED",
    "ERROR",
    "RETRIED",
    "GroupSubscriber",
    "KafkaProducer",
    "MissingExtra",
    "MockCluster",
    "Position",
    "Standing",
    "ack",
    "apositions",
    "positions",
    "standings",
    "watch_ends",
]
