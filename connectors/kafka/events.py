"""What is told of Kafka: which events of telemetry there are, and which lines of the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...actors import telemetry
from ...actors.engine import Bursts
from .client import QUIET, confluent

_PREFIX: Final = ("resprout", "kafka")
ASSIGNED: Final = (*_PREFIX, "assigned")
REVOKED: Final = (*_PREFIX, "revoked")
LOST: Final = (*_PREFIX, "lost")
COMMITTED: Final = (*_PREFIX, "committed")
NOT_COMMITTED: Final = (*_PREFIX, "not_committed")
RETRIED: Final = (*_PREFIX, "retried")
DEAD_LETTERED: Final = (*_PREFIX, "dead_lettered")
REFETCHED: Final = (*_PREFIX, "refetched")
ERROR: Final = (*_PREFIX, "error")
logger = logging.getLogger("resprout.kafka")


class Reports:
    """What one member of a group tells."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._bursts = Bursts(quiet_for=QUIET)

    def tell(
        self,
        event: tuple[str, ...],
        measurements: Mapping[str, Any],
        partitions: Iterable[tuple[str, int]],
        **more: Any,
    ) -> None:
        """Emit an event."""
        if telemetry.enabled(event):
            metadata = {"group": self._group, "partitions": tuple(partitions), **more}
            telemetry.emit(event, measurements, metadata)

    def note(self, what: str, error: Any) -> None:
        """Tell of an error that something is tried again after."""
        self.tell(ERROR, {}, (), error=error, what=what)
        held = self._bursts.tell((what, error.code()), time.monotonic())
        if held is not None:
            more = f" ({held} more since the last such line)" if held else ""
            logger.warning("group %r, %s: %s; it is tried again%s", self._group, what, error.str(), more)

    def client(self, error: Any) -> None:
        """Something is wrong with brokers or connections; the client goes on trying."""
        self.note("client", error)

    def came_as_message(self, error: Any) -> None:
        """What the client tells among the messages.

        Raises:
            KafkaException: It cannot go on by itself.
        """
        module = confluent()
        if error.code() == module.KafkaError._PARTITION_EOF:
            return
        if error.fatal() or error.code() == module.KafkaError._AUTO_OFFSET_RESET:
            raise module.KafkaException(error)
        self.client(error)
