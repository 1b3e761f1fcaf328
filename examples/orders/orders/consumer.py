"""One process per partition: it hands message after message to a handler, when the lock lets it in."""

from __future__ import annotations

from pathlib import Path

import attrs

from resprout import GenServer, NoReply, Ok, Stop, process, throttle

from . import measure, store
from .database import borrow
from .topic import FOLDER, Message, Partition, read_partition

THROTTLE = "kafka_consumer_throttle"

REMOTE_CALL = 0.003
"""Seconds that the warehouse takes to answer, which is what a handler spends most of its time on."""


@attrs.frozen
class HandleNext:
    """Told by a consumer to itself: through its mailbox, so that it hears others between two messages."""


@attrs.frozen
class Consumed:
    """How far a consumer has come."""

    partition: Partition
    offset: int


class PartitionConsumer(GenServer):
    """Consumes one partition from the committed offset to its end, then stops as "normal".

    `args` are `partition`, the number, and `topic`, the folder if it is another than the shipped one. A
    consumer keeps nothing that the database does not know, so it may be killed at any moment: the next
    incarnation asks the database where to go on.
    """

    def init(self, arg: dict[str, object]) -> Ok:
        partition = read_partition(int(str(arg["partition"])), Path(str(arg.get("topic", FOLDER))))
        measure.num_slots = throttle.lock_info(THROTTLE).num_slots
        GenServer.cast(self.pid, HandleNext())
        # Ahead of those that wait with a message, since the supervisor waits for this one.
        return Ok(Consumed(partition, throttle.run(THROTTLE, position, partition.number, priority=1)))

    def handle_cast(self, message: HandleNext, state: Consumed) -> NoReply | Stop:
        next_one = state.partition.message(state.offset)
        if next_one is None:
            return Stop("normal", state)
        offset = throttle.run(THROTTLE, handle, next_one)
        GenServer.cast(self.pid, HandleNext())
        return NoReply(attrs.evolve(state, offset=offset))


def handle(message: Message) -> int:
    """Carries out one message; at most as many of these run at once as the lock has slots.

    Returns:
        The offset to go on at: the next one, or wherever a former incarnation of the consumer got to, whose
        last handler was still at work when this one began.
    """
    with measure.running, borrow(measure.to_consumers) as connection:
        process.sleep(REMOTE_CALL)  # if the consumer was killed meanwhile, its handler ends here
        if store.handle(connection, message):
            measure.handled.up()
            return message.offset + 1
        return store.position(connection, message.partition)


def position(partition: int) -> int:
    """The offset to begin at."""
    with borrow(measure.to_consumers) as connection:
        return store.position(connection, partition)
