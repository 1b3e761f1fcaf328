"""Topics of Kafka: a supervised process for each assigned partition, and a producer stage.

It is `resprout.connectors.kafka`, under the name that users import. It needs the extra `kafka`.
"""

from .connectors.kafka import (
    GroupSubscriber,
    KafkaProducer,
    MissingExtra,
    MockCluster,
    Position,
    ack,
    apositions,
    positions,
)

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
