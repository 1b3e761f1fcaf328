"""A producer of stages whose events are the messages of topics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from ...actors import CallTimeout, NoReply, Ok, process
from ...actors.engine import Notice
from ...stages import Automatic, Cancellation, From, Producer
from .source import IDLE, Source, SourceOptions


@attrs.frozen
class Acked(Notice):
    """To a producer: these messages are done, each as topic, partition and offset."""

    places: tuple[tuple[str, int, int], ...]


@attrs.frozen
class Turn(Notice):
    """The producer to itself: look after the consumer."""

    idle: bool = False


class KafkaProducer(Producer[Source]):
    """Makes events of the messages of topics, as many as its consumers ask for.

    An event is a `confluent_kafka.Message`. For pipelines of stages; where each message is simply to be
    handled, in the order of its partition, a `GroupSubscriber` is less to write, and keeps that order.

    It is started with a mapping of options, as `KafkaProducer.start_link({"topics": ["orders"], "group":
    "shop"})`, and so as `producer:` in a tree file, with these as `args`:

    Args:
        topics: Names of topics, or patterns of names that begin with `^`.
        group: The name of the consumer group.
        commit: `"ack"`: an offset is committed when its message and all before it in its partition were
            acknowledged with `ack(producer, messages)`, so each is done at least once. `"delivery"`: when the
            message was sent to a consumer, so one may be lost with the stage that has it.
        drain: Seconds for which acknowledgements are waited for when a partition is given to another member,
            and at the end.
        commit_interval: Seconds between two commits.
        config: Options of librdkafka.

    When a consumer is gone, what was sent to any of them and is not acknowledged is fetched once more, as
    nobody knows what the lost one had. While nobody asks, its partitions are paused, and it stays a member.

    Semantics: GenStage, a `:producer`; Broadway's acknowledgements.
    """

    source: Source
    _turning: Any = None
    _consumers: int = 0
    trap_exit = True

    def init(self, arg: Any) -> Ok[Source]:
        source = self.source = Source(SourceOptions.of(arg), self._more_acks)
        self.own(source, close=source.leave)
        source.join()
        self._next(0.0)
        return Ok(source)

    def handle_demand(self, demand: int, source: Source) -> NoReply[Source]:
        source.wanted += demand
        self._next(0.0)
        return NoReply(source)

    def handle_info(self, message: Any, source: Source) -> Any:
        match message:
            case Acked(places):
                source.ack(places)
                return NoReply(source)
            case Turn(idle):
                self._turning = None
                events = source.turn(idle)
                self._next(0.0 if source.wanted else IDLE)
                return NoReply(source, events=events)
            case _:
                return super().handle_info(message, source)

    def handle_subscribe(self, kind: Any, options: Any, from_: From, source: Source) -> Automatic[Source]:
        self._consumers += 1
        return Automatic(source)

    def handle_cancel(self, reason: Cancellation, from_: From, source: Source) -> NoReply[Source]:
        self._consumers -= 1
        source.rewind()
        return NoReply(source)

    def terminate(self, reason: object, source: Source) -> None:
        # What consumers that are gone had is not waited for.
        source.settle(source.options.drain if self._consumers else 0.0)

    def _next(self, delay: float) -> None:
        """Have the next turn come: now, or when nobody has asked for a while."""
        if self._turning is not None:
            if delay or not process.cancel_timer(self._turning):
                return
        if delay:
            self._turning = process.send_after(self.pid, Turn(idle=True), delay)
        else:
            self._turning = None
            self.pid.send(Turn())

    def _more_acks(self, patience: float) -> bool:
        try:
            self.source.ack(process.receive(lambda each: isinstance(each, Acked), patience).places)
        except CallTimeout:
            return False
        return True


def ack(producer: Any, messages: Iterable[Any]) -> None:
    """Tell a `KafkaProducer` that messages are done, in any order; the same in a coroutine.

    Args:
        producer: Its Pid or name; in `handle_events` of a stage that is subscribed to it, `from_.pid`.
        messages: Events of it.
    """
    places = tuple((each.topic(), each.partition(), each.offset()) for each in messages)
    if places:
        process.send(producer, Acked(places))
