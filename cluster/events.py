"""Telemetry of the engines::

    ("resprout", "cluster", "connected")    {"seconds"}                 the first connection
    ("resprout", "cluster", "lost")         {"value": 1}                the connection is gone; metadata has a
    "reason" ("resprout", "cluster", "reconnected")  {"seconds", "lost"}         how long it was away, how
    many grants that cost ("resprout", "cluster", "void")         {"grants"}                  it was away for
    too long ("resprout", "cluster", "reaped")       {"claims"}                  of a "node" that had ended,
    on the lock "name" ("resprout", "cluster", "tick")         {"seconds", "operations"}   one request

The metadata has the name of the engine as ``"engine"``. Handlers of ``tick`` run in the thread that talks to
the engine, and hold it up for as long as they take.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..actors import telemetry

PREFIX = ("resprout", "cluster")
CONNECTED = (*PREFIX, "connected")
LOST = (*PREFIX, "lost")
RECONNECTED = (*PREFIX, "reconnected")
VOID = (*PREFIX, "void")
REAPED = (*PREFIX, "reaped")
TICK = (*PREFIX, "tick")


def tell(event: telemetry.Event, engine: str, measurements: Mapping[str, float], **more: object) -> None:
    """Emit an event, if anybody listens."""
    if telemetry.heard(event):
        telemetry.tell(event, dict(measurements), {"engine": engine, **more})
