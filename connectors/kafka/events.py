"""Telemetry of Kafka: which events there are."""

from __future__ import annotations

from typing import Final

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
