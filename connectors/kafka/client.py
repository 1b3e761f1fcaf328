"""confluent-kafka, which is an extra: found when it is first needed, and told what is ours to say."""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...actors.engine import Bursts

if TYPE_CHECKING:
    from types import ModuleType

MISSING: Final = "Kafka needs confluent-kafka: pip install 'resprout[kafka]'"
SERVERS: Final = ("bootstrap.servers", "metadata.broker.list")
BROKERS: Final = "localhost:9092"
OURS: Final = {
    "group.id": "give it as group=",
    "enable.auto.commit": "offsets are committed when their messages are done, see commit=",
    "enable.auto.offset.store": "offsets are committed when their messages are done, see commit=",
    "enable.partition.eof": "the end of a partition is no message",
    "on_commit": "attach to the telemetry event ('resprout', 'kafka', 'committed')",
    "error_cb": "attach to the telemetry event ('resprout', 'kafka', 'error')",
}
"""Options that would be told twice, or would break what is promised."""
KNOWN: Final = (
    *SERVERS,
    "allow.auto.create.topics",
    "auto.offset.reset",
    "client.id",
    "client.rack",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "group.instance.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "sasl.mechanism",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "topic.metadata.refresh.interval.ms",
)
"""What people set, to guess what a misspelt option was to be; librdkafka has more."""
QUIET: Final = 60.0
"""Seconds for which an error of a kind is not logged again; a client tries several times a second."""


class Seldom(logging.Filter):
    """Lets one line of each kind through in that time: the first word of librdkafka's lines is their kind."""

    def __init__(self) -> None:
        super().__init__()
        self._bursts = Bursts(quiet_for=QUIET)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is to be logged; those that somebody has asked for with `debug` all are."""
        if record.levelno < logging.WARNING:
            return True
        held = self._bursts.tell(record.getMessage().partition(" ")[0], time.monotonic())
        return held is not None


librdkafka = logging.getLogger("resprout.kafka.librdkafka")
librdkafka.addFilter(Seldom())


class MissingExtra(ImportError):
    """confluent-kafka is not installed."""


def confluent() -> ModuleType:
    """The module of confluent-kafka.

    Raises:
        MissingExtra: It is not installed; the message says how to.
    """
    try:
        import confluent_kafka
    except ImportError as error:
        raise MissingExtra(MISSING, name="confluent_kafka") from error
    return confluent_kafka


def check_config(config: object) -> dict[str, Any]:
    """Options of librdkafka, as they are given.

    Raises:
        TypeError: They are no mapping of texts.
        ValueError: One is ours to say, is unknown to librdkafka, or has a wrong value.
        MissingExtra: confluent-kafka is not installed.
    """
    if not isinstance(config, Mapping) or not all(isinstance(key, str) for key in config):
        raise TypeError(
            f"expected config to be a mapping of librdkafka's options, such as "
            f"{{'bootstrap.servers': 'localhost:9092'}}, got: {config!r}"
        )
    for key in config:
        if key in OURS:
            raise ValueError(f"expected config without {key!r}: {OURS[key]}")
    _try(dict(config))
    return dict(config)


def _try(config: dict[str, Any]) -> None:
    """Have librdkafka read the options, without brokers to connect to."""
    module = confluent()
    names = {key: value for key, value in config.items() if key not in SERVERS}
    for key in SERVERS:
        if key in config and not (isinstance(config[key], str) and config[key].strip()):
            raise ValueError(f"expected config[{key!r}] to be 'host:port,host:port', got: {config[key]!r}")
    try:
        module.Consumer({"group.id": "resprout", "log_level": 0, **names}).close()
    except module.KafkaException as error:
        reason = str(error.args[0].str()).strip()
        unknown = [key for key in config if f'"{key}"' in reason]
        near = difflib.get_close_matches(unknown[0], [*KNOWN, *OURS], 1) if unknown else []
        hint = f"; did you mean {near[0]!r}?" if near and near[0] != unknown[0] else ""
        raise ValueError(f"config: librdkafka says: {reason}{hint}") from None
    except TypeError as error:
        raise ValueError(f"config: {error}") from None


def with_brokers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options, with brokers on this machine if they name none."""
    named = any(key in config for key in SERVERS)
    return dict(config) if named else {"bootstrap.servers": BROKERS, **config}


def make_consumer(
    config: Mapping[str, Any],
    group: str,
    prefetch: int,
    on_commit: Callable[..., object],
    on_error: Callable[..., object],
) -> Any:
    """A consumer of a group, which commits nothing by itself.

    What is ours by default, and why: a new group begins at the first message rather than at those to come,
    so that none is missed; a fetch waits 0.1 s for messages rather than 0.5, since a partition that is
    resumed is fetched behind it; the client fetches about as far ahead as messages may be in memory, and
    looks after 10 ms again rather than after a second; it tries to connect to a broker that is away twice a
    second rather than twenty times.
    """
    return confluent().Consumer(
        {
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
            "queued.min.messages": min(prefetch, 10_000_000),
            "fetch.queue.backoff.ms": 10,
            "topic.metadata.refresh.interval.ms": 10_000,
            "reconnect.backoff.ms": 500,
            **with_brokers(config),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "on_commit": on_commit,
            "error_cb": on_error,
        },
        logger=librdkafka,
    )


def place_of(key: tuple[str, int], offset: int | None = None) -> Any:
    """A partition, or an offset in it, as the client takes it."""
    place = confluent().TopicPartition
    return place(*key) if offset is None else place(*key, offset)


def places_of(offsets: Mapping[tuple[str, int], int]) -> list[Any]:
    """Offsets, as the client takes them."""
    return [place_of(key, offset) for key, offset in offsets.items()]
