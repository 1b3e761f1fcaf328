"""The topic in Kafka, with `--set source=kafka`: a group subscriber has a process for each partition.

The brokers are librdkafka's own mock of them, filled from the files, so that no server is needed; where they
are is all that a program with a real cluster would say in another way.
"""

from __future__ import annotations

import attrs
from confluent_kafka import Message as Record
from confluent_kafka import Producer

from resprout import ChildSpec, GenServer, NoReply, Ok, Pid, Reply, Stop, Supervisor, process, throttle
from resprout.kafka import GroupSubscriber, MockCluster

from . import measure
from .consumer import THROTTLE, handle
from .topic import Message, read_topic

TOPIC = "orders"
SESSION = 6000
"""Milliseconds after which a member that is gone is missed."""

behind: dict[int, int] = {}
"""For each partition the offset behind what the database has, as far as a handler has seen it."""


class Consumers(Supervisor):
    """The brokers, the group subscriber, and the one who sees when all is done, which is the end."""

    def init(self, arg: object) -> object:
        return Supervisor.init_spec(
            [
                ChildSpec("brokers", (Brokers.start_link, (), {"name": "brokers"})),
                ChildSpec("subscriber", subscribe, type="supervisor"),
                ChildSpec(
                    "end", (End.start_link, (), {"name": "end"}), restart="transient", significant=True
                ),
            ],
            strategy="rest_for_one",  # new brokers have new addresses
            auto_shutdown="any_significant",
            max_restarts=200,
        )


class Brokers(GenServer):
    """Owns the brokers, which end with it, and tells their addresses."""

    def init(self, arg: object) -> Ok:
        cluster = self.own(MockCluster(3))
        partitions = read_topic()
        cluster.topic(TOPIC, len(partitions))
        producer = Producer({"bootstrap.servers": cluster.servers})
        for partition in partitions:
            for line in partition.lines:
                producer.produce(TOPIC, line, partition=partition.number)
        producer.flush()
        return Ok(cluster.servers)

    def handle_call(self, message: object, from_: object, servers: str) -> Reply:
        return Reply(servers, servers)


def subscribe() -> Pid:
    """Starts the group subscriber, with the brokers that there are now."""
    measure.num_slots = throttle.lock_info(THROTTLE).num_slots
    servers = GenServer.call("brokers", "where are you?")
    config = {"bootstrap.servers": servers, "session.timeout.ms": SESSION}
    return GroupSubscriber(
        [TOPIC], "shop", consume, throttle=THROTTLE, max_restarts=200, config=config
    ).start_link()


def consume(record: Record) -> None:
    """Carries out one message, unless that was done before: the database knows, whatever Kafka says."""
    message = Message(record.partition(), record.offset(), record.value())
    while behind.get(message.partition, 0) <= message.offset:
        behind[message.partition] = handle(message)
    process.send("end", Handled())


@attrs.frozen
class Handled:
    """Told to the one who waits for the end, after each message."""


class End(GenServer):
    """Stops as "normal" when the last message is done."""

    blocking = False

    def init(self, arg: object) -> Ok:
        self.pid.send(Handled())  # it may be a successor, and all may be done
        return Ok(sum(map(len, read_topic())))

    def handle_info(self, message: object, total: int) -> NoReply | Stop:
        return Stop("normal", total) if sum(list(behind.values())) == total else NoReply(total)
