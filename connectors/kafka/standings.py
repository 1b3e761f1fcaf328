"""How far each partition of this process is, for what watches it; asks nobody.

A consumer is touched by its own thread only, so that thread notes where partitions end: from time to time,
and only while somebody wants to know.
"""

from __future__ import annotations

import attrs

from ...actors import process
from .coordinator import Coordinator
from .kafka_producer import KafkaProducer


@attrs.frozen
class Standing:
    """One assigned partition.

    Attributes:
        group, topic, partition: Which one.
        in_flight: Messages that were fetched, or handed to consumers, and are not done.
        committed: The offset that the broker has accepted; None if none was committed yet.
        lag: How many messages the topic has behind the last one that is done; None as long as that is not
            known.
    """

    group: str
    topic: str
    partition: int
    in_flight: int
    committed: int | None
    lag: int | None


def standings() -> list[Standing]:
    """Every partition that is assigned to a group subscriber or a `KafkaProducer` of this process."""
    found: list[Standing] = []
    for pid in process.processes():
        actor = pid.actor
        if isinstance(actor, Coordinator):
            membership = getattr(actor, "membership", None)
            if membership is None:
                continue
            group = membership.options.group
            for each in list(membership.assignments.values()):
                lag = _lag(each.end, each.position, each.committed, each.first)
                topic, partition = each.key
                found.append(Standing(group, topic, partition, each.backlog, each.committed, lag))
        elif isinstance(actor, KafkaProducer):
            source = getattr(actor, "source", None)
            if source is None:
                continue
            group = source.options.group
            for key, offsets in list(source.offsets.items()):
                committed = source.committed(key)
                lag = _lag(source.ends.get(key), offsets.position, committed, source.first(key))
                found.append(Standing(group, key[0], key[1], offsets.open, committed, lag))
    return found


def _lag(end: int | None, *done: int | None) -> int | None:
    """From the first of `done` that is known."""
    known = next((offset for offset in done if offset is not None), None)
    return None if end is None or known is None else max(0, end - known)
