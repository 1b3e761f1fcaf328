"""Kafka: a supervised process for each assigned partition, and a producer stage."""

from .assignment import Position
from .client import MissingExtra
from .group_subscriber import GroupSubscriber, positions
from .kafka_producer import KafkaProducer, ack

__all__ = [
    "GroupSubscriber",
    "KafkaProducer",
    "MissingExtra",
    "Position",
    "ack",
    "positions",
]
