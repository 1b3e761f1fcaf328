"""Kafka: a supervised process for each assigned partition, and a producer stage."""

from .assignment import Position
from .client import MissingExtra
from .group_subscriber import GroupSubscriber, positions

__all__ = [
    "GroupSubscriber",
    "MissingExtra",
    "Position",
    "positions",
]
