"""What a stage does with each thing that happens: the core of producers, producer-consumers and consumers.

It runs no callback and no thread. Each step is a generator that yields the callbacks to call (`Invoke`), is
sent what they returned, and returns a `Stop` if the stage is to end; so the same steps serve callbacks that
are functions and those that are coroutine functions. What it sends, and whom it monitors, goes through
`Outside`.

An interrupt of the main thread may cut a step off anywhere. So what a step notes, it notes in a row of
assignments between which CPython does not look for signals, and what it sends waits in the outbox until it
is sent. Afterwards `_mend` sends the rest, and sets the dispatcher by the records of the consumers, which say
how much each wants. The events that a step had in hand are lost; a message that was not taken is taken again,
and one that comes twice is known by its mark.

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
from .options import StageSettings, SubscriptionOptions, ends_consumer
from .records import Arrived, ConsumerRecord, Dropped, Ended, ProducerRecord
from .subscription import Inflow

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

    def warn_of_demand(self, text: str) -> None:
        """Write what a dispatcher says of its consumers to the log; it may say it all the time."""

    def discarded(self, count: int) -> None:
        """So many events found no room and were dropped."""


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
        self.producers: dict[Ref, ProducerRecord] = {}
        self.was_cut = False
        """Whether a step was cut by an interrupt, and what it left half done is to be mended."""
        self._settings = settings
        self._actor = actor
        self._outside = outside
        self._consumers: dict[Ref, ConsumerRecord] = {}
        self._monitors: dict[Ref, ConsumerRecord] = {}
        # What is to be sent, and was not for certain.
        self._outbox: deque[tuple[Pid, Any]] = deque()
        # A subscription that the producer may know of and this stage does not yet.
        self._opening: From | None = None
        self._dropped: Dropped | None = None
        # How many of those that are requested the `handle_demand` that runs now was asked for.
        self._asking = 0
        # How many events were asked for, of `handle_demand` or of the queue, and have not come.
        self._requested = 0
        # Of a producer: what is to be sent when demand is not accumulated any more; None while it is not.
        self._accumulated: list[Any] | None = None
        if kind == "producer" and settings.demand == "accumulate":
            self._accumulated = []
        # What was accumulated and is being sent.
        self._past: deque[Any] = deque()
        # Of a consumer: what came and is not handled yet.
        self._queue: deque[Arrived | Ended | PutBehind] = deque()

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
        consumer = self._consumers.get(from_.tag)
        if consumer is None:
            consumer = yield from self._enter(message)
            if isinstance(consumer, Stop):
                return consumer
        elif consumer.mark is not message.mark:
            self._outside.warn("a second subscription with the same tag, from %s", from_.pid)
            self._tell_cancelled(from_, "duplicated_subscription")
            return None
        elif consumer.known:
            return None
        if not consumer.asked_callback:
            consumer.asked_callback = True
            result = yield Invoke("handle_subscribe", ("consumer", message.options, from_, self.state))
            if result.__class__ is Stop:
                return self._stopping(result)
            if result.__class__ is not Automatic:
                allowed = "Automatic(state) or Stop(reason, state)"
                raise BadReturn(self._actor, "handle_subscribe", result, allowed)
            self.state = result.state
        try:
            outcome = self.dispatcher.subscribe(message.options, from_)
        except (ValueError, TypeError) as error:
            self._outside.warn("%s is not subscribed: %s", from_.pid, error)
            already = isinstance(error, AlreadySubscribed)
            why = Cancellation("cancel", ALREADY_SUBSCRIBED if already else Crash(error))
            return (yield from self._drop(consumer, why))
        consumer.known = True
        self._carry_out(outcome)
        return (yield from self._look())

    def _enter(self, message: Subscribe) -> Generator[Invoke, Any, ConsumerRecord | Stop[Any]]:
        """Note a new consumer, in the place of another subscription of the same process if it says so."""
        from_ = message.from_
        former = None if message.replaces is None else self._consumers.get(message.replaces[0])
        if former is not None and former.from_.pid == from_.pid and message.replaces is not None:
            stop = yield from self._drop(former, Cancellation("cancel", message.replaces[1]))
            if stop is not None:
                return stop
        mine = From(self._outside.me, from_.tag)
        monitor = self._outside.monitor(from_.pid)
        consumer = ConsumerRecord(from_, mine, monitor, message.options, message.mark)
        self._consumers[from_.tag] = consumer
        self._monitors[monitor] = consumer
        return consumer

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
        if consumer.read is not message.mark:
            consumer.demand += demand
            consumer.read = message.mark
            self._carry_out(self.dispatcher.ask(demand, consumer.from_))
        return (yield from self._look())

    def _cancel(self, message: Cancel) -> Steps:
        consumer = self._consumers.get(message.from_.tag)
        if consumer is None:
            self._tell_cancelled(message.from_, UNKNOWN)
            return None
        return (yield from self._drop(consumer, Cancellation("cancel", message.reason)))

    def _drop(self, consumer: ConsumerRecord, why: Cancellation) -> Steps:
        """End a subscription."""
        self._dropped = Dropped(consumer, why, consumer.known)
        return (yield from self._drop_rest(self._dropped))

    def _drop_rest(self, dropped: Dropped) -> Steps:
        consumer, why = dropped.consumer, dropped.why
        from_ = consumer.from_
        self._consumers.pop(from_.tag, None)
        self._monitors.pop(consumer.monitor, None)
        self._outside.demonitor(consumer.monitor)
        if why.kind == "cancel":
            self._tell_cancelled(from_, why.reason)
        if dropped.known:
            # Before the callback, so that events that come of it go to others.
            self._carry_out(self.dispatcher.cancel(from_))
        self._dropped = None
        stop = yield from self._call("handle_cancel", why, from_)
        if stop is not None or not dropped.known:
            return stop
        # After the callback, which has to know of the end before more is wanted: the slowest may be gone.
        return (yield from self._look())

    def _tell_cancelled(self, from_: From, reason: object) -> None:
        self._say(from_.pid, Cancelled(From(self._outside.me, from_.tag), reason))

    def _look(self) -> Steps:
        """Give out what is wanted: from the buffer first, then ask who makes events for the rest."""
        if self.was_cut:
            self._mend()
            if self._dropped is not None:
                stop = yield from self._drop_rest(self._dropped)
                if stop is not None:
                    return stop
        self._give_past()
        self._from_buffer()
        if self._accumulated is None:
            more = self.dispatcher.wanted - self._requested
            if more > 0:
                self._requested += more
                if self.kind == "producer":
                    self._asking = more
                    return (yield from self._call("handle_demand", more))
        return (yield from self._take_from_queue())

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
        requested = self._requested_after(some)
        self._requested = requested
        self._give(some)

    def _give(self, some: list[Any]) -> None:
        """The same for events that are no longer counted among the requested ones."""
        if not some:
            return
        if self.kind == "consumer":
            self._outside.warn("a consumer has nobody to send events to; dropped: %r", some)
            return
        if self._accumulated is not None:
            self._accumulated.append(some)
            return
        self._from_buffer()
        still_wanted = max(0, self.dispatcher.wanted - len(some))
        leftover = self._dispatch(some)
        if leftover:
            stored = self.buffer.store(leftover)
            if stored.dropped:
                self._outside.discarded(stored.dropped)
            self._deliver_due(stored.due)
        elif self.dispatcher.wanted > max(still_wanted, self._requested):
            # It has dropped some. By a message, as there is no telling how often that goes on.
            self._say(self._outside.me, LookAgain())

    def _requested_after(self, some: list[Any]) -> int:
        """How many are requested when these have come."""
        return self._requested if self._accumulated is not None else max(0, self._requested - len(some))

    def _give_past(self) -> None:
        """Send what was accumulated."""
        past = self._past
        while past:
            each = past[0]
            if isinstance(each, PutBehind):
                del past[0]
                self.put_behind(each.message)
            else:
                requested = self._requested_after(each)
                self._requested = requested
                del past[0]
                self._give(each)

    def _dispatch(self, events: list[Any]) -> list[Any]:
        outcome = self.dispatcher.dispatch(events)
        self._carry_out(outcome)
        return outcome.leftover

    def _carry_out(self, outcome: Outcome) -> None:
        outside = self._outside
        for from_, events in outcome.deliveries:
            consumer = self._consumers[from_.tag]
            message: Any = Events(consumer.mine, events)
            left = consumer.demand - len(events)
            self._outbox += ((from_.pid, message),)
            consumer.demand = left
            self._send()
        for message in outcome.due:
            self._say(outside.me, message)
        for from_, demand in outcome.ask_again:
            consumer = self._consumers[from_.tag]
            message = Ask(from_, demand)
            self._outbox += ((outside.me, message),)
            consumer.demand -= demand
            self._send()
        if outcome.warning is not None:
            outside.warn_of_demand(outcome.warning)

    def _say(self, pid: Pid, message: object) -> None:
        self._outbox += ((pid, message),)
        self._send()

    def _send(self) -> None:
        outbox = self._outbox
        while outbox:
            pid, message = outbox[0]
            self._outside.send(pid, message)
            del outbox[0]

    def _deliver_due(self, messages: Iterable[Any]) -> None:
        for message in messages:
            self._carry_out(self.dispatcher.put_behind(message))

    def put_behind(self, message: object) -> None:
        """See `PutBehind`."""
        if self.kind == "consumer":
            self._say(self._outside.me, message)
        elif self._queue:
            self._queue.append(PutBehind(message))
        elif self._accumulated:
            self._accumulated.append(PutBehind(message))
        elif not self.buffer.put_behind(message):
            self._deliver_due((message,))

    @property
    def kept(self) -> int:
        """How many events it keeps that have been made and not sent."""
        waiting = (*(self._accumulated or ()), *self._past)
        accumulated = sum(len(each) for each in waiting if isinstance(each, list))
        return self.buffer.size + accumulated + int(getattr(self.dispatcher, "kept", 0))

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
        self._past += self._accumulated or ()
        self._accumulated = None
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
        self._cancel_former(pid, request.replaces)
        from_ = From(pid, self._outside.monitor(pid))
        mine = From(self._outside.me, from_.tag)
        subscribe = Subscribe(mine, options.mapping, request.replaces)
        self._opening = from_
        self._say(pid, subscribe)
        result = yield Invoke("handle_subscribe", ("producer", options.mapping, from_, self.state))
        kind = result.__class__
        if kind is Stop:
            return from_, self._stopping(result)
        if kind is not Automatic and kind is not Manual:
            allowed = "Automatic(state), Manual(state) or Stop(reason, state)"
            raise BadReturn(self._actor, "handle_subscribe", result, allowed)
        inflow = Inflow(options.max_demand, options.min_demand) if kind is Automatic else None
        producer = ProducerRecord(from_, mine, options.cancel, inflow)
        first = () if inflow is None else ((pid, Ask(mine, options.max_demand)),)
        self.state = result.state
        self.producers[from_.tag] = producer
        self._outbox += first
        self._opening = None
        self._send()
        self._tell_producers()
        return from_, None

    def _cancel_former(self, pid: Pid, replaces: tuple[Ref, object] | None) -> None:
        """Cancel the subscription that another one replaces, where its producer is not the one that is told
        of that.
        """
        former = None if replaces is None else self.producers.get(replaces[0])
        if former is not None and former.from_.pid != pid and replaces is not None:
            self._say(former.from_.pid, Cancel(former.mine, replaces[1]))

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
        if producer.read is not message.mark:
            arrived = Arrived(producer, message.events)
            self._queue += (arrived,)
            producer.read = message.mark
        return (yield from self._take_from_queue())

    def _handle(self, arrived: Arrived) -> Steps:
        """Handle the next batch of what came first."""
        producer, events = arrived.producer, arrived.events
        from_, start, total = producer.from_, arrived.start, len(arrived.events)
        inflow = producer.inflow
        if inflow is None or from_.tag not in self.producers:
            del self._queue[0]
            return (yield from self._call("handle_events", events, from_))
        if not start:
            arrived.expected = inflow.pending
            if total > inflow.pending:
                excess = total - inflow.pending
                self._outside.warn("it got %d events more than it asked for, from %s", excess, from_.pid)
        step = inflow.max_demand - inflow.min_demand
        end = min(total, start + step)
        counted = min(end - start, arrived.expected)
        if end < total:
            arrived.start = end
        else:
            del self._queue[0]
        arrived.expected -= counted
        inflow.pending -= counted
        stop = yield from self._call("handle_events", events if total <= step else events[start:end], from_)
        if stop is None:
            self._ask_again(producer, inflow)
        return stop

    def _ask_again(self, producer: ProducerRecord, inflow: Inflow) -> None:
        if inflow.pending <= inflow.min_demand:
            more = Ask(producer.mine, inflow.max_demand - inflow.pending)
            inflow.pending = inflow.max_demand
            self._outbox += ((producer.from_.pid, more),)
            self._send()

    def _unsubscribed(self, tag: Ref, why: Cancellation) -> Steps:
        producer = self.producers.get(tag)
        if producer is None:
            return None
        ended = Ended(producer, why)
        self._queue += (ended,)
        del self.producers[tag]
        self._outside.demonitor(tag)
        self._tell_producers()
        return (yield from self._take_from_queue())

    def _ended(self, ended: Ended) -> Steps:
        producer, reason = ended.producer, ended.why.reason
        stop = None
        if not ended.told:
            ended.told = True
            stop = yield from self._call("handle_cancel", ended.why, producer.from_)
        if stop is None and ends_consumer(producer.cancel, reason):
            already = isinstance(reason, str) and reason == ALREADY_SUBSCRIBED
            stop = None if already else Stop(reason, self.state)
        del self._queue[0]
        return stop

    def _take_from_queue(self) -> Steps:
        """Handle what came, as long as anybody wants what comes of it."""
        queue = self._queue
        while queue:
            entry = queue[0]
            stop = None
            if entry.__class__ is Arrived:
                if self._requested <= 0 and not entry.start and self.kind == "producer_consumer":
                    break
                stop = yield from self._handle(entry)
            elif entry.__class__ is Ended:
                stop = yield from self._ended(entry)
            else:
                del queue[0]
                if not self.buffer.put_behind(entry.message):
                    self._deliver_due((entry.message,))
            if stop is not None:
                return stop
        return None

    # After an interrupt ---------------------------------------------------------------------------

    def is_to_be_taken_again(self, message: Any) -> bool:
        """Whether a message between stages that was cut off was not taken: nothing of it has been noted."""
        match message:
            case Ask():
                consumer = self._consumers.get(message.from_.tag)
                return consumer is None or consumer.read is not message.mark
            case Events():
                producer = self.producers.get(message.from_.tag)
                return producer is None or producer.read is not message.mark
            case Down(ref):
                return ref in self.producers or ref in self._monitors
            case _:
                # They mean the same when they are taken twice.
                return isinstance(message, (Subscribe, Cancel, Cancelled, SetDemand))

    def _mend(self) -> None:
        """Make what a step has left half done whole again. May itself be cut, and begun again."""
        outside = self._outside
        self._send()
        if self._opening is not None:
            opening = self._opening
            outside.demonitor(opening.tag)
            outside.send(opening.pid, Cancel(From(outside.me, opening.tag), "interrupted"))
            self._opening = None
        if self._asking:
            requested = max(0, self._requested - self._asking)
            self._requested = requested
            self._asking = 0
        if self.kind != "consumer":
            if self._dropped is not None:
                self._consumers.pop(self._dropped.consumer.from_.tag, None)
                self._dropped.known = False
            self._monitors = {each.monitor: each for each in self._consumers.values()}
            self._restore_dispatcher()
            self._deliver_due(self.buffer.recount())
        self._tell_producers()
        for producer in self.producers.values():
            if producer.inflow is not None:
                self._ask_again(producer, producer.inflow)
        self.was_cut = False

    def _restore_dispatcher(self) -> None:
        """What each consumer wants stands in its record, so the dispatcher is set by these."""
        known = [each for each in self._consumers.values() if each.known]
        restore = getattr(self.dispatcher, "restore", None)
        if restore is not None:
            restore({each.from_: each.demand for each in known})
            return
        dispatcher = self._settings.dispatcher.make()
        for each in known:
            self._carry_out(dispatcher.subscribe(each.options, each.from_))
            if each.demand:
                self._carry_out(dispatcher.ask(each.demand, each.from_))
        self.dispatcher = dispatcher

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
        some: list[Any] = []
        if with_events:
            events = result.more
            if isinstance(events, (str, bytes, Mapping)) or not isinstance(events, Iterable):
                raise BadReturn(self._actor, name, result, "a list of events")
            some = events if isinstance(events, list) else list(events)
        requested = self._requested_after(some) if some else self._requested
        self.state = result.state
        self.timeout = result.timeout
        self._asking = 0
        self._requested = requested
        if result.continue_with is not NOTHING:
            self.tokens += (result.continue_with,)
        if some:
            self._give(some)

    def _stopping(self, stop: Stop[Any]) -> Stop[Any]:
        if stop.state is NOTHING:
            return Stop(stop.reason, self.state, stop.reply)
        self.state = stop.state
        return stop
