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

from collections.abc import Generator
from typing import Any

from ..actors import BadReturn, Crash, Down, Stop
from .consuming import Consuming
from .dispatchers.dispatcher import AlreadySubscribed
from .messages import (
    Ask,
    Automatic,
    Cancel,
    Cancellation,
    Cancelled,
    Events,
    From,
    LookAgain,
    SetDemand,
    Subscribe,
)
from .outside import ALREADY_SUBSCRIBED, UNKNOWN, Invoke, Steps
from .records import ConsumerRecord, Dropped


class Core(Consuming):
    """One stage. Its steps may not be interleaved.

    Args:
        kind: What it is.
        actor: Whose callbacks they are, for what is said of them.
        outside: See there.
        settings: What its init said.
        state: The state that its callbacks get and return.
    """

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
            entered = yield from self._enter(message)
            if isinstance(entered, Stop):
                return entered
            consumer = entered
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
