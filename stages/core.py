"""What a stage does with each thing that happens: the core of producers, producer-consumers and consumers.

It runs no callback and no thread. Each step is a generator that yields the callbacks to call (`Invoke`), is
sent what they returned, and returns a `Stop` if the stage is to end; so the same steps serve callbacks that
are functions and those that are coroutine functions. What it sends, and whom it monitors, goes through
`Outside`.

Semantics: gen_stage 1.3, GenStage, "Message protocol overview".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs

from ..actors import NOTHING, BadReturn, Crash, Down, NoReply, Pid, Ref, Stop
from ..actors.engine import NoReplyWithEvents
from .buffer import Buffer
from .dispatchers.dispatcher import AlreadySubscribed, Dispatcher, Outcome
from .errors import UnknownProducer
from .messages import (
    Ask,
    Automatic,
    Cancel,
    Cancellation,
    Cancelled,
    Events,
    From,
    LookAgain,
    Manual,
    Mode,
    PutBehind,
    SetDemand,
    Subscribe,
    SubscribeTo,
)
from .options import CancelMode, StageSettings, SubscriptionOptions, ends_consumer
from .subscription import Batch, Inflow

StageKind: TypeAlias = Literal["producer", "producer_consumer", "consumer"]
ALREADY_SUBSCRIBED: Final = "already_subscribed"
UNKNOWN: Final = "unknown_subscription"
NOPROC: Final = "noproc"


# Made once a callback: a frozen one costs more than twice as much.
@attrs.define
class Invoke:
    """Call this callback with these arguments, and send what it returns."""

    name: str
    args: tuple[Any, ...]


Steps: TypeAlias = "Generator[Invoke, Any, Stop[Any] | None]"


class Outside(Protocol):
    """What a core does beyond itself."""

    @property
    def me(self) -> Pid:
        """The stage."""

    def send(self, pid: Pid, message: object) -> None:
        """Send a message."""

    def find(self, server: Any) -> Pid | None:
        """The living process behind a server argument.

        Raises:
            ValueError: It is a stage that cannot be subscribed to from here.
        """

    def monitor(self, pid: Pid) -> Ref:
        """Be told of its death."""

    def demonitor(self, ref: Ref) -> None:
        """Be told no more."""

    def subscribed_to(self, pids: Sequence[Pid]) -> None:
        """These are the producers now."""

    def warn(self, text: str, *args: object) -> None:
        """Write a line to the log."""

    def discarded(self, count: int) -> None:
        """So many events found no room and were dropped."""


@attrs.define(eq=False)
class _Producer:
    """A producer that this stage is subscribed to; without an inflow, demand is sent by hand."""

    from_: From
    mine: From
    """The same subscription, as the producer sees it."""
    cancel: CancelMode
    inflow: Inflow | None


@attrs.define(eq=False)
class _Consumer:
    from_: From
    mine: From
    """The same subscription, as the consumer sees it."""
    monitor: Ref


@attrs.frozen
class _Arrived:
    """Events that wait until somebody wants what comes of them."""

    producer: _Producer
    events: list[Any]


@attrs.frozen
class _Ended:
    """The end of a subscription, which waits behind events that came before it."""

    producer: _Producer
    why: Cancellation


class Core:
    """One stage. Its steps may not be interleaved.

    Args:
        kind: What it is.
        actor: Whose callbacks they are, for what is said of them.
        outside: See there.
        settings: What its init said.
        state: The state that its callbacks get and return.
    """

    def __init__(
        self, kind: StageKind, actor: object, outside: Outside, settings: StageSettings, state: Any
    ) -> None:
        self.kind = kind
        self.state = state
        self.timeout: float | None = None
        self.tokens: list[Any] = []
        """What callbacks want to continue with, in order."""
        self.buffer = Buffer(settings.buffer_size, settings.buffer_keep)
        self.dispatcher: Dispatcher = settings.dispatcher.make()
        self.producers: dict[Ref, _Producer] = {}
        self._actor = actor
        self._outside = outside
        self._consumers: dict[Ref, _Consumer] = {}
        self._monitors: dict[Ref, _Consumer] = {}
        # How many events were asked for, of `handle_demand` or of the queue, and have not come.
        self._requested = 0
        # Of a producer: what is to be sent when demand is not accumulated any more; None while it is not.
        self._accumulated: list[Any] | None = None
        if kind == "producer" and settings.demand == "accumulate":
            self._accumulated = []
        # Of a producer-consumer: what came and is not handled yet.
        self._queue: deque[_Arrived | _Ended | PutBehind] = deque()

    # What stages say to each other ----------------------------------------------------------------

    def received(self, message: Any) -> Steps | None:
        """The steps for a message, if it is for the stage and not for its `handle_info`."""
        match message:
            case Events():
                return self._events(message)
            case Ask():
                return self._ask(message)
            case Down(ref, _, reason):
                if ref in self.producers:
                    return self._unsubscribed(ref, Cancellation("down", reason))
                consumer = self._monitors.get(ref)
                return None if consumer is None else self._drop(consumer, Cancellation("down", reason))
            case Subscribe():
                return self._subscribe(message)
            case Cancel():
                return self._cancel(message)
            case Cancelled():
                return self._unsubscribed(message.from_.tag, Cancellation("cancel", message.reason))
            case LookAgain():
                return self._look()
            case _:
                return None

    # The side of a producer -----------------------------------------------------------------------

    def _subscribe(self, message: Subscribe) -> Steps:
        from_ = message.from_
        if self.kind == "consumer":
            self._no_producer(message)
            return None
        if from_.tag in self._consumers:
            self._outside.warn("a second subscription with the same tag, from %s", from_.pid)
            self._tell_cancelled(from_, "duplicated_subscription")
            return None
        former = None if message.replaces is None else self._consumers.get(message.replaces[0])
        if former is not None and message.replaces is not None:
            stop = yield from self._drop(former, Cancellation("cancel", message.replaces[1]))
            if stop is not None:
                return stop
        mine = From(self._outside.me, from_.tag)
        consumer = _Consumer(from_, mine, self._outside.monitor(from_.pid))
        self._consumers[from_.tag] = consumer
        self._monitors[consumer.monitor] = consumer
        result = yield Invoke("handle_subscribe", ("consumer", message.options, from_, self.state))
        if result.__class__ is Stop:
            return self._stopping(result)
        if result.__class__ is not Automatic:
            raise BadReturn(
                self._actor, "handle_subscribe", result, "Automatic(state) or Stop(reason, state)"
            )
        self.state = result.state
        try:
            outcome = self.dispatcher.subscribe(message.options, from_)
        except (ValueError, TypeError) as error:
            self._outside.warn("%s is not subscribed: %s", from_.pid, error)
            already = isinstance(error, AlreadySubscribed)
            why = Cancellation("cancel", ALREADY_SUBSCRIBED if already else Crash(error))
            return (yield from self._drop(consumer, why, known=False))
        self._carry_out(outcome)
        return (yield from self._look())

    def _no_producer(self, message: Subscribe | Ask) -> None:
        self._outside.warn("it is a consumer, and got the message of one: %r", message)
        self._tell_cancelled(message.from_, "not_a_producer")

    def _ask(self, message: Ask) -> Steps:
        if self.kind == "consumer":
            self._no_producer(message)
            return None
        consumer = self._consumers.get(message.from_.tag)
        if consumer is None:
            self._tell_cancelled(message.from_, UNKNOWN)
            return None
        demand = message.demand
        if not isinstance(demand, int) or demand < 1:
            self._outside.warn("%s asked for %r events, which means nothing", message.from_.pid, demand)
            return None
        self._carry_out(self.dispatcher.ask(demand, consumer.from_))
        return (yield from self._look())

    def _cancel(self, message: Cancel) -> Steps:
        consumer = self._consumers.get(message.from_.tag)
        if consumer is None:
            self._tell_cancelled(message.from_, UNKNOWN)
            return None
        return (yield from self._drop(consumer, Cancellation("cancel", message.reason)))

    def _drop(self, consumer: _Consumer, why: Cancellation, *, known: bool = True) -> Steps:
        """End a subscription; `known` to the dispatcher or not."""
        from_ = consumer.from_
        del self._consumers[from_.tag], self._monitors[consumer.monitor]
        self._outside.demonitor(consumer.monitor)
        if why.kind == "cancel":
            self._tell_cancelled(from_, why.reason)
        if known:
            # Before the callback, so that events that come of it go to others.
            self._carry_out(self.dispatcher.cancel(from_))
        stop = yield from self._call("handle_cancel", why, from_)
        if stop is not None or not known:
            return stop
        # After the callback, which has to know of the end before more is wanted: the slowest may be gone.
        return (yield from self._look())

    def _tell_cancelled(self, from_: From, reason: object) -> None:
        self._outside.send(from_.pid, Cancelled(From(self._outside.me, from_.tag), reason))

    def _look(self) -> Steps:
        """Give out what is wanted: from the buffer first, then ask who makes events for the rest."""
        self._from_buffer()
        if self._accumulated is None:
            more = self.dispatcher.wanted - self._requested
            if more > 0:
                self._requested += more
                if self.kind == "producer":
                    return (yield from self._call("handle_demand", more))
        if self.kind == "producer_consumer":
            return (yield from self._take_from_queue())
        return None

    def _from_buffer(self) -> None:
        """Invariant: while there are events in the buffer, nobody wants more. Else they would be
        overtaken.
        """
        while self.buffer.size:
            taken = self.buffer.take(self.dispatcher.wanted)
            if not taken.events:
                break
            leftover = self._dispatch(taken.events)
            if leftover:
                self.buffer.put_back(leftover, taken.due)
                break
            self._deliver_due(taken.due)

    def emit(self, events: Iterable[Any]) -> None:
        """Send events, or keep those that nobody has asked for."""
        some = events if isinstance(events, list) else list(events)
        if not some:
            return
        if self.kind == "consumer":
            self._outside.warn("a consumer has nobody to send events to; dropped: %r", some)
            return
        if self._accumulated is not None:
            self._accumulated.append(some)
            return
        self._from_buffer()
        self._requested = max(0, self._requested - len(some))
        still_wanted = max(0, self.dispatcher.wanted - len(some))
        leftover = self._dispatch(some)
        if leftover:
            stored = self.buffer.store(leftover)
            if stored.dropped:
                self._outside.discarded(stored.dropped)
            self._deliver_due(stored.due)
        elif self.dispatcher.wanted > max(still_wanted, self._requested):
            # It has dropped some. By a message, as there is no telling how often that goes on.
            self._outside.send(self._outside.me, LookAgain())

    def _dispatch(self, events: list[Any]) -> list[Any]:
        outcome = self.dispatcher.dispatch(events)
        self._carry_out(outcome)
        return outcome.leftover

    def _carry_out(self, outcome: Outcome) -> None:
        outside = self._outside
        for from_, events in outcome.deliveries:
            outside.send(from_.pid, Events(self._consumers[from_.tag].mine, events))
        for message in outcome.due:
            outside.send(outside.me, message)
        for from_, demand in outcome.ask_again:
            outside.send(outside.me, Ask(from_, demand))
        if outcome.warning is not None:
            outside.warn("%s", outcome.warning)

    def _deliver_due(self, messages: Iterable[Any]) -> None:
        for message in messages:
            self._carry_out(self.dispatcher.put_behind(message))

    def put_behind(self, message: object) -> None:
        """See `PutBehind`."""
        if self.kind == "consumer":
            self._outside.send(self._outside.me, message)
        elif self._queue:
            self._queue.append(PutBehind(message))
        elif self._accumulated:
            self._accumulated.append(PutBehind(message))
        elif not self.buffer.put_behind(message):
            self._deliver_due((message,))

    @property
    def mode(self) -> Mode:
        """Whether demand is forwarded."""
        return "forward" if self._accumulated is None else "accumulate"

    def set_demand(self, request: SetDemand) -> Steps:
        """See there."""
        if self.kind != "producer":
            if request.mode == "accumulate" or self.kind == "consumer":
                self._outside.warn("only a producer can %s demand, this is a %s", request.mode, self.kind)
            return None
        if request.mode == "accumulate":
            if self._accumulated is None:
                self._accumulated = []
            return None
        past, self._accumulated = self._accumulated or (), None
        for each in past:
            if isinstance(each, PutBehind):
                self.put_behind(each.message)
            else:
                self.emit(each)
        return (yield from self._look())

    # The side of a consumer -----------------------------------------------------------------------

    def subscribe_to(
        self, request: SubscribeTo
    ) -> Generator[Invoke, Any, tuple[From | Exception | None, Stop[Any] | None]]:
        """See there.

        Returns:
            What the asker is told, and whether the stage ends of it.
        """
        if self.kind == "producer":
            return TypeError(f"{self._outside.me} is a producer, which subscribes to nobody"), None
        try:
            options = SubscriptionOptions.of(request.options)
            pid = self._outside.find(request.to)
        except (ValueError, TypeError) as error:
            return error, None
        if pid is None:
            if options.cancel == "temporary":
                return None, None
            return UnknownProducer(request.to), Stop(NOPROC, self.state)
        from_ = From(pid, self._outside.monitor(pid))
        mine = From(self._outside.me, from_.tag)
        self._outside.send(pid, Subscribe(mine, options.mapping, request.replaces))
        result = yield Invoke("handle_subscribe", ("producer", options.mapping, from_, self.state))
        kind = result.__class__
        if kind is Stop:
            return from_, self._stopping(result)
        if kind is not Automatic and kind is not Manual:
            allowed = "Automatic(state), Manual(state) or Stop(reason, state)"
            raise BadReturn(self._actor, "handle_subscribe", result, allowed)
        self.state = result.state
        inflow = None
        if kind is Automatic:
            inflow = Inflow(options.max_demand, options.min_demand)
            self._outside.send(pid, Ask(mine, options.max_demand))
        self.producers[from_.tag] = _Producer(from_, mine, options.cancel, inflow)
        self._tell_producers()
        return from_, None

    def _tell_producers(self) -> None:
        self._outside.subscribed_to([producer.from_.pid for producer in self.producers.values()])

    def _events(self, message: Events) -> Steps:
        if self.kind == "producer":
            self._outside.warn("it is a producer, and got events from %s", message.from_.pid)
            return None
        producer = self.producers.get(message.from_.tag)
        if producer is None:
            mine = From(self._outside.me, message.from_.tag)
            self._outside.send(message.from_.pid, Cancel(mine, UNKNOWN))
            return None
        if self.kind == "producer_consumer":
            self._queue.append(_Arrived(producer, message.events))
            return (yield from self._take_from_queue())
        return (yield from self._handle(producer, message.events))

    def _handle(self, producer: _Producer, events: list[Any]) -> Steps:
        from_ = producer.from_
        inflow = producer.inflow
        if inflow is None or from_.tag not in self.producers:
            batches = [Batch(events, 0)]
        else:
            arrival = inflow.receive(events)
            batches = arrival.batches
            if arrival.excess:
                self._outside.warn(
                    "it got %d events more than it asked for, from %s", arrival.excess, from_.pid
                )
        for batch in batches:
            stop = yield from self._call("handle_events", batch.events, from_)
            if stop is not None:
                return stop
            if batch.ask:
                self._outside.send(from_.pid, Ask(producer.mine, batch.ask))
        return None

    def _unsubscribed(self, tag: Ref, why: Cancellation) -> Steps:
        producer = self.producers.pop(tag, None)
        if producer is None:
            return None
        self._outside.demonitor(tag)
        self._tell_producers()
        if self._queue:
            self._queue.append(_Ended(producer, why))
            return None
        return (yield from self._ended(producer, why))

    def _ended(self, producer: _Producer, why: Cancellation) -> Steps:
        stop = yield from self._call("handle_cancel", why, producer.from_)
        reason = why.reason
        if stop is not None or not ends_consumer(producer.cancel, reason):
            return stop
        already = isinstance(reason, str) and reason == ALREADY_SUBSCRIBED
        return None if already else Stop(reason, self.state)

    def _take_from_queue(self) -> Steps:
        """Handle what came, as long as anybody wants what comes of it."""
        while self._requested > 0 and self._queue:
            entry = self._queue.popleft()
            stop = None
            if isinstance(entry, _Arrived):
                stop = yield from self._handle(entry.producer, entry.events)
            elif isinstance(entry, _Ended):
                stop = yield from self._ended(entry.producer, entry.why)
            elif not self.buffer.put_behind(entry.message):
                self._deliver_due((entry.message,))
            if stop is not None:
                return stop
        return None

    # Callbacks ------------------------------------------------------------------------------------

    def _call(self, name: str, *args: object) -> Steps:
        """Call a callback that returns NoReply or Stop."""
        result = yield Invoke(name, (*args, self.state))
        return self.settle(name, result)

    def settle(self, name: str, result: Any) -> Stop[Any] | None:
        """Take what a callback returned.

        Raises:
            BadReturn: It may not return that.
        """
        kind = result.__class__
        if kind is NoReply or kind is NoReplyWithEvents:
            self.went_on(name, result, kind is NoReplyWithEvents)
            return None
        if kind is Stop:
            return self._stopping(result)
        raise BadReturn(self._actor, name, result, "NoReply(state, events=[...]) or Stop(reason, state)")

    def went_on(self, name: str, result: Any, with_events: bool) -> None:
        """Take the state, and send the events, of a result."""
        self.state = result.state
        self.timeout = result.timeout
        if result.continue_with is not NOTHING:
            self.tokens.append(result.continue_with)
        if with_events:
            events = result.more
            if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
                raise BadReturn(self._actor, name, result, "a list of events")
            self.emit(events)

    def _stopping(self, stop: Stop[Any]) -> Stop[Any]:
        if stop.state is NOTHING:
            return Stop(stop.reason, self.state, stop.reply)
        self.state = stop.state
        return stop
