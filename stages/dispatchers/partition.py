"""The dispatcher that gives each event to the one consumer of its partition."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from .dispatcher import Outcome


def _names(partitions: int | Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(partitions, int) and not isinstance(partitions, bool):
        names: tuple[Any, ...] = tuple(range(partitions))
    elif isinstance(partitions, (str, bytes)) or not isinstance(partitions, Iterable):
        raise ValueError(f"expected partitions to be a number or a list of names, got: {partitions!r}")
    else:
        names = tuple(partitions)
    if not names:
        raise ValueError(f"expected at least one partition, got: {partitions!r}")
    if len(set(names)) < len(names) or None in names:
        raise ValueError(f"expected partitions to be names that differ, none of them None, got: {names!r}")
    return names


@attrs.frozen
class Partition:
    """Each event goes to the one consumer that has subscribed with `partition=`, its partition.

    The partitions should get about as many events each: the stage is asked for what the consumers of all
    partitions want, less what it keeps back for one that has not asked. So it never keeps back more than all
    together have asked for at once. What is kept for a partition whose consumer has gone waits for the next
    one.

    Args:
        partitions: How many (named 0, 1, ...), or their names.
        hash: A function of an event that returns the name of its partition; or `(event, name)`, to send
            another event in its place; or None, to drop it. By default Python's `hash`, modulo their number,
            for events that have one and partitions that are numbers.

    Raises:
        ValueError: There are no partitions, or they are not numbers and there is no hash; or that is no
            function.

    Semantics: GenStage.PartitionDispatcher.
    Differs from OTP: events of a partition whose consumer has gone are kept, and not dropped; a subscription
    that cannot be is refused, and the producer lives; the stage is asked for others in the place of events
    that the hash function drops.
    """

    partitions: tuple[Any, ...] = attrs.field(converter=_names)
    hash: Callable[[Any], Any] | None = None

    def __attrs_post_init__(self) -> None:
        if self.hash is not None and not callable(self.hash):
            raise ValueError(f"expected hash to be a function of an event, got: {self.hash!r}")
        if self.hash is None and self.partitions != tuple(range(len(self.partitions))):
            raise ValueError(
                f"expected a hash function beside partitions with names of their own, "
                f"got: {self.partitions!r} and no hash"
            )

    def make(self) -> PartitionDispatcher:
        """A dispatcher without subscriptions."""
        count = len(self.partitions)
        return PartitionDispatcher(self.partitions, self.hash or (lambda event: hash(event) % count))


class _Message:
    """A message in the queues of some partitions."""

    __slots__ = ("content", "queues")

    def __init__(self, content: object, queues: int) -> None:
        self.content = content
        self.queues = queues


@attrs.define(eq=False)
class _Lane:
    """Invariant: there is demand, or there is a queue, never both."""

    from_: Any = None
    demand: int = 0
    queue: deque[Any] = attrs.field(factory=deque)


class PartitionDispatcher:
    """See `Partition`."""

    __slots__ = ("_hash", "_lane_of", "_lanes", "_named_by_tuples", "_wish", "kept")

    def __init__(self, partitions: Iterable[Any], hash: Callable[[Any], Any]) -> None:
        self._lanes = {name: _Lane() for name in partitions}
        self._lane_of: dict[Any, _Lane] = {}
        self._hash = hash
        self._named_by_tuples = any(isinstance(name, tuple) for name in self._lanes)
        self._wish = 0
        # What all have asked for and not got.
        self.kept = 0
        """How many events are in the queues."""

    @property
    def wanted(self) -> int:
        """How many events may be given out, to whichever partition: as many as the consumers have asked for
        and not got, less those that are kept back. (What one that has gone had asked for may have come for
        another partition; so much is not asked for once more.)
        """
        return max(0, self._wish - self.kept)

    def subscribe(self, options: Mapping[str, Any], from_: Any) -> Outcome:
        """There is a new consumer of one partition.

        Raises:
            ValueError: It names none, or one that does not exist or has a consumer already.
        """
        name = options.get("partition")
        there = f"the partitions are: {', '.join(map(repr, self._lanes))}"
        if name is None:
            raise ValueError(f"expected partition= in the subscription, got none; {there}")
        if name not in self._lanes:
            raise ValueError(f"expected partition to be one of the producer's, got: {name!r}; {there}")
        lane = self._lanes[name]
        if lane.from_ is not None:
            raise ValueError(f"the partition {name!r} is already taken by {lane.from_.pid}")
        lane.from_ = from_
        self._lane_of[from_] = lane
        return Outcome()

    def cancel(self, from_: Any) -> Outcome:
        """Its queue stays, for the next one."""
        lane = self._lane_of.pop(from_)
        lane.from_ = None
        self._wish -= lane.demand
        lane.demand = 0
        return Outcome()

    def ask(self, demand: int, from_: Any) -> Outcome:
        """Delivers what was kept back."""
        lane = self._lane_of[from_]
        events: list[Any] = []
        due: list[Any] = []
        while lane.queue and len(events) < demand:
            entry = lane.queue.popleft()
            if entry.__class__ is not _Message:
                events.append(entry)
            else:
                self._passed(entry, due)
        while lane.queue and lane.queue[0].__class__ is _Message:
            self._passed(lane.queue.popleft(), due)
        lane.demand += demand - len(events)
        self._wish += demand - len(events)
        self.kept -= len(events)
        return Outcome([(from_, events)] if events else [], due=due)

    def dispatch(self, events: list[Any]) -> Outcome:
        """Each to its partition, or into the queue of that, as many as were asked for.

        Raises:
            ValueError: The hash function gave something that is no partition. Nothing has changed.
        """
        by_lane: dict[Any, list[Any]] = {}
        placed = looked_at = 0
        wanted = self.wanted
        for event in events:
            if placed == wanted:
                break
            looked_at += 1
            place = self._place(event)
            if place is not None:
                name, event = place
                by_lane.setdefault(name, []).append(event)
                placed += 1
        deliveries = []
        for name, some in by_lane.items():
            lane = self._lanes[name]
            now = some[: lane.demand]
            if now:
                deliveries.append((lane.from_, now))
                lane.demand -= len(now)
                self._wish -= len(now)
            lane.queue += some[len(now) :]
            self.kept += len(some) - len(now)
        return Outcome(deliveries, events[looked_at:])

    def restore(self, demands: Mapping[Any, int]) -> None:
        """Set who is subscribed and what each wants, after a step that was cut off. The queues stay."""
        for lane in self._lanes.values():
            lane.demand = demands.get(lane.from_, 0)
            if lane.from_ not in demands:
                lane.from_ = None
        self._lane_of = {lane.from_: lane for lane in self._lanes.values() if lane.from_ is not None}
        self._wish = sum(demands.values())
        queues = [lane.queue for lane in self._lanes.values()]
        self.kept = sum(entry.__class__ is not _Message for queue in queues for entry in queue)

    def put_behind(self, message: object) -> Outcome:
        """It is due when it has passed every queue that there is now."""
        queues = [lane.queue for lane in self._lanes.values() if lane.queue]
        if not queues:
            return Outcome(due=(message,))
        entry = _Message(message, len(queues))
        for queue in queues:
            queue.append(entry)
        return Outcome()

    @staticmethod
    def _passed(message: _Message, due: list[Any]) -> None:
        message.queues -= 1
        if not message.queues:
            due.append(message.content)

    def _place(self, event: Any) -> tuple[Any, Any] | None:
        """The partition of an event, and what goes there; None for an event that is dropped."""
        placed = name = self._hash(event)
        if placed is None:
            return None
        if placed.__class__ is tuple and len(placed) == 2 and not self._named_by_tuples:
            event, name = placed
        if name not in self._lanes:
            raise ValueError(
                f"expected the hash function to return one of the partitions "
                f"({', '.join(map(repr, self._lanes))}), an (event, partition), or None, "
                f"got: {placed!r} for the event {event!r}"
            )
        return name, event
