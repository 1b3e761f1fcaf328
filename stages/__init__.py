"""Stages: producers and consumers of events, where nobody gets more than they have asked for."""

from .client import (
    ademand,
    aestimate_buffered_count,
    aresubscribe,
    ask,
    asubscribe,
    async_info,
    cancel,
    demand,
    estimate_buffered_count,
    resubscribe,
    subscribe,
    subscribe_later,
    sync_info,
)
from .consumer_supervisor import ConsumerSupervisor
from .dispatchers.broadcast import Broadcast
from .dispatchers.demand import Demand, DemandDispatcher
from .dispatchers.dispatcher import AlreadySubscribed, Dispatcher, DispatcherSpec, Outcome
from .dispatchers.partition import Partition
from .errors import SubscriptionCycle, UnknownProducer
from .messages import (
    Ask,
    Automatic,
    Cancel,
    Cancellation,
    Cancelled,
    Events,
    From,
    Manual,
    Subscribe,
)
from .stage import Consumer, Producer, ProducerConsumer
from .stream import Stream, stream
from .streamer import afrom_iterable, from_iterable

__all__ = [
    "AlreadySubscribed",
    "Ask",
    "Automatic",
    "Broadcast",
    "Cancel",
    "Cancellation",
    "Cancelled",
    "Consumer",
    "ConsumerSupervisor",
    "Demand",
    "DemandDispatcher",
    "Dispatcher",
    "DispatcherSpec",
    "Events",
    "From",
    "Manual",
    "Outcome",
    "Partition",
    "Producer",
    "ProducerConsumer",
    "Stream",
    "Subscribe",
    "SubscriptionCycle",
    "UnknownProducer",
    "ademand",
    "aestimate_buffered_count",
    "afrom_iterable",
    "aresubscribe",
    "ask",
    "asubscribe",
    "async_info",
    "cancel",
    "demand",
    "estimate_buffered_count",
    "from_iterable",
    "resubscribe",
    "stream",
    "subscribe",
    "subscribe_later",
    "sync_info",
]
