"""The process that writes messages which cannot be handled to a topic of their own."""

from __future__ import annotations

from typing import Any, ClassVar

from ...actors import NoReply, Ok, Reply
from ...actors.engine import LibraryServer
from .client import confluent, with_brokers
from .messages import DeadLetter, Family

WRITING = 30.0
"""Seconds until a message that no broker takes is given up, which crashes the process of its partition."""
CONSUMERS_ONLY = ("group", "auto.", "fetch.", "queued.", "max.poll", "session.", "heartbeat.", "isolation")
"""How options begin that a producer of librdkafka does not have, or warns of."""


class DeadLetterServer(LibraryServer):
    """Owns a producer of Kafka. A dead letter has the key and value of the message, its headers, and more of
    them that begin with `resprout-`: topic, partition, offset and error.
    """

    _what: ClassVar[str] = "the process of dead letters of a group subscriber"
    _use: ClassVar[str] = "nothing else"

    topic: str

    def init(self, family: Family) -> Ok[Any]:
        options = family.options
        assert isinstance(options.dead_letter, str)
        self.topic = options.dead_letter
        config = with_brokers(options.config)
        own = {key: value for key, value in config.items() if not key.startswith(CONSUMERS_ONLY)}
        own.pop("partition.assignment.strategy", None)
        own.setdefault("message.timeout.ms", int(WRITING * 1000))
        producer = confluent().Producer({**own, "enable.idempotence": True})
        self.own(producer, close=lambda: producer.flush(1.0))
        family.dead_letters = self.pid
        return Ok(producer)

    def handle_call(self, message: Any, from_: Any, producer: Any) -> Any:
        if not isinstance(message, DeadLetter):
            return super().handle_call(message, from_, producer)
        told: list[Any] = []
        letter, error = message.message, message.error
        headers = [
            *(letter.headers() or ()),
            ("resprout-topic", letter.topic()),
            ("resprout-partition", str(letter.partition())),
            ("resprout-offset", str(letter.offset())),
            ("resprout-error", f"{type(error).__name__}: {error}"),
        ]
        producer.produce(
            self.topic,
            value=letter.value(),
            key=letter.key(),
            headers=headers,
            on_delivery=lambda problem, _: told.append(problem),
        )
        producer.flush(WRITING + 1.0)
        problem = told[0] if told else "no broker has answered"
        if problem is None:
            return Reply(None, producer)
        where = f"{letter.topic()}/{letter.partition()} at offset {letter.offset()}"
        from_.answer_error(
            RuntimeError(f"the dead letter of {where} was not written to topic {self.topic!r}: {problem}")
        )
        return NoReply(producer)
