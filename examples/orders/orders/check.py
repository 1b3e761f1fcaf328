"""The proof at the end of a run: what the topic says should be in the database, worked out without it.

Pure. It applies the events of each partition up to the offset that was committed, so it holds in the middle
of the work as well as at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from .events import Malformed, parse
from .order import Impossible, Order, apply
from .topic import Message, Partition


@attrs.frozen
class DeadLetter:
    """A line that was put aside, and why."""

    partition: int
    line: int
    reason: str


@attrs.frozen
class Effects:
    """All that handling messages leaves behind."""

    orders: Mapping[str, Order]
    dead_letters: frozenset[DeadLetter]

    def mismatches(self, other: Effects) -> int:
        """How many orders and dead letters are in one of the two only, or differ."""
        ids = self.orders.keys() | other.orders.keys()
        orders = sum(self.orders.get(id) != other.orders.get(id) for id in ids)
        return orders + len(self.dead_letters ^ other.dead_letters)


def expected(partitions: Iterable[Partition], offsets: Mapping[int, int]) -> Effects:
    """The effects of every message before the offset of its partition, each handled once and in order."""
    orders: dict[str, Order] = {}
    dead_letters: set[DeadLetter] = set()
    for partition in partitions:
        for offset in range(offsets.get(partition.number, 0)):
            message = partition.message(offset)
            if message is not None:
                _handle(message, orders, dead_letters)
    return Effects(orders, frozenset(dead_letters))


def _handle(message: Message, orders: dict[str, Order], dead_letters: set[DeadLetter]) -> None:
    try:
        event = parse(message.raw)
        orders[event.order] = apply(orders.get(event.order), event)
    except (Malformed, Impossible) as error:
        dead_letters.add(DeadLetter(message.partition, message.line, str(error)))
