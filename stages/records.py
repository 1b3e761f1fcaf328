"""What the core of a stage notes of its subscriptions, and of what it has begun and not done yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..actors import Ref
from .messages import Cancellation, From
from .options import CancelMode
from .subscription import Inflow


@attrs.define(eq=False)
class ProducerRecord:
    """A producer that this stage is subscribed to; without an inflow, demand is sent by hand."""

    from_: From
    mine: From
    """The same subscription, as the producer sees it."""
    cancel: CancelMode
    inflow: Inflow | None
    read: object = None
    """The mark of its last message that was taken."""


@attrs.define(eq=False)
class ConsumerRecord:
    """A consumer that is subscribed to this stage."""

    from_: From
    mine: From
    """The same subscription, as the consumer sees it."""
    monitor: Ref
    options: Mapping[str, Any]
    mark: object
    """That of the message it subscribed with."""
    asked_callback: bool = False
    known: bool = False
    """Whether the dispatcher has it."""
    demand: int = 0
    """How many events it has asked for and was not sent."""
    read: object = None
    """The mark of its last ask that was taken."""


@attrs.define(eq=False)
class Arrived:
    """Events that came and are not handled yet, from `start` on."""

    producer: ProducerRecord
    events: list[Any]
    start: int = 0
    expected: int = 0
    """How many of them were asked for."""


@attrs.define(eq=False)
class Ended:
    """The end of a subscription to a producer, behind the events that came before it."""

    producer: ProducerRecord
    why: Cancellation
    told: bool = False
    """Whether the callback has been called."""


@attrs.define(eq=False)
class Dropped:
    """The end of a consumer's subscription, until the callback is called."""

    consumer: ConsumerRecord
    why: Cancellation
    known: bool
    """Whether the dispatcher still has it."""
